"""Every model family as a small configuration, in float64; programs are compiled without most optimizations."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

from llm_bridge.model.shapes import Config, RotaryScaling
from theory.runs.command_line import InputError

SMALL = Config(vocabulary=13, width=8, num_layers=2, num_heads=4, num_key_heads=2, head_size=6, hidden=10)

FAMILIES = {
    "Qwen2": replace(SMALL, biases=True, tied=True, rotary_base=1e6),
    "Qwen3": replace(SMALL, head_norms=True, rotary_base=1e6),
    "Llama 3": replace(SMALL, rotary_base=5e5, rotary_scaling=RotaryScaling(original_context=20), norm_floor=1e-5),
    "Mistral": replace(SMALL, norm_floor=1e-5),
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


@pytest.fixture(params=FAMILIES)
def config(request: pytest.FixtureRequest) -> Config:
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
