"""The theory's tests run in float64 with rank promotion refused, and compile in half of the time.

A chunk is always computed whole, however few instances are asked for: it is as small here as most sweeps are. A module
whose claim is measured of several problems of the zoo's shapes computes operation by operation: these are compiled once
for all such modules, where every problem's program would be compiled for itself.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Problem, Sampling, zoo
from theory.claim import Claim, Report
from theory.runs import programs
from theory.runs.checks import Evidence
from theory.runs.programs import Drawn


class OperationByOperation:
    """In place of a chunk's program: the same instances at once, each operation compiled by itself."""

    shapes = ()

    def __init__(self, measure: Callable[[jax.Array], Any], seed: int, num_seeds: int, chunk_size: int | None):
        """As many instances as are asked for, up to one of a few sizes."""
        self.measure, self.root = measure, jax.random.key(seed)
        self.chunk_size = chunk_size or 64 * 4 ** max(0, int(np.ceil(np.log(num_seeds / 64) / np.log(4))))

    def measure_one(self, index: jax.Array) -> Drawn:
        """Draw and measure an instance as the program does."""
        key = jax.random.fold_in(self.root, index)
        return Drawn(jax.random.key_data(key), self.measure(key))

    def __call__(self, start: int) -> Drawn:
        """Measure the chunk that begins with an instance."""
        return jax.device_get(jax.vmap(self.measure_one)(start + jnp.arange(self.chunk_size, dtype=jnp.uint32)))


def pytest_configure(config: pytest.Config) -> None:
    """Name the modules that don't measure as users do."""
    config.addinivalue_line("markers", "by_operation: sweeps are computed operation by operation, not compiled whole")


@pytest.fixture(autouse=True, scope="module")
def double_precision_compiled_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch double precision on for this folder alone, and optimizations off, in its subprocesses too."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        patch.setitem(programs.CHUNK_SIZE, "cpu", 16)
        if request.node.get_closest_marker("by_operation"):
            patch.setattr("theory.runs.sweeps.compile_chunks", OperationByOperation)
        yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def few() -> Sampling:
    """Just enough instances and step sizes for a verdict."""
    return Sampling(num_seeds=32, teacher_steps=(1e-5, 1e-4, 1e-3), learning_rates=(0.3,))


@pytest.fixture(scope="module")
def softmax_regression() -> Problem:
    """The smallest problem whose remainders are curved: a linear model under cross-entropy."""
    return zoo.variant("softmax regression", hidden=())


@pytest.fixture(scope="session")
def judge_again() -> Callable[..., list[str]]:
    """Judge a report's measurements again, each of them changed: another formula without another simulation."""

    def judge(claim: Claim, sampling: Sampling, report: Report, change: Callable[[Any], Any]) -> list[str]:
        changed = {case: change(result) for case, result in report.measurements.items()}
        return [verdict.outcome for verdict in claim.judge(Evidence(changed, sampling))]

    return judge
