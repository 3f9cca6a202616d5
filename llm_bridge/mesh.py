"""The mesh of devices that a model runs on: chosen from their number and memory, and put in force."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from llm_bridge.placement import DATA, TENSOR, shardings
from llm_bridge.shapes import Config, initialize
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


def make_mesh(tensor: int) -> Mesh:
    """Arrange all devices of all processes; those that share a weight are neighbors.

    Args:
        tensor: Devices that share a weight, a divisor of their number.

    Returns:
        A mesh with a data and a tensor axis.
    """
    shape = (jax.device_count() // tensor, tensor)
    return jax.make_mesh(shape, (DATA, TENSOR), axis_types=(AxisType.Auto, AxisType.Auto))


def bytes_a_device(mesh: Mesh | AbstractMesh, like: Any) -> int:
    """Compute what a tree of arrays takes on each device.

    Args:
        mesh: Devices with a data and a tensor axis.
        like: Arrays, or `jax.ShapeDtypeStruct`.

    Returns:
        Bytes.
    """
    sizes = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        like,
        shardings(mesh, like),
    )
    return sum(jax.tree.leaves(sizes))


def possible_splits(config: Config, devices: int) -> list[int]:
    """List over how many devices a weight can be split.

    Args:
        config: The model's shape.
        devices: Devices that there are.

    Returns:
        The common divisors of devices, key heads and hidden units, in increasing order.
    """
    common = math.gcd(devices, config.num_key_heads, config.hidden)
    return [size for size in range(1, common + 1) if common % size == 0]


def fewest_to_share(config: Config, devices: int, available: int, *, dtype: Any = jnp.float32, needed: int = 0) -> int:
    """Decide over how many devices every weight is split: over as few as leave room for everything.

    Args:
        config: The model's shape.
        devices: Devices that there are.
        available: Bytes that each has left.
        dtype: The weights' type.
        needed: Bytes that all devices together need for everything else: caches, activations, an optimizer's state.

    Returns:
        Devices that share a weight.

    Raises:
        InputError: If the model fits them in no way.
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
    """Decide how a model is spread over all devices of all processes: weights over the tensor axis, rows over the rest.

    Args:
        config: The model's shape.
        tensor: Devices that share a weight; by default as of `fewest_to_share`.
        dtype: As of `fewest_to_share`.
        needed: As of `fewest_to_share`.

    Returns:
        A mesh with a data and a tensor axis; None for a single device.

    Raises:
        InputError: If the weights can't be split so, or don't fit however they are split.
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
    return make_mesh(tensor)


def on_mesh(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Put a mesh in force: what is sampled, trained or evaluated inside is spread over it.

    Threads that are started inside don't know of it.

    Args:
        mesh: As of `choose_mesh`.

    Returns:
        A context; with None it changes nothing.
    """
    return nullcontext() if mesh is None else jax.set_mesh(mesh)
