r"""Claim 1, lemma 1: a step of imitation moves a student that shares the teacher's init towards the teacher.

$$\Delta_S(\epsilon)\cdot\Delta_T = \epsilon A + O(\epsilon^2), \qquad
A = \Delta_T^\top K \Delta_T = \mathbb{E}_x[(J\Delta_T)^\top M (J\Delta_T)] \ge 0,$$

for *any* displacement of the teacher, on *any* inputs, under any imitation loss of the theorem's class.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory import losses, zoo
from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    VANISHING,
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
from theory.problems import Problem, draw_instance, inner_product, student_displacement, trait_descent
from theory.statistics import Estimate, range_estimate
from theory.sweeps import Sampling
from theory.verdicts import Accepted, Verdict


class Alignment(NamedTuple):
    """Predicted and measured alignment of one instance."""

    predicted: jax.Array
    r"""$A$, shape `()`; the alignment is $\epsilon A$ to leading order."""
    steps: jax.Array
    r"""$\epsilon$: the natural step sizes times this instance's unit, shape `(teacher_steps,)`."""
    measured: jax.Array
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$, shape `(teacher_steps,)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], shared: bool = True) -> Alignment:
    """Predict the alignment in closed form, then simulate both steps and measure it.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        shared: Whether the student starts where the teacher does; the prediction always assumes so.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key, shared=shared)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    predicted = transfer_form(problem, instance._replace(student=instance.teacher), direction, direction)

    def simulate(teacher_step: jax.Array) -> jax.Array:
        return inner_product(student_displacement(problem, instance, direction, teacher_step), direction)

    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    return Alignment(predicted, steps, jax.vmap(simulate)(steps), units.visible)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check order, sign and, where there is no remainder at all, equality.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps)
    outside = replace(problems[0], imitation_loss=losses.stretched(problems[0].imitation_loss))
    results = sampling.sweep_all(
        {problem.name: partial(measure_one, problem) for problem in problems}
        | {"control: another init": partial(measure_one, problems[0], shared=False)}
        | {"control: stretched loss": partial(measure_one, outside)},
        NAME,
    )
    compared = {
        case: Comparison(result.predicted[:, None] * result.steps, result.measured, result.visible)
        for case, result in results.items()
    }
    cases = [compared[problem.name] for problem in problems]
    exact = [case for case in cases if case.exact and case.num_visible]
    fitted = curved(cases)
    verdicts = [
        Verdict(
            claim=NAME,
            check=f"Δ_S·Δ_T / εA at the smallest ε, every instance with A > 0 of {count(problems)}",
            predicted="→ 1",
            measured=smallest_step_ratios(cases),
            accepted=NEAR_ONE,
            control="loss with its minimum at z = 1.5y",
            control_measured=smallest_step_ratios([compared["control: stretched loss"]]),
            instances=num_visible(cases),
        )
    ]
    if fitted:
        order = Verdict(
            claim=NAME,
            check=f"order of Δ_S·Δ_T − εA, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="student from another init",
            control_measured=worst_order([compared["control: another init"]], sampling),
            instances=num_visible(fitted),
        )
        verdicts.insert(0, order)
    if exact:
        equality = Verdict(
            claim=NAME,
            check="size of Δ_S·Δ_T / εA − 1 at the largest ε, linear outputs and squared error",
            predicted="0 (rounding)",
            measured=relative_remainders(exact),
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another init",
            control_measured=relative_remainders([compared["control: another init"]]),
            instances=num_visible(exact),
        )
        verdicts.append(equality)
    return Report(verdicts, results)


def relative_remainders(comparisons: Sequence[Comparison]) -> Estimate:
    """Size of the remainder relative to its leading term at the largest step, in every instance.

    Args:
        comparisons: One for each case.

    Returns:
        Median and whole range.
    """
    ratios = [np.abs(case.remainder[case.visible, -1] / case.leading[case.visible, -1]) for case in comparisons]
    return range_estimate(np.concatenate(ratios))


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference case and its neighbors.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    linear = zoo.Case(name="linear, squared error", hidden=(), loss="squared error")
    return verify([zoo.build(case) for case in (zoo.REFERENCE, *zoo.NEIGHBORS, linear)], sampling)


NAME = "alignment"
CLAIM = Claim(
    name=NAME,
    statement="shared init: the student's step has a positive inner product εA + O(ε²) with the teacher's",
    verify=verify,
    verify_zoo=verify_zoo,
)
