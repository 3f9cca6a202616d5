r"""Claim 2, theorem 1: the student's step lowers the teacher's own trait loss.

$$g(\epsilon) = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0) = -\epsilon\,\alpha A + O(\epsilon^2),$$

a decrease for small enough $\epsilon$ whenever $A > 0$, at every step size $\alpha$ of the student.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    limiting_ratios,
    num_visible,
    split_by_rounding,
    unfitted,
    worst_order,
)
from theory.one_step import STRANGER, STRETCHED, OneStep, sweep_steps, zoo_problems
from theory.problem import Problem
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict


class TraitChange(NamedTuple):
    """Predicted and measured change of the trait loss in every instance."""

    predicted: np.ndarray
    r"""$-\epsilon\alpha A$, shape `(num_seeds, learning_rates, teacher_steps)`."""
    measured: np.ndarray
    r"""$g(\epsilon)$, same shape, in units of the trait loss."""
    visible: np.ndarray
    """Whether $A > 0$ by more than rounding, shape `(num_seeds,)`."""
    rounding: np.ndarray
    """Rounding of what was measured, shape `(num_seeds, learning_rates)`."""

    @classmethod
    def of(cls, steps: OneStep) -> "TraitChange":
        """Take what this claim is about.

        Args:
            steps: Simulated steps of every instance.

        Returns:
            Their changes of the trait loss.
        """
        curvature, sizes, rates, visible, _, change, _, rounding = map(np.asarray, steps)
        predicted = -curvature[:, None, None] * rates[:, :, None] * sizes[:, None, :]
        return cls(predicted, np.swapaxes(change, 1, 2), visible, rounding)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Measure the change of the trait loss and judge it.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    results = {case: TraitChange.of(steps) for case, steps in sweep_steps(tuple(problems), sampling).items()}
    return judge(results, sampling)


def judge(results: Mapping[str, TraitChange], sampling: Sampling) -> Report:
    """Check the remainder's order and the sign, at every step size of the student.

    Args:
        results: The change in each case and in both controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    compared = {case: Comparison(*result) for case, result in results.items()}
    stranger, stretched = compared.pop(STRANGER), compared.pop(STRETCHED)
    cases = list(compared.values())
    fitted, rounded = split_by_rounding(curved(cases), sampling)
    rates = ", ".join(f"{rate:g}" for rate in sampling.learning_rates)
    order = Verdict(
        claim=NAME,
        check=f"order of g + εαA, worst of {count(fitted)} × α = {rates}",
        predicted="2.00",
        measured=worst_order(fitted, sampling),
        accepted=SECOND_ORDER,
        control="student from another init",
        control_measured=worst_order([stranger], sampling),
        instances=num_visible(fitted),
    )
    decrease = Verdict(
        claim=NAME,
        check=f"g / −εαA as ε → 0, every instance with A > 0 of {count(cases)}",
        predicted="→ 1",
        measured=limiting_ratios(cases),
        accepted=NEAR_ONE,
        control="loss with its minimum at z = 1.5y",
        control_measured=limiting_ratios([stretched]),
        instances=num_visible(cases),
    )
    orders = [order] if fitted or not rounded else []
    if rounded:
        orders.append(unfitted(NAME, "g + εαA", rounded))
    return Report([*orders, decrease], dict(results))


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference case and its neighbors.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify(zoo_problems(sampling), sampling)


NAME = "trait-loss"
CLAIM = Claim(
    name=NAME,
    statement="shared init: the student's step lowers the teacher's own trait loss by εαA + O(ε²)",
    verify=verify,
    verify_zoo=verify_zoo,
)
