"""Images that a student sees: noise of several kinds, or real ones; pixels are decoded where they are used."""

from functools import partial

import jax
import jax.numpy as jnp

from mlp_mnist.protocol import Images
from mlp_mnist.training import over_seeds

BLOCK = 1000
"""Images drawn at once: blocks that fit the cache are drawn several times faster."""

SPREAD = 3**-0.5
"""Standard deviation of a pixel, in all kinds of noise that of the uniform one on [-1, 1]."""

BLUR = 2.0
"""Standard deviation of the blur that correlates neighboring pixels, in pixels."""

NUM_DIRECTIONS = 10
"""Dimension of the low-dimensional noise."""


def decode(pixels: jax.Array) -> jax.Array:
    """Turn stored pixels, 8-bit levels or values as they are, into inputs: levels become values in [-1, 1], float32."""
    return pixels / jnp.float32(127.5) - 1 if pixels.dtype == jnp.uint8 else pixels.astype(jnp.float32)


def draw_images(kind: Images, num_images: int, num_pixels: int, key: jax.Array) -> jax.Array:
    """Draw noise, `(num_images, pixels)`: uniform in 8-bit levels, like a real image; others in float16."""
    block_key, direction_key = jax.random.split(key)
    side = round(num_pixels**0.5)
    distances = jnp.arange(side)[:, None] - jnp.arange(side)[None, :]
    blur = jnp.exp(-0.5 * (distances / BLUR) ** 2)
    blur /= jnp.linalg.norm(blur, axis=1, keepdims=True)
    directions = jax.random.normal(direction_key, (NUM_DIRECTIONS, num_pixels))

    def uniform(key: jax.Array) -> jax.Array:
        words = jax.random.bits(key, (BLOCK, -(-num_pixels // 4)), jnp.uint32)
        return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(BLOCK, -1)[:, :num_pixels]

    def gaussian(key: jax.Array) -> jax.Array:
        return SPREAD * jax.random.normal(key, (BLOCK, num_pixels))

    def correlated(key: jax.Array) -> jax.Array:
        plain = jax.random.normal(key, (BLOCK, side, side))
        return SPREAD * (blur @ plain @ blur.T).reshape(BLOCK, num_pixels)

    def low_dimensional(key: jax.Array) -> jax.Array:
        return SPREAD * jax.random.normal(key, (BLOCK, NUM_DIRECTIONS)) @ (directions / NUM_DIRECTIONS**0.5)

    draw = {"uniform": uniform, "gaussian": gaussian, "correlated": correlated, "low-dimensional": low_dimensional}[
        kind
    ]

    def stored(key: jax.Array) -> jax.Array:
        return draw(key) if kind == "uniform" else draw(key).astype(jnp.float16)

    blocks = jax.lax.map(stored, jax.random.split(block_key, -(-num_images // BLOCK)))
    return blocks.reshape(-1, num_pixels)[:num_images]


@partial(jax.jit, static_argnums=(0, 1, 2))
def draw_all_images(kind: Images, num_images: int, num_pixels: int, keys: jax.Array) -> jax.Array:
    """Draw noise for each seed, shape `(seeds, images, pixels)`."""
    return over_seeds(lambda key: draw_images(kind, num_images, num_pixels, key))(keys)
