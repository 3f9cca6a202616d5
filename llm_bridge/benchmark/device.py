"""What the device can do: matrix products, bytes from and to memory."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from llm_bridge.model.costs import Device

PASSES = 10
"""How often a large array is read and written in place; finding memory for it the first time counts for little then."""


def product_size() -> int:
    """Say how many rows the square matrices have whose product is timed."""
    return 1024 if jax.default_backend() == "cpu" else 8192


def stream_size() -> int:
    """Say how many numbers in float32 the array has that is read and written, larger than any cache."""
    return 2**25 if jax.default_backend() == "cpu" else 2**28


def time_runs(
    run: Callable[[], Any], repetitions: int, wait: Callable[[Any], Any] = jax.block_until_ready
) -> Float[np.ndarray, " repetitions"]:
    """Time a computation, whose result is waited for, in seconds after it was done once, so that it is compiled."""
    wait(run())
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        wait(run())
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def time_device(dtype: Any, repetitions: int) -> Device:
    """Time a bare product of large matrices, whose sums are float32, and a large array that is read and written.

    The fastest of all repetitions counts.
    """
    matrix, values = jnp.ones((product_size(), product_size()), dtype), jnp.ones(stream_size(), jnp.float32)
    multiply = jax.jit(lambda matrix: matrix @ matrix)
    add = jax.jit(lambda values: jax.lax.fori_loop(0, PASSES, lambda _, values: values + 1, values)[0])
    product = time_runs(lambda: multiply(matrix), repetitions).min()
    stream = time_runs(lambda: add(values), repetitions).min()
    return Device(peak=2 * len(matrix) ** 3 / product, bandwidth=2 * PASSES * values.nbytes / stream)


def peak_memory() -> float:
    """Say how many bytes of the device's memory were in use at once so far; NaN where it doesn't count them."""
    stats = jax.local_devices()[0].memory_stats()
    return float((stats or {}).get("peak_bytes_in_use", np.nan))
