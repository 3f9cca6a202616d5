r"""How fast seeds run: seconds a seed of all six arms, beside what a bare matrix product reaches in the same process.

Operations are counted by formula, those of the matrix products alone. Every repetition times the product again just
before each run, so that a machine shared with others slows both.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_mnist.against import time_processes
from mlp_mnist.arms import DEMO_ARMS, PUBLISHED, Measured
from mlp_mnist.data import Dataset, Source, load
from mlp_mnist.experiment import group_size, num_workers, run_seeds
from mlp_mnist.network import contract
from mlp_mnist.options import Benchmark
from mlp_mnist.protocol import NUM_CLASSES, Precision, Protocol
from mlp_mnist.verdicts import judge_speed
from theory.runs.chunks import keep_in
from theory.runs.memory import peak_memory
from theory.runs.records import Outcome

LEAST_SECONDS = 0.05
"""A bare product is repeated for about as long."""

MOST_WORKERS = 1024
"""More than any machine has cores."""


def time_seeds(protocol: Protocol, source: Source, options: Benchmark) -> Outcome:
    """Time every precision, and hold their accuracies against each other: speed is reported, agreement is judged."""
    data = load(source)
    (num_train, num_pixels), num_test = data.train_images.shape, len(data.test_labels)
    operations = count_operations(protocol, num_pixels, num_train, num_test, len(DEMO_ARMS))
    timing = () if options.against is None else (partial(time_processes, source, options),)
    results = {"operations": np.array(operations), **time_precisions(protocol, data, options, *timing)}
    if options.against is not None:
        results["process seeds"] = np.array(options.against_seeds)
    for name in options.precisions:
        speeds = operations * np.array(options.num_seeds) / results[f"seconds/{name}"]
        results |= {f"speed/{name}": speeds, f"share/{name}": speeds / results[f"peak/{name}"].max()}
    return judge_speed(results, options.num_seeds, options.precisions)


def time_precisions(
    protocol: Protocol, data: Dataset, options: Benchmark, time_others: Callable[[], dict[str, float]] = dict
) -> dict[str, np.ndarray]:
    """Time every precision at every number of seeds, by turns; nothing is kept from one run for the next.

    For each precision: `seconds` of each run and the `peak` of a bare matrix product just before it, operations a
    second, both of shape `(repetitions, counts)`; `memory`, peak bytes of the process, or of an accelerator, from its
    start to after each count's first run, shape `(counts,)`; `compile seconds`, what the first seeds took beyond the
    next, where what all precisions share is compiled with the first of them; and the `accuracy` of the six arms in the
    run of most seeds. Beside them the seeds that run `at once`, and the `process seconds` of each of the others, shape
    `(repetitions,)`, which are timed first in each repetition.
    """
    keep_in(None)
    at_once, results = group_size() * jax.local_device_count(), dict[str, np.ndarray]()
    shape, others = (options.repetitions, len(options.num_seeds)), []

    def run(precision: Precision, count: int) -> tuple[Measured, float]:
        point = replace(protocol, precision=precision)
        return time_run(lambda: run_seeds([point], list(DEMO_ARMS.values()), data, options.seed, count))

    for name in options.precisions:
        first, second = (run(name, at_once)[1] for _ in range(2))
        results |= {f"{kind}/{name}": np.zeros(shape) for kind in ("seconds", "peak")}
        results |= {f"memory/{name}": np.zeros(shape[1]), f"compile seconds/{name}": np.array(max(0.0, first - second))}
    for repetition, place in np.ndindex(shape):
        if place == 0:
            others.append(time_others())
        for name in options.precisions:
            results[f"peak/{name}"][repetition, place] = time_peak(name)
            measured, results[f"seconds/{name}"][repetition, place] = run(name, options.num_seeds[place])
            if repetition == 0:
                results[f"memory/{name}"][place] = peak_memory()
            arms = Measured(*(each[0] for each in measured)).named(DEMO_ARMS)
            results |= {f"accuracy/{name}/{arm}": arms[f"accuracy/{arm}"] for arm in PUBLISHED}
    results |= {f"process seconds/{name}": np.array([each[name] for each in others]) for name in others[0]}
    return results | {"at once": np.array(at_once)}


def count_operations(protocol: Protocol, num_pixels: int, num_train: int, num_test: int, num_students: int) -> float:
    r"""Count the operations of one seed's matrix products.

    A pass forward through weights of $w$ entries takes $2w$ for each image, the weights' gradients as many, and the
    inputs' gradients as many again for all layers but the first. The teacher, which has no auxiliary logits then, sees
    all training images each epoch, the students all of theirs; the teacher labels these once; init, teacher and
    students are scored on the test images.
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
    """Say how large the square matrices are whose product shows what the machine can do."""
    return (1024, 2048) if jax.default_backend() == "cpu" else (4096, 8192)


@jax.jit
def square(factor: jax.Array) -> jax.Array:
    """Multiply a matrix by itself."""
    return contract(factor, factor, (1, 0))


def time_peak(precision: Precision) -> float:
    """Time bare products of square matrices: one at a time with XLA's own threads, and one a core or device at once."""
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
    """Time a computation."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start
