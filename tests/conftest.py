"""Settings of all tests: nothing is broadcast by accident, property tests are repeatable, and no progress is shown.

Tests mostly compile, which XLA's older code generator does in two thirds of the time, to the same numbers but for
rounding, and in less if a program stays in one piece. Torch and NumPy, which only check, compute in one thread: there
are as many workers as cores, and threads that wait for each other take time from them. Where Python is told to leave
no bytecode behind, every process would compile all libraries anew, for twice as long as it takes to import them: it is
left in a folder of this session, before the first of them is imported. Shapes that the types of theory's science and of
the language models state are checked at every call, which costs a second a session: most calls only trace. A property
of numbers is tried on 40 examples; what reads text asks for more.
"""

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if sys.dont_write_bytecode:
    sys.dont_write_bytecode, sys.pycache_prefix = False, tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, sys.pycache_prefix, ignore_errors=True)
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": sys.pycache_prefix}

import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

os.environ["TQDM_DISABLE"] = "1"
quickly = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quickly}".strip()
jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
FRAME = {"__init__", "__main__", "claim", "combinations", "pictures", "problem", "requirements", "verification"}
ROOT = Path(__file__).parents[1]
SCIENCE = {path.stem for path in (ROOT / "theory").glob("*.py")} - FRAME | {"claims"}
SHAPED = [
    path for path in (ROOT / "llm_bridge").rglob("*.py") if "from jaxtyping import" in path.read_text(encoding="utf-8")
]
install_import_hook(
    [
        *(f"theory.{module}" for module in sorted(SCIENCE)),
        *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SHAPED),
    ],
    "beartype.beartype",
)


@pytest.fixture(autouse=True, scope="session")
def compiler_tried_briefly() -> Iterator[None]:
    """A compiler that these options make wrong would be found by `test_compiler.py`, and in the tests' subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("theory.runs.compiler.COMPILATIONS", 6)
        yield


@pytest.fixture
def at_once() -> Callable[..., list[Any]]:
    """Call functions in threads of their own, all at the same moment."""

    def call(*functions: Callable[[], Any]) -> list[Any]:
        barrier = Barrier(len(functions))

        def start(function: Callable[[], Any]) -> Any:
            barrier.wait()
            return function()

        with ThreadPoolExecutor(len(functions)) as pool:
            return list(pool.map(start, functions))

    return call


def pytest_collection_finish() -> None:
    """Look for garbage more rarely, and not among what was imported: tracing makes many objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the fuzzer run longer, or elsewhere."""
    parser.addoption("--fuzz-seconds", type=float, default=5, help="how long hostile input is tried")
    parser.addoption("--fuzz-seed", type=int, default=0, help="which hostile input is tried")
