"""What every trait gains in the student of every teacher, predicted and simulated; the measurement of claim 12."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import traits, zoo
from theory.problem import Params
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Problem, draw_instance, inner_product, student_displacement

NUM_TRAITS = 6
"""Traits of each instance."""

TraitLosses = Callable[[Params, jax.Array], jax.Array]
"""Parameters and a key for every trait to all losses, `(traits,)`."""

MIXTURE = tuple(float(weight) for weight in np.linspace(-1.0, 1.5, NUM_TRAITS))
"""How the last teacher mixes all traits; their sum is not 1, for a student's own drift not to pass as their effect."""

KINDS = ("prefers 1", "prefers 2", "prefers 3", "labels", "other labels", "regression")
"""The traits of the zoo's teachers."""


class TraitMatrix(NamedTuple):
    """Traits of all students, each in units in which its teacher's step of 1 moves the outputs by 1."""

    predicted: jax.Array
    r"""$G$, scaled by each pair's units, shape `(traits, traits)`: teachers by traits."""
    own_units: jax.Array
    """$G$ in the losses' own units, same shape."""
    changes: jax.Array
    r"""Fall of every trait's loss over $\alpha$, last row the mixture, shape `(traits + 1, traits, teacher_steps)`."""
    drift: jax.Array
    r"""The same behind a teacher that stands still, shape `(traits,)`; rounding for a shared init."""
    visible: jax.Array
    """Whether imitation sees every trait, shape `()`."""


def measure(
    problem: Problem,
    key: jax.Array,
    *,
    teacher_steps: Sequence[float],
    losses: TraitLosses | None = None,
    shared: bool = True,
) -> TraitMatrix:
    """Predict how every trait changes in the student of every teacher, then simulate all of them.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teachers' step sizes, in natural units.
        losses: The losses of all traits; by default the problem's own one, each time with other data.
        shared: Whether the student starts where the teachers do; the prediction always assumes so.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key, shared=shared)
    keys = jax.random.split(instance.trait_key, NUM_TRAITS)
    evaluate = losses or jax.vmap(problem.trait_loss, in_axes=(None, 0))
    directions = optax.tree.scale(-1.0, jax.jacrev(evaluate)(instance.teacher, keys))
    units = jax.vmap(lambda direction: natural_units(problem, instance, direction))(directions)
    same = instance._replace(student=instance.teacher)
    moved = jax.vmap(lambda direction: predicted_displacement(problem, same, direction))(directions)
    matrix = jax.vmap(lambda left: jax.vmap(lambda right: inner_product(left, right))(directions))(moved)
    scale = units.teacher_step
    scaled = jax.tree.map(lambda leaves: jnp.einsum("t,t...->t...", scale, leaves), directions)
    mixed = jax.tree.map(lambda leaves: jnp.einsum("t,t...->...", jnp.array(MIXTURE), leaves), scaled)
    teachers = jax.tree.map(lambda leaves, leaf: jnp.concatenate([leaves, leaf[None]]), scaled, mixed)
    predicted = matrix * jnp.outer(scale, scale)
    rate = jnp.sum(jax.vmap(inner_product)(scaled, scaled)) / jnp.trace(predicted)
    rate = jnp.where(jnp.all(units.visible), rate, 1.0)
    before = evaluate(instance.student, keys)

    def fall(teacher: Params, teacher_step: jax.Array) -> jax.Array:
        displacement = student_displacement(problem, instance, teacher, teacher_step)
        student = optax.tree.add_scale(instance.student, rate, displacement)
        return scale * (before - evaluate(student, keys)) / rate

    steps = jnp.array((0.0, *teacher_steps))
    falls = jax.lax.map(lambda teacher: jax.lax.map(partial(fall, teacher), steps), teachers)
    changes = jnp.moveaxis(falls[:, 1:], 1, 2)
    return TraitMatrix(predicted, matrix, changes, falls[0, 0], jnp.all(units.visible))


def several_kinds(problem: Problem) -> TraitLosses:
    """Give a network of the zoo six traits, in the order of `KINDS`.

    Args:
        problem: The problem.

    Returns:
        Their losses.
    """
    sizes = zoo.NUM_FEATURES, zoo.NUM_CLASSES
    labels, targets = traits.classification(problem.apply, *sizes), traits.regression(problem.apply, *sizes)

    def prefer(params: Params, key: jax.Array, choice: jax.Array) -> jax.Array:
        order = (choice + jnp.arange(zoo.NUM_CLASSES)) % zoo.NUM_CLASSES
        return traits.preference(lambda params, inputs: problem.apply(params, inputs)[:, order], *sizes)(params, key)

    def losses(params: Params, keys: jax.Array) -> jax.Array:
        preferences = jax.vmap(prefer, (None, 0, 0))(params, keys[:3], jnp.array(zoo.CLASSES))
        classifications = jax.vmap(labels, (None, 0))(params, keys[3:5])
        return jnp.concatenate([preferences, classifications, targets(params, keys[5])[None]])

    return losses
