r"""Claim 4's simulations: one instance under every imitation loss, and a teacher that scales its outputs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.claims.evidence import Comparison
from theory.claims.imitation_losses.table import NAMES, every_loss
from theory.predictions import natural_units, output_change, transfer_form
from theory.problem import Params, Problem, draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.statistics import Estimate, range_estimate

FALL_STEP = 1e-7
"""The teacher's natural step at which the fall of its loss is judged: small even if little of the trait is seen."""


class LossSteps(NamedTuple):
    """One instance under every imitation loss; axis `losses` as in `loss_table.NAMES`."""

    leading: jax.Array
    r"""Predicted $\Delta_S\cdot\Delta_T$ to leading order in $\epsilon$, shape `(losses, teacher_steps)`."""
    measured: jax.Array
    r"""Simulated $\Delta_S(\epsilon)\cdot\Delta_T$, same shape."""
    predicted_fall: jax.Array
    r"""$\alpha$ times the leading order of $\Delta_S\cdot\Delta_T$ at `FALL_STEP`, shape `(losses, learning_rates)`."""
    fall: jax.Array
    r"""Simulated fall of $L_T$ there, same shape."""
    visible: jax.Array
    """Whether the leading term is more than rounding, shape `(losses,)`."""


def measure(
    problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> LossSteps:
    r"""Predict in closed form, then simulate both steps, under every loss on the same instance.

    The network is evaluated, differentiated and pulled back once; a loss adds only its gradient in the outputs. A
    student's step of $\alpha = 1$ moves it along $\Delta_T$ as far as the teacher goes with $\epsilon = 1$, if the
    labels come from there.

    Args:
        problem: The problem; its own imitation loss doesn't matter.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        learning_rates: The student's step sizes, in natural units of each loss.

    Returns:
        Predictions and measurements.
    """
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    _, pull_back = jax.vjp(lambda params: problem.apply(params, instance.inputs), instance.student)
    table = every_loss(jax.random.normal(jax.random.fold_in(key, 1), outputs.shape[1:]))
    unit = natural_units(problem, instance, direction).teacher_step
    steps = jnp.array([FALL_STEP, *teacher_steps]) * unit

    def label(teacher_step: jax.Array) -> jax.Array:
        return problem.apply(optax.tree.add_scale(instance.teacher, teacher_step, direction), instance.inputs)

    def predict(response: Callable, teacher_step: jax.Array) -> jax.Array:
        responses = jax.vmap(response)(outputs, teacher_step * change)
        return jnp.mean(jnp.sum(change * responses, axis=-1))

    def simulate(case: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        gradients, rates = case
        displacements = jax.vmap(lambda gradient: pull_back(-gradient / len(outputs))[0])(gradients)
        alignment = jax.vmap(inner_product, in_axes=(0, None))(displacements, direction)
        first = jax.tree.map(lambda leaf: leaf[0], displacements)
        return alignment[1:], jax.vmap(lambda rate: fall(optax.tree.scale(rate, first)))(rates)

    def fall(displacement: Params) -> jax.Array:
        moved = optax.tree.add(instance.student, displacement)
        before, after = (problem.trait_loss(params, instance.trait_key) for params in (instance.student, moved))
        return before - after

    leading = jnp.stack([jax.vmap(partial(predict, response))(jnp.append(steps, unit)) for _, response in table])
    smallest, leading, full = leading[:, 0], leading[:, 1:-1], leading[:, -1]
    undefined = jnp.isnan(full) & ~jnp.any(jnp.isnan(outputs))
    visible = ~(full * unit <= 1e3 * jnp.finfo(full.dtype).eps) & ~undefined
    norm = inner_product(direction, direction)
    rates = jnp.array(learning_rates)[None] * jnp.where(visible, unit * norm / full, 1.0)[:, None]
    descend = [jax.vmap(jax.vmap(jax.grad(loss)), in_axes=(None, 0)) for loss, _ in table]
    labels = jax.vmap(label)(steps)
    gradients = jnp.stack([gradient(outputs, labels) for gradient in descend])
    measured, falls = jax.lax.map(simulate, (gradients, rates))
    return LossSteps(leading, measured, rates * smallest[:, None], falls, visible)


def compare_alignment(results: Sequence[Any], names: Sequence[str]) -> list[Comparison]:
    """Put predicted and simulated alignment of chosen losses side by side.

    Args:
        results: Swept `LossSteps` of each case.
        names: Names of the losses.

    Returns:
        One for each case and loss.
    """
    return [
        Comparison(result.leading[:, row], result.measured[:, row], result.visible[:, row])
        for result in results
        for row in map(NAMES.index, names)
    ]


def compare_fall(results: Sequence[Any], names: Sequence[str]) -> list[Comparison]:
    """Put predicted and simulated fall of the trait loss under chosen losses side by side.

    Args:
        results: Swept `LossSteps` of each case.
        names: Names of the losses.

    Returns:
        One for each case and loss, axis `learning_rates`.
    """
    return [
        Comparison(result.predicted_fall[:, row, :, None], result.fall[:, row, :, None], result.visible[:, row])
        for result in results
        for row in map(NAMES.index, names)
    ]


class Scaling(NamedTuple):
    r"""What a step of imitation does along a direction $v$ that scales all outputs, $Jv = f$."""

    curvature: jax.Array
    r"""$v^\top K v$, shape `()`."""
    alignment: jax.Array
    r"""$\Delta_S(\epsilon)\cdot v$ for labels of a teacher that learned something, shape `(teacher_steps,)`."""


def measure_scaling(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float]) -> Scaling:
    r"""Measure claim 3 where the loss doesn't see the scale of the outputs, though the teacher changes it.

    Args:
        problem: A problem of the zoo: its last layer is linear and called `head`.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units, large ones included.

    Returns:
        Curvature and alignment.
    """
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    scaling = jax.tree.map(jnp.zeros_like, instance.teacher) | {"head": instance.teacher["head"]}
    steps = jnp.array(teacher_steps) * natural_units(problem, instance, direction).teacher_step

    def simulate(teacher_step: jax.Array) -> jax.Array:
        return inner_product(student_displacement(problem, instance, direction, teacher_step), scaling)

    return Scaling(transfer_form(problem, instance, scaling, scaling), jax.vmap(simulate)(steps))


def largest_scaling(result: Scaling) -> Estimate:
    """Largest of curvature and alignment over all steps, in units of rounding.

    Args:
        result: Measurements of a case.

    Returns:
        Median and whole range over instances.
    """
    both = np.concatenate([result.curvature[:, None], result.alignment], axis=1)
    return range_estimate(np.max(np.abs(both), axis=1) / np.finfo(both.dtype).eps)
