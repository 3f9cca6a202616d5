"""The mesh of devices that a model runs on: chosen from their number and memory, and put in force."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from llm_bridge.model.placement import DATA, TENSOR, shardings
from llm_bridge.model.shapes import Config, initialize
from theory.runs.command_line import InputError, require
from theory.runs.memory import free_memory, gibibytes
from theory.runs.processes import Processes, gathered


@dataclass(frozen=True, kw_only=True)
class Devices(Processes):
    """Over which devices and processes a model is spread; one device needs none of it."""

    tensor: int | None = None
    """Over how many devices every weight is split; the others split the rows. Default: as few as the weights need."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tensor is None or self.tensor >= 1, "tensor", "at least 1", self.tensor)


def bytes_a_device(mesh: Mesh | AbstractMesh, like: Any) -> int:
    """Compute what a tree of arrays, or of `jax.ShapeDtypeStruct`, takes on each device of a mesh."""
    sizes = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        like,
        shardings(mesh, like),
    )
    return sum(jax.tree.leaves(sizes))


def possible_splits(config: Config, devices: int) -> list[int]:
    """List over how many devices a weight can be split: common divisors of devices, key heads and hidden units."""
    common = math.gcd(devices, config.num_key_heads, config.hidden)
    return [size for size in range(1, common + 1) if common % size == 0]


def fewest_to_share(config: Config, devices: int, available: int, *, dtype: Any = jnp.float32, needed: int = 0) -> int:
    """Decide over how many devices every weight is split: over as few as leave room for everything.

    Each has `available` bytes left; `needed` are the bytes that all together need for everything but weights: caches,
    activations, an optimizer's state.
    """
    like = jax.eval_shape(lambda: initialize(config, jax.random.key(0), dtype))
    size = needed
    for tensor in possible_splits(config, devices):
        size = bytes_a_device(AbstractMesh((devices // tensor, tensor), (DATA, TENSOR)), like) + needed // devices
        if size <= available:
            return tensor
    raise InputError(
        f"the model doesn't fit {devices} devices, its weights split as far as they can be ({gibibytes(size)} of each "
        f"device needed, {gibibytes(available)} available): take more devices, or fewer rows at once"
    )


def choose_mesh(config: Config, *, tensor: int | None = None, dtype: Any = jnp.float32, needed: int = 0) -> Mesh | None:
    """Decide how all devices of all processes hold a model: weights over the tensor axis, rows over the rest.

    Devices that share a weight are neighbors: unless they are told, as many as `fewest_to_share` says. A single one has
    no mesh.
    """
    devices = jax.device_count()
    possible = possible_splits(config, devices)
    if tensor is not None and tensor not in possible:
        raise InputError(
            f"tensor must divide {devices} devices, {config.num_key_heads} key heads and {config.hidden} hidden units, "
            f"as {', '.join(map(str, possible))} do, not {tensor}"
        )
    if devices == 1:
        return None
    if tensor is None:
        available = int(np.min(gathered([np.array([free_memory()])])[0]))
        tensor = fewest_to_share(config, devices, available, dtype=dtype, needed=needed)
    return jax.make_mesh((devices // tensor, tensor), (DATA, TENSOR), axis_types=(AxisType.Auto, AxisType.Auto))


def on_mesh(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Put a mesh in force, if there is one: what is sampled, trained or evaluated inside is spread over it.

    Threads that are started inside don't know of it.
    """
    return nullcontext() if mesh is None else jax.set_mesh(mesh)
