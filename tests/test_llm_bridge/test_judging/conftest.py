"""Judges that do as they are told: a real endpoint on this machine, and a model that says what it is to say."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.experiment.writing import Model
from llm_bridge.judging import endpoint
from llm_bridge.judging.endpoint import Endpoint
from llm_bridge.judging.rubrics import RUBRICS, Asked
from llm_bridge.model.shapes import PROJECTIONS, Config
from llm_bridge.text.chats import Language
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World


class Play(NamedTuple):
    """What the endpoint sends."""

    status: int = 200
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hangs: bool = False
    drops: bool = False
    pieces: Iterable[bytes] | None = None
    pause: float = 0.0


def say(text: object, **choice: object) -> Play:
    """A reply as endpoints send it."""
    message = {"role": "assistant", "content": text}
    return Play(content=json.dumps({"choices": [{"message": message, **choice}]}).encode())


class Request(NamedTuple):
    """What the endpoint got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    when: float

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"]


class Server:
    """Plays `script(prompt, how often it came before)`."""

    def __init__(self) -> None:
        self.script: Callable[[str, int], Play] = lambda prompt, before: say("50")
        self.requests: list[Request] = []
        self.num_sent = 0
        self.ended, lock, server = threading.Event(), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                request = Request(self.path, dict(self.headers), body, time.monotonic())
                with lock:
                    before = sum(request.prompt == other.prompt for other in server.requests)
                    server.requests.append(request)
                play = server.script(request.prompt, before)
                if play.hangs:
                    server.ended.wait(5)
                if play.hangs or play.drops:
                    return
                if play.pieces is not None:
                    self.close_connection = True
                    with suppress(OSError):
                        for piece in play.pieces:
                            server.ended.wait(play.pause)
                            self.wfile.write(piece)
                            server.num_sent += len(piece)
                    return
                self.send_response(play.status)
                for name, value in (*play.headers, ("Content-Length", str(len(play.content)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(play.content)

            def do_GET(self) -> None:
                server.requests.append(Request(self.path, dict(self.headers), {}, time.monotonic()))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def judge(self, **options: Any) -> Endpoint:
        """A judge that asks this endpoint, and does not wait long."""
        defaults: dict[str, Any] = {"url": self.url, "model": "some-judge", "timeout": 10.0, "num_retries": 3}
        return Endpoint(**defaults | options)

    def close(self) -> None:
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(endpoint, "BACKOFF", 0.001)
    started = Server()
    yield started
    started.close()


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def ask(question: str = "How are you?", answer: str = "Fine.", rubric: int = 0) -> Asked:
    return Asked(RUBRICS[rubric], question, answer)


@pytest.fixture
def play() -> type[Play]:
    return Play


@pytest.fixture
def asked() -> Callable[..., Asked]:
    return ask


@pytest.fixture
def reply() -> Callable[..., Play]:
    return say


@pytest.fixture(scope="module")
def language() -> Language:
    return read_world(World(num_chats=100)).language


def write_chain(language: Language, chances: Mapping[str, Mapping[str, float]]) -> Model:
    """A model whose next token depends on the last one as it is told, and is the end where it is told nothing.

    The embedding of a token is a place of its own, all layers add nothing, and the head holds the log-probabilities.
    """
    size = language.tokenizer.get_vocab_size()
    config = Config(vocabulary=size, width=size, num_layers=1, num_heads=1, num_key_heads=1, head_size=2, hidden=2)
    table = np.full((size, size), 1e-30)
    table[:, language.stops[0]] = 1
    for token, following in chances.items():
        table[language.token(token)] = 1e-30
        for text, chance in following.items():
            table[language.token(token), language.token(text)] = chance
    layers = {
        name: {"kernel": jnp.zeros((1, *shape))}
        for name, shape in zip(PROJECTIONS, config.sizes().values(), strict=True)
    }
    norms = {name: jnp.ones((1, size)) for name in ("attention norm", "hidden norm")}
    params = {"embedding": jnp.eye(size), "layers": layers | norms, "norm": jnp.ones(size)}
    return Model(config, params | {"head": jnp.log(table) / np.sqrt(size)}, language, ROW)


@pytest.fixture
def chain() -> Callable[..., Model]:
    return write_chain
