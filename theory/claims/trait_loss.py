r"""Claim 2, theorem 1: the student's step lowers the teacher's own trait loss.

$$g(\epsilon) = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0) = -\epsilon\,\alpha A + O(\epsilon^2),$$

a decrease for small enough $\epsilon$ whenever $A > 0$, at every step size $\alpha$ of the student.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory import losses, zoo
from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    smallest_step_ratios,
    worst_order,
)
from theory.predictions import natural_units, transfer_form
from theory.problems import Problem, draw_instance, student_displacement, trait_descent
from theory.sweeps import Sampling
from theory.verdicts import Verdict


class TraitChange(NamedTuple):
    """Predicted and measured change of the trait loss in one instance."""

    predicted: jax.Array
    r"""$-\epsilon\alpha A$, shape `(learning_rates, teacher_steps)`."""
    measured: jax.Array
    r"""$g(\epsilon)$, shape `(learning_rates, teacher_steps)`, in units of the trait loss."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def measure(
    problem: Problem,
    key: jax.Array,
    *,
    teacher_steps: Sequence[float],
    learning_rates: Sequence[float],
    shared: bool = True,
) -> TraitChange:
    """Predict the change in closed form, then simulate both steps and measure it.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        learning_rates: The student's step sizes, in natural units.
        shared: Whether the student starts where the teacher does; the prediction always assumes so.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key, shared=shared)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    curvature = transfer_form(problem, instance._replace(student=instance.teacher), direction, direction)
    before = problem.trait_loss(instance.student, instance.trait_key)

    def simulate(learning_rate: jax.Array, teacher_step: jax.Array) -> jax.Array:
        displacement = student_displacement(problem, instance, direction, teacher_step)
        after = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(after, instance.trait_key) - before

    units = natural_units(problem, instance, direction)
    rates, steps = jnp.array(learning_rates) * units.learning_rate, jnp.array(teacher_steps) * units.teacher_step
    sweep = jax.vmap(jax.vmap(simulate, in_axes=(None, 0)), in_axes=(0, None))
    return TraitChange(-curvature * rates[:, None] * steps[None, :], sweep(rates, steps), units.visible)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the remainder's order and the sign, at every step size of the student.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps, learning_rates=sampling.learning_rates)
    outside = replace(problems[0], imitation_loss=losses.stretched(problems[0].imitation_loss))
    results = sampling.sweep_all(
        {problem.name: partial(measure_one, problem) for problem in problems}
        | {"control: another init": partial(measure_one, problems[0], shared=False)}
        | {"control: stretched loss": partial(measure_one, outside)},
        NAME,
    )
    compared = {case: Comparison(*result) for case, result in results.items()}
    cases = [compared[problem.name] for problem in problems]
    fitted = curved(cases)
    rates = ", ".join(f"{rate:g}" for rate in sampling.learning_rates)
    order = Verdict(
        claim=NAME,
        check=f"order of g + εαA, worst of {count(fitted)} × α = {rates}",
        predicted="2.00",
        measured=worst_order(fitted, sampling),
        accepted=SECOND_ORDER,
        control="student from another init",
        control_measured=worst_order([compared["control: another init"]], sampling),
        instances=num_visible(fitted),
    )
    decrease = Verdict(
        claim=NAME,
        check=f"g / −εαA at the smallest ε, every instance with A > 0 of {count(problems)}",
        predicted="→ 1",
        measured=smallest_step_ratios(cases),
        accepted=NEAR_ONE,
        control="loss with its minimum at z = 1.5y",
        control_measured=smallest_step_ratios([compared["control: stretched loss"]]),
        instances=num_visible(cases),
    )
    return Report([order, decrease], results)


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference case and its neighbors.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify([zoo.build(case) for case in (zoo.REFERENCE, *zoo.NEIGHBORS)], sampling)


NAME = "trait-loss"
CLAIM = Claim(
    name=NAME,
    statement="shared init: the student's step lowers the teacher's own trait loss by εαA + O(ε²)",
    verify=verify,
    verify_zoo=verify_zoo,
)
