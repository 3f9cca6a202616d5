"""Sweeps over random instances: one compiled program, run chunk after chunk so that memory stays bounded."""

import os
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from theory.runs.command_line import require, require_positive, require_seeds
from theory.runs.processes import gathered
from theory.runs.programs import ChunkProgram, Drawn, Experiment, compile_chunks, of_keys
from theory.runs.progress import Progress
from theory.runs.statistics import fitted_order

Measurement = TypeVar("Measurement")
Case = TypeVar("Case", bound=Hashable)


def sweep(
    measure: Callable[[jax.Array], Measurement] | Experiment,
    seed: int,
    num_seeds: int,
    *,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure many independent random instances, on all devices of all processes.

    Instance `i` is drawn from `fold_in(key(seed), i)`, so it does not depend on how many run beside it. The last
    chunk is filled up with further instances, which are dropped.

    Args:
        measure: An experiment, or a random key to a named tuple of arrays; called under `jit` and `vmap`.
        seed: Root of all randomness.
        num_seeds: Number of instances.
        chunk_size: Instances computed at once by each process; bounds memory. Chosen from memory by default.
        progress: A bar to advance by the number of finished instances.

    Returns:
        The same named tuple, of NumPy arrays with a leading axis `(num_seeds,)`, on every process.

    Raises:
        ValueError: If there is no instance or no room for one.
    """
    shares = {None: sweep_share(measure, seed, num_seeds, chunk_size, progress)}
    return gather_shares(shares, num_seeds)[None]


def sweep_share(
    measure: Callable[[jax.Array], Any] | Experiment,
    seed: int,
    num_seeds: int,
    chunk_size: int | None = None,
    progress: Progress | None = None,
) -> Drawn:
    """Compile a program and measure the instances that fall to this process."""
    if num_seeds < 1 or (chunk_size is not None and chunk_size < 1):
        raise ValueError(f"num_seeds and chunk_size must be at least 1, not {num_seeds} and {chunk_size}")
    experiment = measure if isinstance(measure, Experiment) else of_keys(measure)
    return run_share(compile_chunks(experiment, seed, num_seeds, chunk_size), num_seeds, progress)


def run_share(program: ChunkProgram, num_seeds: int, progress: Progress | None = None) -> Drawn:
    """Measure the instances that fall to this process: every process has as many, in the order of the processes.

    There are whole chunks of them; what lies beyond `num_seeds` is void.
    """
    num_chunks = -(-num_seeds // (program.chunk_size * jax.process_count()))
    first = jax.process_index() * num_chunks * program.chunk_size
    void = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), program.shapes)
    chunks = []
    for start in range(first, first + num_chunks * program.chunk_size, program.chunk_size):
        chunks.append(program(start) if start < num_seeds else void)
        if progress is not None:
            progress.advance(max(0, min(program.chunk_size, num_seeds - start)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)


def gather_shares(shares: Mapping[Case, Drawn], num_seeds: int) -> dict[Case, Any]:
    """Put the shares of all processes together, and make sure that every instance is one of its own."""
    leaves, structure = jax.tree.flatten(list(shares.values()))
    whole = [array[:num_seeds] for array in gathered(leaves)]
    cases: list[Drawn] = jax.tree.unflatten(structure, whole)
    for drawn in cases:
        if (different := len(np.unique(drawn.key, axis=0))) < num_seeds:
            raise RuntimeError(f"{num_seeds} instances were drawn from {different} keys: they are not independent")
    return dict(zip(shares, [drawn.measurement for drawn in cases], strict=True))


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which random instances and which step sizes a claim is verified on."""

    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""
    num_seeds: int = 256
    """Random instances of each case; up to four times as many where a claim has fewer than four of all cases."""
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
        allowed = "in increasing order, each once"
        require(
            sorted(set(self.teacher_steps)) == list(self.teacher_steps),
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

    def sweep_all(
        self, measures: Mapping[Case, Callable[[jax.Array], Any] | Experiment], description: str
    ) -> dict[Case, Any]:
        """Measure every instance of several cases, side by side in threads since most of the time is compilation.

        Args:
            measures: For each case an experiment, or a function from random key to a named tuple of arrays.
            description: What the progress bar says.

        Returns:
            For each case the same named tuple, of NumPy arrays with a leading axis `(num_seeds,)`.
        """
        total = len(measures) * self.num_seeds
        bar = Progress(description, total, "instances", shown=jax.process_index() == 0)
        context = copy_context()

        def measure_share(measure: Callable[[jax.Array], Any] | Experiment) -> Any:
            return context.copy().run(sweep_share, measure, self.seed, self.num_seeds, progress=bar)

        with bar, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            shares = pool.map(measure_share, measures.values())
            return gather_shares(dict(zip(measures, shares, strict=True)), self.num_seeds)

    def orders(self, remainders: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray:
        """Fit the order of each remainder in the teacher's small step sizes.

        Args:
            remainders: Shape `(..., teacher_steps)`.
            rounding: Their rounding, shape `(...)`.

        Returns:
            Shape `(...)`; NaN where a remainder is exactly zero, or fewer than three are above rounding.
        """
        small = slice(self.num_fitted)
        return fitted_order(np.array(self.teacher_steps[small]), remainders[..., small], rounding)
