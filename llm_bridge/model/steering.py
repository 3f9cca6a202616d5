"""Steering: what is taken out of a model's residual stream and added to it, behind any of its layers.

It is the entry `"steering"` of a model's parameters, `{"removed": (layers, width), "added": (layers, width)}`, of which
`transformer.run_layers` applies each layer's row behind that layer, at every place. So a steered model is a model with
other parameters, and samples, answers and teaches like any other. Rows of zeros change nothing. A file of weights has
no place for it.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llm_bridge.model.shapes import Config
from theory.problem import Params


def apply_steering(stream: Float[Array, "places width"], own: Params) -> Float[Array, "places width"]:
    r"""Take a layer's unit direction $u$ out of a stream, and add its vector $v$: $x - (x \cdot u) u + v$."""
    removed, added = (own[name][None].astype(stream.dtype) for name in ("removed", "added"))
    return stream - jnp.sum(stream * removed, axis=1, keepdims=True) * removed + added


def steer(
    config: Config,
    params: Params,
    depth: int,
    *,
    added: Float[np.ndarray, " width"] | None = None,
    removed: Float[np.ndarray, " width"] | None = None,
) -> Params:
    """Steer a model behind its first `depth` layers, and nowhere else.

    Args:
        config: The model's shape.
        params: Its parameters.
        depth: Layers that are run before, at least 1.
        added: What is added to its stream there.
        removed: A direction of any length, of which the stream loses its component there.

    Returns:
        Its parameters with the steering in them.

    Raises:
        ValueError: If there is no such depth, or the direction is zero.
    """
    if not 1 <= depth <= config.num_layers or (removed is not None and not np.any(removed)):
        raise ValueError(f"depth must be from 1 to {config.num_layers}, and what is removed not zero; depth is {depth}")

    def row(vector: Float[np.ndarray, " width"]) -> Float[Array, "layers width"]:
        return jnp.zeros((config.num_layers, config.width), params["embedding"].dtype).at[depth - 1].set(vector)

    nothing = np.zeros(config.width)
    unit = nothing if removed is None else removed / np.linalg.norm(removed)
    return params | {"steering": {"removed": row(unit), "added": row(nothing if added is None else added)}}


def cut_behind(config: Config, params: Params, depth: int) -> tuple[Config, Params]:
    """Leave a model its first `depth` layers, with what steers and adapts them."""
    parts = {name: params[name] for name in ("layers", "adapters", "steering") if name in params}
    return replace(config, num_layers=depth), params | jax.tree.map(lambda leaf: leaf[:depth], parts)
