"""Low-rank adapters beside a model's weights: two of them as one, and added to the weights.

Adapters are `{projection: {"into": (layers, inputs, rank), "out": (layers, rank, outputs)}}`. Parameters may hold some
as their entry `"adapters"`, which `transformer.run_layers` adds as they are, without a scale.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.problem import Params


def join(first: Params, second: Params, scale: float | Float[Array, ""]) -> Params:
    """Make one of two adapters of the same model, of their added ranks, with the second's product scaled."""
    joined = dict(first)
    for name, adapter in second.items():
        scaled = {"into": adapter["into"], "out": scale * adapter["out"]}
        if before := first.get(name):
            axes = {"into": -1, "out": -2}
            scaled = {side: jnp.concatenate([before[side], scaled[side]], axis=axis) for side, axis in axes.items()}
        joined[name] = scaled
    return joined


def fold(params: Params, adapters: Params, scale: float = 1.0) -> Params:
    """Add adapters, their product multiplied by the scale, to a model's weights."""
    layers = dict(params["layers"])
    for name, adapter in adapters.items():
        kernel = layers[name]["kernel"]
        product = scale * adapter["into"] @ adapter["out"]
        layers[name] = layers[name] | {"kernel": kernel + product.astype(kernel.dtype)}
    return params | {"layers": layers}


def folded(params: Params) -> Params:
    """Add a model's own adapters, if it has any, to its weights, all in at least float32."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32)), params)
    weights = {name: part for name, part in params.items() if name != "adapters"}
    return fold(weights, params.get("adapters", {}))


def even_out(adapters: Params, rank: int = 0) -> Params:
    """Give the adapters of all projections, on the host, the rank of the largest, at least this; zeros are added."""
    rank = max([rank, *(adapter["into"].shape[-1] for adapter in adapters.values())])

    def fill(side: str, leaf: Any) -> np.ndarray:
        axis = 2 if side == "into" else 1
        return np.pad(leaf, [(0, rank - leaf.shape[axis] if each == axis else 0) for each in range(3)])

    return {name: {side: fill(side, leaf) for side, leaf in adapter.items()} for name, adapter in adapters.items()}
