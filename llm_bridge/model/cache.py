"""Keys and values of the tokens that a model has read, so that each is read once; filled in place, token by token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from llm_bridge.model.placement import DATA, TENSOR, constrain
from llm_bridge.model.shapes import Config


class Cache(NamedTuple):
    """Keys and values of the tokens so far; new ones go into the same slots of all rows, so that nothing is copied."""

    keys: Float[Array, "layers batch key_heads slots head_size"]
    """Rotated keys."""
    values: Float[Array, "layers batch key_heads slots head_size"]
    """Values."""
    held: Bool[Array, "batch slots"]
    """Which slots hold a token of the row's text."""
    used: Int[Array, ""]
    """Slots that are used up, whether they hold a token of the text or not."""


def empty_cache(config: Config, batch: int, slots: int, dtype: Any = jnp.float32) -> Cache:
    """Make room for keys and values."""
    shape = (config.num_layers, batch, config.num_key_heads, slots, config.head_size)
    blank = Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((batch, slots), bool), jnp.array(0))
    return split_cache(blank)


def split_cache(cache: Cache) -> Cache:
    """Split a compiled function's cache over the mesh in force: rows by its data axis, key heads by its tensor axis."""
    keys, values = (constrain(leaf, None, DATA, TENSOR) for leaf in (cache.keys, cache.values))
    return cache._replace(keys=keys, values=values, held=constrain(cache.held, DATA))


def store(
    cache: Cache,
    layer: Int[Array, ""],
    keys: Float[Array, "batch tokens key_heads head_size"],
    values: Float[Array, "batch tokens key_heads head_size"],
) -> Cache:
    """Put a layer's new keys and values into the next slots, in place where nothing else needs the old cache.

    The slots count as used once all layers have theirs.
    """

    def put(
        slots: Float[Array, "layers batch key_heads slots head_size"],
        new: Float[Array, "batch tokens key_heads head_size"],
    ) -> Float[Array, "layers batch key_heads slots head_size"]:
        return jax.lax.dynamic_update_slice(slots, jnp.swapaxes(new, 1, 2)[None], (layer, 0, 0, cache.used, 0))

    return cache._replace(keys=put(cache.keys, keys), values=put(cache.values, values))


def keep_first(cache: Cache, lengths: Int[Array, " batch"]) -> Cache:
    """Forget what fills rows up behind their texts, so that no later token sees it; the slots stay used."""
    return cache._replace(held=jnp.arange(cache.held.shape[1])[None] < lengths[:, None])


def repeat_rows(cache: Cache, count: int) -> Cache:
    """Give each row's past to several rows, one behind the other."""
    keys, values = (jnp.repeat(leaf, count, axis=1) for leaf in (cache.keys, cache.values))
    return cache._replace(keys=keys, values=values, held=jnp.repeat(cache.held, count, axis=0))
