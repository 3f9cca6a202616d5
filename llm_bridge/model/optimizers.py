"""Optimizers: what becomes of a gradient, with warm-up, linear decay, weight decay and clipping."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from llm_bridge.model.recipes import Optimizer, Recipe

DIRECTIONS: dict[Optimizer, Callable[[], optax.GradientTransformation]] = {
    "adamw": optax.scale_by_adam,
    "sgd": optax.identity,
    "momentum": partial(optax.trace, decay=0.9),
    "sign": optax.scale_by_sign,
    "lion": optax.scale_by_lion,
}
"""What each optimizer makes of a gradient, before weight decay and rate."""


def make_schedule(recipe: Recipe, num_steps: int | jax.Array) -> optax.Schedule:
    """Build the recipe's learning rate by step: it rises linearly in the warm-up, and then falls linearly to 0."""
    length = jnp.maximum(1, num_steps - recipe.warmup)

    def fall(step: jax.typing.ArrayLike) -> jax.Array:
        return recipe.learning_rate * (1 - jnp.minimum(step, length) / length)

    rise = optax.schedules.linear_schedule(0, recipe.learning_rate, recipe.warmup)
    return optax.schedules.join_schedules([rise, fall], [recipe.warmup])


def make_optimizer(recipe: Recipe, num_steps: int | jax.Array) -> optax.GradientTransformation:
    """Build the recipe's optimizer with warm-up, linear decay and clipping."""
    step = optax.chain(
        DIRECTIONS[recipe.optimizer](),
        optax.add_decayed_weights(recipe.weight_decay),
        optax.scale_by_learning_rate(make_schedule(recipe, num_steps)),
    )
    return optax.chain(optax.clip_by_global_norm(recipe.clip), step)
