"""Where arrays lie on a mesh of devices: rows over its data axis; heads, units and vocabulary over its tensor axis.

The mesh is the one in force, as `jax.set_mesh` sets it. Without one everything here does nothing, so that the compiled
programs of a single device stay what they are.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from llm_bridge.model.shapes import PROJECTIONS

DATA, TENSOR = "data", "tensor"
"""Axes of a mesh: rows are split over the first, weights over the second."""


def constrain(values: Shaped[Array, "*shape"], *axes: str | None) -> Shaped[Array, "*shape"]:
    """Tell the compiler which axes of the mesh in force split an array's first axes.

    An axis of the array that isn't a multiple of the mesh's is not split.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return values
    fitting = [
        axis if axis and not size % mesh.shape[axis] else None for size, axis in zip(values.shape, axes, strict=False)
    ]
    return jax.lax.with_sharding_constraint(values, PartitionSpec(*fitting))


def split_axes(name: str) -> tuple[int, ...]:
    """Say which axes of an array, counted from the last one, may be split over the tensor axis, the best first.

    What enters a layer's heads and units is split by outputs, what leaves them by inputs: so a device needs nothing
    from another until it has added up its part of the residual stream. Embedding and head are split by the vocabulary,
    so that no device holds all logits. The name is where the array is in its tree, joined by "."; whatever is before
    the last two names doesn't matter.
    """
    *_, place, part = ["", *name.split(".")]
    if part == "embedding":
        return (-2, -1)
    if part == "head":
        return (-1, -2)
    if place not in PROJECTIONS:
        return ()
    by_inputs = place in {"output", "down"}
    axes = {"kernel": -2, "into": -2} if by_inputs else {"kernel": -1, "bias": -1, "out": -1}
    return (axes[part],) if part in axes else ()


def sharding_of(mesh: Mesh | AbstractMesh, name: str, shape: tuple[int, ...]) -> NamedSharding:
    """Say how an array is split: by the first of its `split_axes` that the mesh divides, or not at all."""
    fitting = [axis for axis in split_axes(name) if shape[axis] % mesh.shape[TENSOR] == 0]
    axes: list[str | None] = [None] * len(shape)
    if fitting:
        axes[fitting[0]] = TENSOR
    return NamedSharding(mesh, PartitionSpec(*axes))


def shardings(mesh: Mesh | AbstractMesh, like: Any) -> Any:
    """Say how every array of a tree is split: of parameters, adapters or an optimizer's state, or of their shapes."""

    def one(path: Any, leaf: Any) -> NamedSharding:
        return sharding_of(mesh, jax.tree_util.keystr(path, simple=True, separator="."), np.shape(leaf))

    return jax.tree.map_with_path(one, like)


def fill_up(rows: Shaped[Array, "rows ..."]) -> Shaped[Array, "filled ..."]:
    """Repeat the first rows until the data axis of the mesh in force divides their number."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or len(rows) % mesh.shape[DATA] == 0:
        return rows
    return rows[np.arange(len(rows) + -len(rows) % mesh.shape[DATA]) % len(rows)]


def constrain_tree(tree: Any) -> Any:
    """Tell the compiler how parameters, adapters or an optimizer's state are split over the mesh in force."""
    mesh = jax.sharding.get_abstract_mesh()
    return tree if mesh.empty else jax.lax.with_sharding_constraint(tree, shardings(mesh, tree))


def spread(tree: Any) -> Any:
    """Put parameters, adapters or an optimizer's state, the same in every process, onto the mesh in force.

    Of host arrays each process sends only what its devices hold.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, sharding)
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])

    return jax.tree.map(put, tree, shardings(mesh, tree))


def fetch(tree: Any) -> Any:
    """Copy a tree of arrays to every process's memory, one array after the other; every process must ask for it."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
            sharding = leaf.sharding
            assert isinstance(sharding, NamedSharding)
            leaf = jax.device_put(leaf, NamedSharding(sharding.mesh, PartitionSpec()))
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)
