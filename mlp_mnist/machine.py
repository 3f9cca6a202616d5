"""What a seed asks of the machine, and what the machine can do: operations, speed of a bare product, memory."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mlp_mnist.experiment import num_workers
from mlp_mnist.network import contract
from mlp_mnist.protocol import NUM_CLASSES, Protocol

Precision = Literal["float32", "bf16"]

LEAST_SECONDS = 0.05
"""A bare product is repeated for about as long."""

MOST_WORKERS = 1024
"""More than any machine has cores."""


def count_operations(protocol: Protocol, num_pixels: int, num_train: int, num_test: int, num_students: int) -> float:
    r"""Count the operations of one seed's matrix products.

    A pass forward through weights of $w$ entries takes $2w$ for each image, the weights' gradients as many, and the
    inputs' gradients as many again for all layers but the first. The teacher, which has no auxiliary logits then, sees
    all training images each epoch, the students all of theirs; the teacher labels these once; init, teacher and
    students are scored on the test images.

    Args:
        protocol: The protocol.
        num_pixels: Pixels of an image.
        num_train: The teacher's training images.
        num_test: Test images.
        num_students: Students that learn from the teacher.

    Returns:
        Additions and multiplications; all else, and what fills up the last batch of an epoch, is left out.
    """
    hidden = [before * after for before, after in pairwise((num_pixels, *protocol.hidden))]

    def forward(num_logits: int) -> float:
        return 2 * (sum(hidden) + protocol.hidden[-1] * num_logits)

    def step(num_logits: int) -> float:
        return 3 * forward(num_logits) - 2 * hidden[0]

    num_logits = NUM_CLASSES + protocol.num_auxiliary
    teacher = protocol.teacher_epochs * num_train * step(NUM_CLASSES)
    students = num_students * protocol.student_epochs * protocol.num_images * step(num_logits)
    return teacher + students + (protocol.num_images + (2 + num_students) * num_test) * forward(num_logits)


def peak_sizes() -> tuple[int, ...]:
    """Say how large the square matrices are whose product shows what the machine can do.

    Returns:
        Rows.
    """
    return (1024, 2048) if jax.default_backend() == "cpu" else (4096, 8192)


@jax.jit
def square(factor: jax.Array) -> jax.Array:
    """Multiply a matrix by itself.

    Args:
        factor: Shape `(size, size)`.

    Returns:
        Same shape, float32.
    """
    return contract(factor, factor, (1, 0))


def time_peak(precision: Precision) -> float:
    """Time bare products of square matrices: one at a time with XLA's own threads, and one a core or device at once.

    Args:
        precision: Precision of the factors; sums are float32.

    Returns:
        Operations a second, the best of all sizes and both ways.
    """
    devices, dtype = jax.local_devices(), jnp.bfloat16 if precision == "bf16" else jnp.float32

    def time_size(size: int, workers: int) -> float:
        factors = [jax.device_put(jnp.ones((size, size), dtype), devices[i % len(devices)]) for i in range(workers)]

        def repeat(factor: jax.Array, times: int) -> None:
            for _ in range(times):
                square(factor).block_until_ready()

        with ThreadPoolExecutor(workers) as pool:

            def time_all(times: int) -> float:
                return time_run(lambda: list(pool.map(partial(repeat, times=times), factors)))[1]

            time_all(1)
            times = 1 + round(LEAST_SECONDS / time_all(1))
            return 2 * size**3 * workers * times / min(time_all(times) for _ in range(2))

    return max(time_size(size, workers) for size in peak_sizes() for workers in {1, num_workers(MOST_WORKERS)})


def time_run(run: Callable[[], Any]) -> tuple[Any, float]:
    """Time a computation.

    Args:
        run: The computation; it returns when all is done.

    Returns:
        What it returned, and seconds.
    """
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def peak_memory() -> int:
    """Say how much memory was in use at once so far.

    Returns:
        Bytes: an accelerator's, if it counts them, else the process's.
    """
    stats = None if jax.default_backend() == "cpu" else jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
