"""Ways to check claims 1 and 2 on many random instances, for the benchmark: all give the same numbers."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import one_step, zoo
from theory.benchmark import torch_steps
from theory.predictions import natural_units, transfer_form
from theory.problem import Problem, draw_instance, inner_product, student_displacement, trait_descent

Result = tuple[np.ndarray, np.ndarray]
"""Alignments and changes of the trait loss, each of shape `(num_seeds, num_steps)`."""

Run = Callable[[int], Result]
"""From a number of seeds to what was measured in them."""

CHUNK_SIZE = 32
"""Seeds that one thread computes at once: what stays in a core's cache."""

LARGEST_PLAIN = 1000
"""Most seeds of the plain way at once: more would not fit in memory."""

LONGEST_LOOP = 100
"""Instances after which the Python loop is stopped: it doesn't get faster."""

TORCH_CHUNK_SIZE = 16
"""Seeds that torch computes at once: of 16, 64 and 256 the fastest on one thread of a busy machine."""


def check(problem: Problem, key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Check one instance as one would write it down: alignment as predicted and simulated, change of the trait loss."""
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    size = step * units.teacher_step
    predicted = size * transfer_form(problem, instance, direction, direction)
    displacement = student_displacement(problem, instance, direction, size)
    student = optax.tree.add_scale(instance.student, units.learning_rate, displacement)
    losses = [problem.trait_loss(params, instance.trait_data) for params in (student, instance.student)]
    return predicted, inner_product(displacement, direction), losses[0] - losses[1]


def run_in_chunks(problem: Problem, seed: int, teacher_steps: Sequence[float]) -> Run:
    """Prepare our way: `one_step.measure`, compiled for a chunk that fits the cache, a thread a core."""
    root = jax.random.key(seed)
    measure = partial(one_step.measure, problem, teacher_steps=teacher_steps, learning_rates=(1.0,), steps_at_once=2)
    draw = jax.jit(jax.vmap(lambda index: draw_instance(problem, jax.random.fold_in(root, index))))
    compute = jax.jit(jax.vmap(lambda drawn: measure(drawn._replace(student=drawn.teacher))))

    def run(num_seeds: int) -> Result:
        size = min(CHUNK_SIZE, num_seeds)
        chunks = [start + np.arange(size, dtype=np.uint32) for start in range(0, num_seeds, size)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            steps = list(pool.map(lambda chunk: jax.device_get(compute(draw(chunk))), chunks))
        inner = np.concatenate([chunk.alignment for chunk in steps])
        change = np.concatenate([chunk.change[..., 0] for chunk in steps])
        return inner[:num_seeds], change[:num_seeds]

    return run


def compile_plain(problem: Problem, seed: int, teacher_steps: Sequence[float]) -> Any:
    """Write the plain way: the whole check, mapped over step sizes and then over seeds, by their numbers."""
    root, steps = jax.random.key(seed), jnp.array(teacher_steps)
    every_step = jax.vmap(partial(check, problem), in_axes=(None, 0))
    return jax.jit(jax.vmap(lambda index: every_step(jax.random.fold_in(root, index), steps)))


def run_plainly(compute: Any) -> Run:
    """Prepare the plain way, on as many seeds at once as there are, up to `LARGEST_PLAIN`."""

    def run(num_seeds: int) -> Result:
        size = min(LARGEST_PLAIN, num_seeds)
        starts = range(0, num_seeds, size)
        chunks = [jax.device_get(compute(start + np.arange(size, dtype=np.uint32))) for start in starts]
        _, inner, change = (np.concatenate(parts)[:num_seeds] for parts in zip(*chunks, strict=True))
        return inner, change

    return run


def run_in_loop(problem: Problem, seed: int, teacher_steps: Sequence[float]) -> Run:
    """Prepare the way of a Python loop around one jitted check; it stops after `LONGEST_LOOP` instances."""
    root = jax.random.key(seed)
    compute = jax.jit(lambda index, step: check(problem, jax.random.fold_in(root, index), step))

    def run(num_seeds: int) -> Result:
        whole = max(1, LONGEST_LOOP // len(teacher_steps))
        rows = [
            [jax.device_get(compute(np.uint32(index), step)) for step in teacher_steps]
            for index in range(min(num_seeds, whole))
        ]
        _, inner, change = np.moveaxis(np.array(rows), -1, 0)
        return inner, change

    return run


def run_in_torch(problem: Problem, seed: int, teacher_steps: Sequence[float], most: int) -> Run:
    """Prepare torch's way, on `most` instances of the reference case that are drawn beforehand."""
    root = jax.random.key(seed)

    @jax.jit
    @jax.vmap
    def draw(index: jax.Array) -> tuple[Any, ...]:
        instance = draw_instance(problem, jax.random.fold_in(root, index))
        hidden, head = instance.teacher["hidden"], instance.teacher["head"]
        layers = [(layer["kernel"], layer["bias"]) for layer in (*(hidden[place] for place in sorted(hidden)), head)]
        return layers, instance.inputs, *instance.trait_data

    data = torch_steps.Data(*jax.device_get(draw(jnp.arange(most, dtype=jnp.uint32))))
    return torch_steps.steps_in_torch(data, teacher_steps, zoo.NUM_CLASSES, TORCH_CHUNK_SIZE)
