"""The compiled program of a sweep: a chunk of instances at once, as large as memory allows, on all local devices."""

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache, partial
from threading import Lock
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


Run = Callable[[Callable[[jax.Array], Any], Any], Any]
"""Does for all instances of a chunk what a function does for one of them."""


class Experiment(NamedTuple):
    """What a sweep does with an instance's random key, in two steps."""

    draw: Callable[[Any, Run], Any]
    """From the keys of a chunk, by any number of small programs, to what is measured."""
    measure: Callable[[Any], Any]
    """From what was drawn for one instance to a named tuple of arrays."""


def of_keys(measure: Callable[[jax.Array], Any]) -> Experiment:
    """Draw and measure in one program: a function of a random key."""
    return Experiment(lambda keys, run: keys, measure)


class Program:
    """A function of one instance, compiled for a chunk of them, spread over the local devices."""

    def __init__(self, function: Callable[[Any], Any], arguments: Any, options: Mapping[str, str | bool]):
        """Trace it for arguments of these shapes; it is compiled when first called, on CPUs with these options."""
        split = chunk_split()
        chunk = jax.vmap(function)
        traced = jax.jit(
            jax.shard_map(chunk, mesh=split.mesh, in_specs=split.spec, out_specs=split.spec, check_vma=False)
        ).trace(arguments)
        self.shapes = jax.tree.map(partial(shape_of_chunk, split=split), traced.out_info)
        self.lowered = traced.lower()
        self.options = dict(options) if jax.default_backend() == "cpu" else None
        self.lock = Lock()

    @cached_property
    def text(self) -> str:
        """The program and how it is compiled: what its numbers depend on."""
        return f"{self.options}\n{self.lowered.as_text()}"

    @cached_property
    def compiled(self) -> Any:
        """The compiled program."""
        return self.lowered.compile(self.options)

    def __call__(self, arguments: Any) -> Any:
        """Compute a chunk."""
        with self.lock:
            compiled = self.compiled
        return compiled(arguments)


def chunk_split() -> jax.NamedSharding:
    """How a chunk is spread over the local devices."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("instances",))
    return jax.NamedSharding(mesh, jax.P("instances"))


def shape_of_chunk(leaf: Any, split: jax.NamedSharding) -> jax.ShapeDtypeStruct:
    """The shape of an array, spread like this."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=split)


def key_shapes(chunk_size: int) -> jax.ShapeDtypeStruct:
    """The keys of a chunk."""
    return jax.ShapeDtypeStruct((chunk_size,), jax.random.key(0).dtype, sharding=chunk_split())


class Itself(NamedTuple):
    """A function, equal to itself alone, whether it can be hashed or not."""

    function: Callable[[jax.Array], Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.function is other.function

    def __hash__(self) -> int:
        return id(self.function)


DRAWING = Lock()
"""Held while a program that draws is traced, so that several threads share one."""


def drawing(function: Callable[[jax.Array], Any], chunk_size: int, options: Mapping[str, str | bool]) -> Program:
    """The program that draws what a function draws from a key, the same one for whoever draws it."""
    with DRAWING:
        return _drawing(Itself(function), chunk_size, tuple(options.items()), jnp.result_type(float))


@lru_cache(maxsize=256)
def _drawing(draw: Itself, chunk_size: int, options: tuple[tuple[str, str | bool], ...], precision: Any) -> Program:
    del precision
    return Program(draw.function, key_shapes(chunk_size), dict(options))


class Wiring:
    """What is drawn from what, in words: in which programs, and from which keys."""

    def __init__(self, chunk_size: int, options: Mapping[str, str | bool]):
        self.chunk_size, self.options = chunk_size, options
        self.keys = key_shapes(chunk_size)
        self.places = {id(self.keys): "key"}
        self.drawn: list[tuple[str, Any]] = []

    def __call__(self, function: Callable[[jax.Array], Any], keys: Any) -> Any:
        """Note a draw, and say of which shapes its results are."""
        program = drawing(function, self.chunk_size, self.options)
        results = jax.tree.map(partial(shape_of_chunk, split=chunk_split()), program.shapes)
        self.places |= {id(leaf): f"{len(self.drawn)}.{place}" for place, leaf in enumerate(jax.tree.leaves(results))}
        self.drawn.append((f"{self.places[id(keys)]}: {program.text}", results))
        return results

    def text(self, arguments: Any) -> str:
        """All draws, and which of their results these arguments are."""
        places = [self.places[id(leaf)] for leaf in jax.tree.leaves(arguments)]
        return "\n".join([*(text for text, _ in self.drawn), *places])


class ChunkProgram:
    """Compiled programs that draw a chunk of instances and measure them, spread over the local devices."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        chunk_size: int,
        options: Mapping[str, str | bool] = COMPILER_OPTIONS,
    ):
        """Trace them; they are compiled when a chunk is first computed."""
        num_devices = jax.local_device_count()
        self.chunk_size = -(-chunk_size // num_devices) * num_devices
        self.experiment, self.seed, self.options = experiment, seed, options
        wiring = Wiring(self.chunk_size, options)
        arguments = experiment.draw(wiring.keys, wiring)
        self.measuring = Program(experiment.measure, arguments, options)
        self.shapes = Drawn(jax.eval_shape(jax.random.key_data, wiring.keys), self.measuring.shapes)
        self.keeper = Keeper(f"fold_in(key({seed}), index)\n{wiring.text(arguments)}\n{self.measuring.text}")

    @property
    def result_size(self) -> float:
        """Bytes of an instance's result."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.shapes)) / self.chunk_size

    @property
    def working_size(self) -> float:
        """Bytes that a device needs for an instance while it computes."""
        memory = self.measuring.compiled.memory_analysis()
        each = self.chunk_size / jax.local_device_count()
        parts = ("argument", "temp", "output")
        return sum(getattr(memory, f"{part}_size_in_bytes") for part in parts) / each if memory else 0.0

    def run(self, function: Callable[[jax.Array], Any], keys: Any) -> Any:
        """Draw what a function draws from the keys of a chunk."""
        return drawing(function, self.chunk_size, self.options)(keys)

    def __call__(self, start: int) -> Drawn:
        """Measure the chunk that begins with an instance, or take it from disk if an earlier run has finished it."""

        def compute() -> Drawn:
            indices = jax.device_put(start + np.arange(self.chunk_size, dtype=np.uint32), chunk_split())
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(self.seed), indices)
            arguments = self.experiment.draw(keys, self.run)
            return jax.device_get(Drawn(jax.random.key_data(keys), self.measuring(arguments)))

        return self.keeper.kept(start, self.shapes, compute)


def compile_chunks(experiment: Experiment, seed: int, num_seeds: int, chunk_size: int | None) -> ChunkProgram:
    """Make a program for the largest chunk that is useful and fits in memory."""
    options = COMPILER_OPTIONS if num_seeds < MANY else OPTIMIZED
    preferred = CHUNK_SIZE.get(jax.default_backend(), LARGE_CHUNK_SIZE * jax.local_device_count())
    program = ChunkProgram(experiment, seed, chunk_size or preferred, options)
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
    return ChunkProgram(experiment, seed, 2 ** int(np.log2(max(fitting, 1))), options)
