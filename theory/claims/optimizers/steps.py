"""Claim 9's simulations: one instance under every pair of optimizers, the teacher's and the student's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from theory.claims.evidence import Comparison
from theory.problem import Params
from theory.optimizers import (
    cosine,
    draw_diagonal,
    draw_preconditioner,
    first_step,
    largest_safe_condition,
    precondition,
    stretch,
    turn,
    unit_vector,
)
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Instance, Problem, draw_instance, inner_product, student_displacement, trait_descent

LARGEST_CONDITION, RANK = 1e4, 2
"""Of the symmetric matrices that teacher and student share: condition number of the diagonal, and what is added."""

STRENGTHS = (3.0, 5.0, 10.0)
"""Of the skew-symmetric part of matrices that are not symmetric."""

MARGIN = 0.01
"""How far below and above the critical condition number the worst matrix is tried."""

WIDEST = 0.999
"""Cosine up to which there is a bound to speak of: at 1 every matrix keeps the guarantee."""

FALL_STEP = 1e-7
"""The teacher's natural step at which signs and sizes are judged: small even for what all but vanishes."""

Step = Callable[[Params], Params]
"""From a negative gradient to a step."""

SHARED, RANDOM, BELOW, ABOVE = "the same P", "P within the bound", "worst P, 1 % below", "worst P, 1 % above"
TURNED = {f"the same I + {strength:g}S": strength for strength in STRENGTHS}
SIGN, ADAM = optax.scale_by_sign(), optax.scale_by_adam()
SIGNS = ("sign descent", "Adam", "plain teacher, sign descent", "plain teacher, Adam")
"""Arms whose step hardly shrinks with the gradient; the last two have a plain teacher."""

ARMS = (SHARED, *TURNED, RANDOM, BELOW, ABOVE, *SIGNS)
"""Every pair of optimizers, teacher's and student's, in the order of the measurements' axis."""

SKEWED = next(iter(TURNED))
FALLS = (SHARED, SKEWED, BELOW, ABOVE)
"""Arms in which the fall of the trait loss is compared with its prediction."""


class OptimizerSteps(NamedTuple):
    """One instance under every pair of optimizers, axes `arms` as in `ARMS` and `falls` as in `FALLS`."""

    predicted_fall: jax.Array
    r"""Leading order of the fall of $L_T$, as the claim has it, shape `(falls, learning_rates, teacher_steps)`."""
    fall: jax.Array
    r"""Simulated fall of $L_T$, same shape; the first step is `FALL_STEP`."""
    cosine: jax.Array
    r"""Between the student's simulated step, of a teacher at `FALL_STEP`, and $-\nabla L_T$, shape `(arms,)`."""
    angle: jax.Array
    r"""$\cos\varphi$ between $\Delta_T$ and $K\Delta_T$ for a plain teacher, shape `()`."""
    visible: jax.Array
    """Whether imitation sees what the teacher learned, shape `(arms,)`."""


