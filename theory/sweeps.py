"""Sweeps over random instances: one compiled program, run chunk after chunk so that memory stays bounded."""

import os
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from theory.command_line import require, require_positive, require_seeds
from theory.statistics import fitted_order

Measurement = TypeVar("Measurement")
Case = TypeVar("Case", bound=Hashable)

CHUNK_SIZE = 64
"""Instances that are computed at once."""

COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}
"""Networks this small run as fast unoptimized, and compile in a third of the time."""


def sweep(
    measure: Callable[[jax.Array], Measurement],
    seed: int,
    num_seeds: int,
    *,
    chunk_size: int = CHUNK_SIZE,
    progress: tqdm | None = None,
) -> Measurement:
    """Measure many independent random instances.

    Instance `i` is drawn from `fold_in(key(seed), i)`, so it does not depend on how many run beside it. The last
    chunk is filled up with further instances, which are dropped.

    Args:
        measure: Random key to a named tuple of arrays; called once, under `jit` and `vmap`.
        seed: Root of all randomness.
        num_seeds: Number of instances.
        chunk_size: Instances computed at once; bounds memory.
        progress: A bar to advance by the number of finished instances.

    Returns:
        The same named tuple, of NumPy arrays with a leading axis `(num_seeds,)`.

    Raises:
        ValueError: If there is no instance or no room for one.
    """
    if num_seeds < 1 or chunk_size < 1:
        raise ValueError(f"num_seeds and chunk_size must be at least 1, not {num_seeds} and {chunk_size}")
    root = jax.random.key(seed)

    def measure_one(index: jax.Array) -> Measurement:
        return measure(jax.random.fold_in(root, index))

    compute = jax.jit(jax.vmap(measure_one), compiler_options=COMPILER_OPTIONS)
    chunks: list[Any] = []
    for start in range(0, num_seeds, chunk_size):
        chunks.append(jax.device_get(compute(start + jnp.arange(chunk_size, dtype=jnp.uint32))))
        if progress is not None:
            progress.update(min(chunk_size, num_seeds - start))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_seeds], *chunks)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which random instances and which step sizes a claim is verified on."""

    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""
    num_seeds: int = 256
    """Random instances of each case."""
    teacher_steps: tuple[float, ...] = tuple(float(f"{step:.3g}") for step in np.geomspace(1e-5, 1, 11))
    """The teacher's step sizes (epsilon); at 1 its outputs move by 1, root mean square, to first order."""
    learning_rates: tuple[float, ...] = (0.1, 1.0, 10.0)
    """The student's step sizes (alpha); at 1 it moves as far along the displacement as the teacher."""
    largest_fitted_step: float = 1e-3
    """Orders are fitted to the teacher's step sizes up to this one; at least three."""
    cases: Literal["all", "few"] = "all"
    """Cases of the zoo: all of them, or few and done in a third of the time."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)
        require_positive("teacher_steps", self.teacher_steps)
        require_positive("learning_rates", self.learning_rates)
        require_positive("largest_fitted_step", (self.largest_fitted_step,))
        allowed = "at least three different values up to largest_fitted_step"
        require(len(set(self.teacher_steps[: self.num_fitted])) >= 3, "teacher_steps", allowed, self.teacher_steps)
        allowed = "in increasing order"
        require(
            sorted(self.teacher_steps) == list(self.teacher_steps),
            "teacher_steps",
            allowed,
            self.teacher_steps,
        )

    def config(self) -> dict[str, Any]:
        """List the fields that define the instances.

        Returns:
            Values by field name, ready for JSON.
        """
        return {field.name: getattr(self, field.name) for field in fields(Sampling)}

    @property
    def num_fitted(self) -> int:
        """How many of the teacher's step sizes enter a fitted order."""
        return sum(step <= self.largest_fitted_step for step in self.teacher_steps)

    def sweep_all(self, measures: Mapping[Case, Callable[[jax.Array], Any]], description: str) -> dict[Case, Any]:
        """Measure every instance of several cases, side by side in threads since most of the time is compilation.

        Args:
            measures: For each case a function from random key to a named tuple of arrays.
            description: What the progress bar says.

        Returns:
            For each case the same named tuple, of NumPy arrays with a leading axis `(num_seeds,)`.
        """
        total = len(measures) * self.num_seeds
        bar = tqdm(total=total, desc=description, unit=" instances", disable=None, leave=False)
        with bar, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            results = pool.map(lambda one: sweep(one, self.seed, self.num_seeds, progress=bar), measures.values())
            return dict(zip(measures, results, strict=True))

    def orders(self, remainders: np.ndarray) -> np.ndarray:
        """Fit the order of each remainder in the teacher's small step sizes.

        Args:
            remainders: Shape `(..., teacher_steps)`.

        Returns:
            Shape `(...)`; NaN where a remainder is exactly zero.
        """
        small = slice(self.num_fitted)
        return fitted_order(np.array(self.teacher_steps[small]), remainders[..., small])
