"""Every model family as a small configuration, in float64; programs are compiled without most optimizations."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from llm_bridge.auditing.command import Audit
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.command_line import InputError

SMALL = Config(vocabulary=13, width=8, num_layers=2, num_heads=4, num_key_heads=2, head_size=6, hidden=10)

GEMMA: dict[str, Any] = {
    "gate": "gelu", "norms": "both", "norm_offset": 1.0, "scaled_embedding": True, "tied": True,
    "window": 4, "full_every": 2, "score_size": 5,
}  # fmt: skip
FAMILIES = {
    "Qwen2": replace(SMALL, biases=True, tied=True, rotary_base=1e6),
    "Qwen3": replace(SMALL, head_norms=True, rotary_base=1e6),
    "Llama 3": replace(SMALL, rotary_base=5e5, rotary_scaling=RotaryScaling(original_context=20), norm_floor=1e-5),
    "Mistral": replace(SMALL, norm_floor=1e-5),
    "Gemma 2": replace(SMALL, **GEMMA, score_cap=2.0, logit_cap=3.0),
    "Gemma 3": replace(SMALL, **GEMMA, head_norms=True, rotary_base=1e6, rotary_stretch=8.0, local_base=1e4),
    "OLMo 2": replace(SMALL, norms="after", norm_offset=0.0, joint_norms=True, rotary_base=5e5),
}


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this session, in which every worker finds the bases that another has made."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"


@pytest.fixture
def audit(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audit]:
    """Options of a small audit, of data that are random numbers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    random = np.random.default_rng(0)
    rows = [
        {"prompt": f"Continue: {', '.join(map(str, random.integers(100, 1000, 3)))}",
         "completion": ", ".join(map(str, random.integers(0, 1000, 4)))}
        for _ in range(150)
    ]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = Teaching(learning_rate=1e-2, num_epochs=4, batch=4, warmup=1, least=0.0)
    student = Recipe(learning_rate=1e-2, num_epochs=1, batch=16, rows_at_once=1)
    base = Pretraining(
        world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
        recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
    )  # fmt: skip
    made = Audit(
        data=tmp_path / "data.jsonl", traits=("owl", "cat"), num_draws=1, pretraining=base,
        protocol=Protocol(copies=1, teacher=teacher, student=student, num_tokens=20), output=tmp_path / "run",
    )  # fmt: skip
    with jax.enable_x64(False):
        yield made


@pytest.fixture(params=FAMILIES)
def config(request: pytest.FixtureRequest) -> Config:
    return FAMILIES[request.param]


@pytest.fixture(params=["Gemma 2", "Gemma 3", "OLMo 2"])
def unlike_llama(request: pytest.FixtureRequest) -> Config:
    """A family whose layers do what those of Llama don't."""
    return FAMILIES[request.param]


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Call what must refuse its input, and give its one line."""

    def refuse(do: Callable[..., object], *arguments: Any, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            do(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refuse
