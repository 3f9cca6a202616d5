"""The theory's tests run in float64 with rank promotion refused, and compile in half of the time.

A chunk is always computed whole, however few instances are asked for: it is as small here as most sweeps are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest

from theory import Problem, Sampling, zoo
from theory.claim import Claim, Report
from theory.runs import programs
from theory.runs.checks import Evidence


@pytest.fixture(autouse=True, scope="module")
def double_precision_compiled_quickly() -> Iterator[None]:
    """Switch double precision on for this folder alone, and optimizations off, in its subprocesses too."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        patch.setitem(programs.CHUNK_SIZE, "cpu", 16)
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
