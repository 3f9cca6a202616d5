"""Problems with several traits, one for each teacher: one trait on different data, or traits of several kinds."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from theory import traits, zoo
from theory.problem import Params, Problem

NUM_TRAITS = 6
"""Traits of each instance."""

TraitLosses = Callable[[Params, jax.Array], jax.Array]
"""Parameters and a key for every trait to all losses, `(traits,)`."""

KINDS = ("prefers 1", "prefers 2", "prefers 3", "labels", "other labels", "regression")
"""The traits of the zoo's teachers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeveralTraits(Problem):
    """A problem with traits of several kinds, beside its own one."""

    trait_losses: TraitLosses
    """Their losses."""


def trait_losses(problem: Problem) -> TraitLosses:
    """Losses of all traits: those of a problem with several, else the problem's own one, each time with other data."""
    if isinstance(problem, SeveralTraits):
        return problem.trait_losses
    return jax.vmap(problem.trait_loss, in_axes=(None, 0))


def several_kinds(problem: Problem) -> SeveralTraits:
    """Give a network of the zoo six traits, in the order of `KINDS`."""
    sizes = zoo.NUM_FEATURES, zoo.NUM_CLASSES
    labels, targets = traits.classification(problem.apply, *sizes), traits.regression(problem.apply, *sizes)

    def prefer(params: Params, key: jax.Array, choice: jax.Array) -> jax.Array:
        order = (choice + jnp.arange(zoo.NUM_CLASSES)) % zoo.NUM_CLASSES
        return traits.preference(lambda params, inputs: problem.apply(params, inputs)[:, order], *sizes)(params, key)

    def losses(params: Params, keys: jax.Array) -> jax.Array:
        preferences = jax.vmap(prefer, (None, 0, 0))(params, keys[:3], jnp.array(zoo.CLASSES))
        classifications = jax.vmap(labels, (None, 0))(params, keys[3:5])
        return jnp.concatenate([preferences, classifications, targets(params, keys[5])[None]])

    return SeveralTraits(**vars(problem), trait_losses=losses)
