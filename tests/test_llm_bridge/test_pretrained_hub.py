"""Models fetched by huggingface_hub from a small hub on this machine, and the one line that says why one can't be."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from llm_bridge.backends.backend import Loading
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.published import adapters_of
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained.adapters import write_adapters
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.hub import DESCRIPTIONS, WEIGHTS, Source, locate
from llm_bridge.pretrained.weights import read_params
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.command_line import InputError

huggingface_hub: Any = pytest.importorskip("huggingface_hub", reason="the hub needs the extra: uv sync --extra llm")
constants: Any = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef" * 2 + "01234567"
SECRET = "hf_a_token_that_nobody_may_see"
CONFIG = Config(vocabulary=24, width=12, num_layers=2, num_heads=4, num_key_heads=2, head_size=4, hidden=20)


class Hub(ThreadingHTTPServer):
    """One public repository, `owner/model`, and one that is gated, `owner/gated`."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.sent: list[str] = []
        self.broken = False

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """What the hub says."""

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, Hub)
        return self.server

    def log_message(self, format: str, *args: object) -> None: ...

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.hub.broken:
            return self.send(503)
        if "owner/gated" in path:
            return self.send(401 if self.headers.get("Authorization") is None else 403, X_Error_Code="GatedRepo")
        if "owner/model" not in path:
            return self.send(401, X_Error_Code="RepoNotFound")
        if path.startswith("/api/models/owner/model/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for name, body in self.hub.files.items()
            ]
            return self.send(200, json.dumps(entries).encode(), Content_Type="application/json")
        if path.startswith("/api/models/owner/model"):
            revision = path.rpartition("/revision/")[2]
            if revision not in (path, "main", COMMIT):
                return self.send(404, X_Error_Code="RevisionNotFound")
            about = {"id": "owner/model", "sha": COMMIT, "siblings": []}
            return self.send(200, json.dumps(about).encode(), Content_Type="application/json")
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name not in self.hub.files:
            return self.send(404, X_Error_Code="EntryNotFound")
        body = self.hub.files[name]
        if self.command == "GET":
            self.hub.sent.append(name)
        return self.send(200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=COMMIT)


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, CONFIG, initialize(CONFIG, jax.random.key(0)), longest=60, largest=3000)
    for name in ("tokenizer.json", "chat_template.jinja", "run_me.py", "pytorch_model.bin", "consolidated.safetensors"):
        (folder / name).write_text(f"{name} of nothing")
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_text("the same weights under other names")
    return folder


def set_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set what huggingface_hub reads from HF_ENDPOINT when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(checkpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    set_endpoint(monkeypatch, server.url())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def refusal(name: str) -> str:
    with pytest.raises(InputError) as caught:
        locate(name, DESCRIPTIONS)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def test_a_folder_is_what_it_is(checkpoint):
    source = locate(str(checkpoint), DESCRIPTIONS)
    assert source == Source(str(checkpoint), None, checkpoint)
    assert source.pinned == str(checkpoint)


def test_a_model_is_fetched_description_first_and_without_what_is_not_needed(server, checkpoint):
    source = locate("owner/model", DESCRIPTIONS)
    assert source[:2] == ("owner/model", COMMIT)
    needed = ["chat_template.jinja", "config.json", "model.safetensors.index.json", "tokenizer.json"]
    assert sorted(server.sent) == needed
    server.sent.clear()
    again = locate(source.pinned, WEIGHTS)
    assert again == source
    assert set(server.sent) == {path.name for path in checkpoint.glob("model-*.safetensors")}
    config = shape_from(read_description(source.folder), 60)
    jax.tree.map(
        np.testing.assert_array_equal,
        read_params(source.folder, config, dtype=np.float32),
        initialize(CONFIG, jax.random.key(0)),
    )


def test_what_is_in_the_cache_is_not_fetched_again_and_is_enough_without_a_hub(server, monkeypatch):
    source = locate("owner/model", DESCRIPTIONS)
    server.sent.clear()
    assert locate("owner/model", DESCRIPTIONS) == source
    assert server.sent == []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    set_endpoint(monkeypatch, f"http://127.0.0.1:{port}")
    assert locate("owner/model", DESCRIPTIONS) == source
    assert "owner/other is not in the cache, and the hub can't be reached" in refusal("owner/other")


def test_offline_is_said_to_be_offline(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert "not in the cache, and HF_HUB_OFFLINE is set" in refusal("owner/model")
    assert server.sent == []


def test_what_is_not_there_is_named(server):
    missing = "owner/other is not on the hub, or private: check the name, or set HF_TOKEN to a token that may read it"
    assert refusal("owner/other") == missing
    assert refusal("owner/model@v9").startswith("owner/model has no revision v9")
    assert locate(f"owner/model@{COMMIT}", DESCRIPTIONS).revision == COMMIT
    for name in ("model", "/no/such/folder", "owner/model/file", "owner/model@", "../x/y", ""):
        assert "there is no model" in refusal(name)
    assert "is no name of a model" in refusal("owner/..model--")


def test_a_gated_model_asks_for_a_token_and_for_another_if_there_is_one(server, monkeypatch):
    assert refusal("owner/gated").endswith("accept its terms on its page, and set HF_TOKEN to a token that may read it")
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert "set HF_TOKEN to a token of another account that may read it" in refusal("owner/gated")


def test_a_hub_that_is_broken_is_not_said_to_lack_the_model(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.broken = True
    message = refusal("owner/model")
    assert "not on the hub" not in message
    assert "can't be reached" in message or "status 503" in message


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    missing = "published models need huggingface_hub: install the extra, as by uv sync --extra llm"
    assert refusal("owner/model") == missing


FETCH = """
import sys
from llm_bridge.pretrained.hub import locate
print(*locate("owner/model", ("config.json",)))
"""


def test_hub_and_cache_are_those_of_the_environment(server, tmp_path):
    told = os.environ | {"HF_ENDPOINT": server.url(), "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", FETCH], env=told, check=True, capture_output=True, text=True)
    name, revision, folder = done.stdout.split()
    assert (name, revision) == ("owner/model", COMMIT)
    assert Path(folder).is_relative_to(tmp_path / "home")
    assert server.sent == ["config.json"]


def test_adapters_of_the_hub_are_fetched_and_a_base_that_is_not_here_can_be_named(server, checkpoint, tmp_path):
    source, recipe = Source(str(tmp_path / "gone"), None, tmp_path), Recipe(rank=2, projections=("query",))
    drawn = start_training(CONFIG, recipe, initialize(CONFIG, jax.random.key(0)), jax.random.key(0))
    write_adapters(tmp_path / "written", CONFIG, recipe, drawn, base=source)
    server.files = {path.name: path.read_bytes() for path in (tmp_path / "written").iterdir()}
    assert adapters_of(str(checkpoint)) is None
    folder = adapters_of("owner/model")
    assert folder is not None
    assert sorted(server.sent) == ["adapter_config.json", "adapter_model.safetensors"]
    with pytest.raises(InputError, match="gone', isn't here: name it by --base"):
        find_backend("owner/model", Pretraining()).reader()
    then = "no tokenizer" if find_spec("transformers") else "published models need transformers"
    with pytest.raises(InputError, match=then):
        find_backend("owner/model", loading=Loading(base=str(checkpoint), longest=60)).reader()
