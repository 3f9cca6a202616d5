"""The compiled program of a sweep: a chunk of instances at once, as large as memory allows, on all local devices."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from theory.runs.chunks import Keeper
from theory.runs.memory import free_memory, require_memory

CHUNK_SIZE = {"cpu": 64}
"""Instances that all local devices compute at once if memory allows: what stays in a processor's cache."""

LARGE_CHUNK_SIZE = 8192
"""The same for accelerators, for each of them."""

COMPILER_OPTIONS: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}
"""Compiled whole, by XLA's older generator of code and unoptimized, a program is ready in a fifth of the time."""

MANY = 512
"""So many instances take longer than compilation does: optimization halves their time and triples that."""

OPTIMIZED = COMPILER_OPTIONS | {"xla_backend_optimization_level": "1"}
"""For them."""


class Drawn(NamedTuple):
    """An instance's measurement and what it was drawn from."""

    key: jax.Array
    """Words of its random key, shape `(words,)`; no two instances have the same."""
    measurement: Any
    """A named tuple of arrays."""


class ChunkProgram:
    """A compiled program that measures a chunk of instances, spread over the local devices."""

    def __init__(
        self,
        measure: Callable[[jax.Array], Any],
        seed: int,
        chunk_size: int,
        options: Mapping[str, str | bool] = COMPILER_OPTIONS,
    ):
        """Trace the program; it is compiled when a chunk is first computed, on CPUs with these options."""
        root, devices = jax.random.key(seed), jax.local_devices()
        mesh = jax.sharding.Mesh(np.array(devices), ("instances",))
        split = jax.P("instances")

        def measure_one(index: jax.Array) -> Drawn:
            key = jax.random.fold_in(root, index)
            return Drawn(jax.random.key_data(key), measure(key))

        chunk = jax.shard_map(jax.vmap(measure_one), mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
        self.chunk_size = -(-chunk_size // len(devices)) * len(devices)
        self.sharding = jax.NamedSharding(mesh, split)
        traced = jax.jit(chunk).trace(jax.ShapeDtypeStruct((self.chunk_size,), np.uint32, sharding=self.sharding))
        self.shapes = traced.out_info
        self.lowered = traced.lower()
        self.options = dict(options) if jax.default_backend() == "cpu" else None
        self.keeper = Keeper(f"{self.options}\n{self.lowered.as_text()}")

    @cached_property
    def compiled(self) -> Any:
        """The compiled program."""
        return self.lowered.compile(self.options)

    @property
    def result_size(self) -> float:
        """Bytes of an instance's result."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.shapes)) / self.chunk_size

    @property
    def working_size(self) -> float:
        """Bytes that a device needs for an instance while it computes."""
        memory = self.compiled.memory_analysis()
        each = self.chunk_size / jax.local_device_count()
        return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / each if memory else 0.0

    def __call__(self, start: int) -> Drawn:
        """Measure the chunk that begins with an instance, or take it from disk if an earlier run has finished it."""

        def compute() -> Drawn:
            indices = jax.device_put(start + np.arange(self.chunk_size, dtype=np.uint32), self.sharding)
            return jax.device_get(self.compiled(indices))

        return self.keeper.kept(start, self.shapes, compute)


def compile_chunks(
    measure: Callable[[jax.Array], Any], seed: int, num_seeds: int, chunk_size: int | None
) -> ChunkProgram:
    """Make a program for the largest chunk that is useful and fits in memory."""
    options = COMPILER_OPTIONS if num_seeds < MANY else OPTIMIZED
    preferred = CHUNK_SIZE.get(jax.default_backend(), LARGE_CHUNK_SIZE * jax.local_device_count())
    program = ChunkProgram(measure, seed, chunk_size or preferred, options)
    require_memory(
        f"the results of {num_seeds} instances do not fit in memory, take fewer",
        num_seeds * program.result_size,
        psutil.virtual_memory().available,
    )
    if chunk_size is not None:
        return program
    require_memory(
        "a single instance does not fit in memory, take a smaller network", program.working_size, free_memory()
    )
    fitting = int(free_memory() / 2 / max(program.working_size, 1.0)) * jax.local_device_count()
    if fitting >= program.chunk_size:
        return program
    return ChunkProgram(measure, seed, 2 ** int(np.log2(max(fitting, 1))), options)
