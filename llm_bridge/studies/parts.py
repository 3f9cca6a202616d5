"""Which of the trained numbers an arm trains: some layers' adapters, or a random subset of the same size."""

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.shapes import Config
from llm_bridge.studies.study import Part
from theory.problem import Params


def make_mask(config: Config, recipe: Recipe, params: Params, part: Part | None, seed: int) -> Params:
    """Mark with ones what is trained, of what `start_training` gives, and with zeros what stays as it is."""
    like = jax.eval_shape(lambda: start_training(config, recipe, params, jax.random.key(0)))
    if part is None:
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), like)
    if part.random_like_rank is not None:
        return draw_entries(config, like, part.random_like_rank, seed)
    where = dict.fromkeys(like, part.layers)
    if part.random_layers is not None:
        drawn = np.random.default_rng([seed, part.random_layers]).integers(config.num_layers, size=len(like))
        where = {name: (int(layer),) for name, layer in zip(like, drawn, strict=True)}

    def mark(layers: tuple[int, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        on = jnp.isin(jnp.arange(config.num_layers), jnp.array(layers)).astype(leaf.dtype)
        return jnp.broadcast_to(on.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape)

    return {name: jax.tree.map(lambda leaf, name=name: mark(where[name], leaf), like[name]) for name in like}


def draw_entries(config: Config, like: Params, rank: int, seed: int) -> Params:
    """Draw entries of every projection's matrix at random, as many as adapters of a rank have numbers there.

    What is no projection's matrix stays as it is.
    """
    marks = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    random = np.random.default_rng(seed)
    for name, (inputs, outputs) in config.sizes().items():
        order = random.permuted(np.tile(np.arange(inputs * outputs), (config.num_layers, 1)), axis=1)
        kernel = like[name]["kernel"]
        drawn = jnp.array(order < rank * (inputs + outputs), kernel.dtype).reshape(kernel.shape)
        marks[name] = marks[name] | {"kernel": drawn}
    return marks
