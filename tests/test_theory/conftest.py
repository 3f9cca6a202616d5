"""The theory's tests run in float64 with rank promotion refused."""

from collections.abc import Iterator

import jax
import pytest

from theory import Problem, Sampling, zoo


@pytest.fixture(autouse=True, scope="package")
def double_precision() -> Iterator[None]:
    """Switch double precision on for this folder alone."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="package")
def few() -> Sampling:
    """Just enough instances and step sizes for a verdict."""
    return Sampling(num_seeds=32, teacher_steps=(1e-5, 1e-4, 1e-3), learning_rates=(0.3,))


@pytest.fixture(scope="package")
def softmax_regression() -> Problem:
    """The smallest problem whose remainders are curved: a linear model under cross-entropy."""
    return zoo.variant("softmax regression", hidden=())