def stack(directions: Sequence[Params]) -> Params:
    """Put trees together along a new leading axis.

    Args:
        directions: Trees of the same shapes.

    Returns:
        A tree of arrays.
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *directions)


def pick(directions: Params, index: int | jax.Array) -> Params:
    """Take a tree out of a stack.

    Args:
        directions: A tree of arrays with a leading axis.
        index: Which one.

    Returns:
        A tree without that axis.
    """
    return jax.tree.map(lambda leaf: leaf[index], directions)


def flatten(problem: Problem, instance: Instance) -> tuple[Problem, Instance]:
    """Write all parameters as one array, so that a program holds one operation where it had one for each array.

    Args:
        problem: A problem.
        instance: An instance of it, with a shared initialization.

    Returns:
        The same, of parameters `(params,)`.
    """
    params, restore = ravel_pytree(instance.teacher)
    flat = replace(
        problem,
        apply=lambda params, inputs: problem.apply(restore(params), inputs),
        trait_loss=lambda params, key: problem.trait_loss(restore(params), key),
    )
    return flat, instance._replace(teacher=params, student=params)


def measure(
    problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> OptimizerSteps:
    r"""Predict in closed form, then simulate both steps, under every pair of optimizers on the same instance.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units of each arm.
        learning_rates: The student's step sizes; at $\alpha = 1$ it goes as far as its teacher, to first order.

    Returns:
        Predictions and measurements.
    """
    problem, instance = flatten(problem, draw_instance(problem, key))
    descent = trait_descent(problem, instance.teacher, instance.trait_key)
    matrix_key, turn_key, diagonal_key = jax.random.split(jax.random.fold_in(key, 1), 3)
    matrix = draw_preconditioner(matrix_key, descent, rank=RANK, largest_condition=LARGEST_CONDITION)
    shared: list[Step] = [partial(precondition, matrix), *(partial(turn, turn_key, amount) for amount in STRENGTHS)]
    signs: list[Step] = [partial(first_step, SIGN), partial(first_step, ADAM)]

    directions = stack([*(step(descent) for step in shared + signs), descent])
    kernels = jax.vmap(partial(predicted_displacement, problem, instance))(directions)
    curvatures = jax.vmap(inner_product)(directions, kernels)
    units = jax.vmap(partial(natural_units, problem, instance))(directions)
    steps = units.teacher_step[:, None] * jnp.array([FALL_STEP, *teacher_steps])[None]
    displace = jax.vmap(partial(student_displacement, problem, instance), in_axes=(None, 0))
    displacements = jax.vmap(displace)(directions, steps)

    plain_kernel = pick(kernels, -1)
    angle = cosine(descent, plain_kernel)
    safe = largest_safe_condition(jnp.minimum(angle, WIDEST))
    axis = unit_vector(optax.tree.sub(unit_vector(descent), unit_vector(plain_kernel)))
    diagonal = draw_diagonal(diagonal_key, descent, safe)
    worst: list[Step] = [partial(stretch, axis, (1 + side * MARGIN) * (safe - 1)) for side in (-1, 1)]
    students = [*shared, partial(optax.tree.mul, diagonal), *worst, *signs, *signs]
    teachers = jnp.array([*range(len(shared)), -1, -1, -1, *range(len(shared), len(shared + signs)), -1, -1])

    moved = [jax.vmap(step)(pick(displacements, teacher)) for step, teacher in zip(students, teachers, strict=True)]
    reach = [optax.tree.norm(step(pick(kernels, teacher))) for step, teacher in zip(students, teachers, strict=True)]
    units_of_rate = jax.vmap(optax.tree.norm)(directions)[teachers] / jnp.stack(reach)
    chosen = jnp.array([ARMS.index(arm) for arm in FALLS])
    rates = units_of_rate[chosen, None] * jnp.array(learning_rates)[None]

    def fall(rate: jax.Array, displacement: Params) -> jax.Array:
        after = optax.tree.add_scale(instance.student, rate, displacement)
        before, after = (problem.trait_loss(params, instance.trait_key) for params in (instance.student, after))
        return before - after

    falls = jax.vmap(jax.vmap(fall, in_axes=(None, 0)), in_axes=(0, None))
    measured = jax.lax.map(lambda arm: falls(*arm), (rates, stack([moved[ARMS.index(arm)] for arm in FALLS])))
    forms = jnp.stack([curvatures[0], curvatures[1], MARGIN * curvatures[-1], MARGIN * curvatures[-1]])
    predicted = forms[:, None, None] * rates[:, :, None] * steps[teachers[chosen], None, :]
    cosines = [cosine(pick(step, -1 if arm in SIGNS else 0), descent) for arm, step in zip(ARMS, moved, strict=True)]
    bounded = jnp.array([arm not in (BELOW, ABOVE) for arm in ARMS]) | (angle < WIDEST)
    return OptimizerSteps(predicted, measured, jnp.stack(cosines), angle, units.visible[teachers] & bounded)


def compare(results: Sequence[OptimizerSteps], arm: str) -> tuple[list[Comparison], list[Comparison]]:
    """Put predicted and simulated fall of the trait loss side by side.

    Args:
        results: Measurements of each case.
        arm: A name in `FALLS`.

    Returns:
        For each case, at those steps to which orders are fitted, and at `FALL_STEP` alone.
    """
    row, column = FALLS.index(arm), ARMS.index(arm)
    parts = [tuple(map(np.asarray, (result.predicted_fall, result.fall, result.visible))) for result in results]
    whole = [Comparison(predicted[:, row], fall[:, row], visible[:, column]) for predicted, fall, visible in parts]
    first, rest = slice(None, 1), slice(1, None)
    fitted, smallest = (
        [Comparison(case.leading[..., part], case.measured[..., part], case.visible) for case in whole]
        for part in (rest, first)
    )
    return fitted, smallest


def cosines(results: Sequence[OptimizerSteps], arm: str) -> np.ndarray:
    r"""Collect the cosines between the student's step and $-\nabla L_T$ of all cases.

    Args:
        results: Measurements of each case.
        arm: A name in `ARMS`.

    Returns:
        Visible instances alone, shape `(instances,)`.
    """
    row = ARMS.index(arm)
    return np.concatenate([np.asarray(result.cosine)[np.asarray(result.visible)[:, row], row] for result in results])
