"""The theory's tests run in float64 with rank promotion refused."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def double_precision() -> Iterator[None]:
    """Switch double precision on for this folder alone."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
