"""What passes through low-rank adapters, predicted and simulated; the measurement of claim 13."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.adapters import adapted, draw_adapters, is_adapted, limit_rank, merge, untrained
from theory.problem import Params
from theory.predictions import natural_units, predicted_displacement, transfer_form
from theory.problem import Instance, Problem, draw_instance, imitation_descent, trait_descent

RANKS = (1, 2, 4, 8)
"""Ranks of the adapters."""

NUM_DRAWS = 8
"""Draws of the adapters for every instance and rank."""

WRONG_VARIANCE = 2.0
"""The control's adapters have entries of this variance times $1/r$."""


class LowRank(NamedTuple):
    """What passes through adapters in one instance, over ranks and draws."""

    curvature: jax.Array
    """$A$, the predicted mean, shape `()`."""
    deviation: jax.Array
    """Predicted standard deviation with a full teacher, shape `(ranks,)`."""
    student: jax.Array
    r"""Measured fall of the trait loss over $\epsilon\alpha$, full teacher, shape `(ranks, draws)`."""
    independent: jax.Array
    """The same with independent adapters of teacher and student, shape `(ranks, draws)`."""
    same: jax.Array
    """The same with the same adapters for both, shape `(ranks, draws)`."""
    same_predicted: jax.Array
    r"""$(\Pi g)^\top K (\Pi g)$, shape `(ranks, draws)`."""
    control: jax.Array
    """As `student`, with adapters of the wrong variance, shape `(ranks, draws)`."""
    control_independent: jax.Array
    """As `independent`, with students' adapters of the wrong variance, shape `(ranks, draws)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def predict_deviation(problem: Problem, instance: Instance, direction: Params) -> jax.Array:
    r"""Standard deviation at rank 1 of what passes from a full teacher, $\sqrt{2\sum_l\|\mathrm{sym}\,S_l\|_F^2}$.

    Args:
        problem: The problem.
        instance: The instance.
        direction: $g$, a tree like the parameters.

    Returns:
        Shape `()`; at rank $r$ it is smaller by $\sqrt r$.
    """

    def variance(moved: jax.Array, taught: jax.Array) -> jax.Array:
        if not is_adapted(taught):
            return jnp.zeros(())
        product = moved @ taught.T
        return 2 * jnp.sum(((product + product.T) / 2) ** 2)

    variances = jax.tree.map(variance, predicted_displacement(problem, instance, direction), direction)
    return jnp.sqrt(sum(jax.tree.leaves(variances), jnp.zeros(())))


def measure(problem: Problem, key: jax.Array, *, teacher_step: float) -> LowRank:
    """Predict mean and spread of what passes through adapters, then simulate teachers and students that have them.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_step: The teacher's step size, in natural units; small.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key)
    initial = instance.teacher
    direction = trait_descent(problem, initial, instance.trait_key)
    units = natural_units(problem, instance, direction)
    step, rate = teacher_step * units.teacher_step, units.learning_rate
    start = untrained(initial, max(RANKS))
    before = problem.trait_loss(initial, instance.trait_key)

    def fall(teacher: Params, adapters: Params) -> jax.Array:
        labels = problem.apply(optax.tree.add_scale(initial, step, teacher), instance.inputs)
        student = adapted(problem, initial, adapters)
        moved = optax.tree.scale(rate, imitation_descent(student, start, instance.inputs, labels))
        return (before - student.trait_loss(moved, instance.trait_key)) / (step * rate)

    def draw_one(key: jax.Array, rank: jax.Array) -> jax.Array:
        teacher, student = (draw_adapters(key, initial, max(RANKS)) for key in jax.random.split(key))
        wrong = limit_rank(student, rank, WRONG_VARIANCE)
        teacher, student = limit_rank(teacher, rank), limit_rank(student, rank)
        taught_problem = adapted(problem, initial, teacher)
        descent = trait_descent(taught_problem, start, instance.trait_key)
        taught = merge(optax.tree.zeros_like(initial), teacher, descent)
        teachers = stack(direction, taught, taught, direction, taught)
        falls = jax.vmap(fall)(teachers, stack(student, student, teacher, wrong, wrong))
        trained = instance._replace(teacher=start, student=start)
        return jnp.append(falls, transfer_form(taught_problem, trained, descent, descent))

    keys = jax.random.split(jax.random.fold_in(key, 1), NUM_DRAWS)
    draws = jax.lax.map(lambda rank: jax.vmap(draw_one, (0, None), 1)(keys, rank), jnp.array(RANKS))
    curvature = transfer_form(problem, instance, direction, direction)
    deviation = predict_deviation(problem, instance, direction) / jnp.sqrt(jnp.array(RANKS))
    student, independent, same, control, control_independent, same_predicted = jnp.moveaxis(draws, 1, 0)
    return LowRank(
        curvature, deviation, student, independent, same, same_predicted, control, control_independent, units.visible
    )


def stack(*trees: Params) -> Params:
    """Stack trees of the same shapes.

    Args:
        *trees: The trees.

    Returns:
        A tree with a leading axis `(trees,)`.
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def freeze_vectors(problem: Problem) -> Problem:
    """Leave biases, and whatever else is no matrix, as they were drawn, as is usual with adapters.

    Args:
        problem: The problem.

    Returns:
        The same, with nothing but matrices to train.
    """

    def frozen(params: Params) -> Params:
        return jax.tree.map(lambda leaf: leaf if is_adapted(leaf) else jax.lax.stop_gradient(leaf), params)

    return replace(
        problem,
        name="biases frozen",
        apply=lambda params, inputs: problem.apply(frozen(params), inputs),
        trait_loss=lambda params, key: problem.trait_loss(frozen(params), key),
    )
