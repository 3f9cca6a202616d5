"""Keys and values of the tokens that a model has read, so that each is read once; filled in place, token by token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from llm_bridge.placement import DATA, TENSOR, constrain
from llm_bridge.shapes import Config


class Cache(NamedTuple):
    """Keys and values of the tokens so far; new ones go into the same slots of all rows, so that nothing is copied."""

    keys: jax.Array
    """Rotated keys, shape `(layers, batch, key heads, slots, head size)`."""
    values: jax.Array
    """Values, same shape."""
    held: jax.Array
    """Which slots hold a token of the row's text, shape `(batch, slots)`."""
    used: jax.Array
    """Slots that are used up, whether they hold a token of the text or not, shape `()`."""


def empty_cache(config: Config, batch: int, slots: int, dtype: Any = jnp.float32) -> Cache:
    """Make room for keys and values.

    Args:
        config: The shape.
        batch: Rows.
        slots: Most tokens of a row.
        dtype: Floating-point type.

    Returns:
        A cache of zeros.
    """
    shape = (config.num_layers, batch, config.num_key_heads, slots, config.head_size)
    blank = Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((batch, slots), bool), jnp.array(0))
    return split_cache(blank)


def split_cache(cache: Cache) -> Cache:
    """Split a cache over the mesh in force: rows over its data axis, key heads over its tensor axis.

    Args:
        cache: Keys and values of a compiled function.

    Returns:
        The same; without a mesh the very same.
    """
    keys, values = (constrain(leaf, None, DATA, TENSOR) for leaf in (cache.keys, cache.values))
    return cache._replace(keys=keys, values=values, held=constrain(cache.held, DATA))


def store(cache: Cache, layer: jax.Array, keys: jax.Array, values: jax.Array) -> Cache:
    """Put a layer's new keys and values into the next slots, in place where nothing else needs the old cache.

    Args:
        cache: Keys and values so far.
        layer: Number of the layer, shape `()`.
        keys: Shape `(batch, tokens, key heads, head size)`.
        values: Same shape.

    Returns:
        The cache with them; the slots count as used once all layers have theirs.
    """

    def put(slots: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(slots, jnp.swapaxes(new, 1, 2)[None], (layer, 0, 0, cache.used, 0))

    return cache._replace(keys=put(cache.keys, keys), values=put(cache.values, values))


def keep_first(cache: Cache, lengths: jax.Array) -> Cache:
    """Forget what fills rows up behind their texts; the slots stay used.

    Args:
        cache: Keys and values of a first reading.
        lengths: Tokens of each text, shape `(batch,)`.

    Returns:
        The cache in which no later token sees more of a row.
    """
    return cache._replace(held=jnp.arange(cache.held.shape[1])[None] < lengths[:, None])


def repeat_rows(cache: Cache, count: int) -> Cache:
    """Give several rows the same past.

    Args:
        cache: Keys and values.
        count: Rows for each.

    Returns:
        The cache of `batch * count` rows.
    """
    keys, values = (jnp.repeat(leaf, count, axis=1) for leaf in (cache.keys, cache.values))
    return cache._replace(keys=keys, values=values, held=jnp.repeat(cache.held, count, axis=0))
