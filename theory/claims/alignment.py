r"""Claim 1, lemma 1: a step of imitation moves a student that shares the teacher's init towards the teacher.

$$\Delta_S(\epsilon)\cdot\Delta_T = \epsilon A + O(\epsilon^2), \qquad
A = \Delta_T^\top K \Delta_T = \mathbb{E}_x[(J\Delta_T)^\top M (J\Delta_T)] \ge 0,$$

for *any* displacement of the teacher, on *any* inputs, under any imitation loss of the theorem's class.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from theory import zoo
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
    split_by_rounding,
    unfitted,
    worst_order,
)
from theory.conditions import check
from theory.one_step import STRANGER, STRETCHED, OneStep, sweep_steps, zoo_problems
from theory.problem import Problem
from theory.runs.statistics import Estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


class Alignment(NamedTuple):
    """Predicted and measured alignment of every instance."""

    predicted: np.ndarray
    r"""$A$, shape `(num_seeds,)`; the alignment is $\epsilon A$ to leading order."""
    steps: np.ndarray
    r"""$\epsilon$: the natural step sizes times each instance's unit, shape `(num_seeds, teacher_steps)`."""
    measured: np.ndarray
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$, shape `(num_seeds, teacher_steps)`."""
    visible: np.ndarray
    """Whether $A > 0$ by more than rounding, shape `(num_seeds,)`."""
    rounding: np.ndarray
    """Rounding of what was measured, shape `(num_seeds,)`."""

    @classmethod
    def of(cls, steps: OneStep) -> "Alignment":
        """Take what this claim is about.

        Args:
            steps: Simulated steps of every instance.

        Returns:
            Their alignments.
        """
        fields = (steps.curvature, steps.steps, steps.alignment, steps.visible, steps.alignment_rounding)
        return cls(*map(np.asarray, fields))

    def comparison(self) -> Comparison:
        """Put measurement and prediction side by side.

        Returns:
            Both, for every step size.
        """
        return Comparison(self.predicted[:, None] * self.steps, self.measured, self.visible, self.rounding)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Measure the alignment and judge it.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    results = {case: Alignment.of(steps) for case, steps in sweep_steps(tuple(problems), sampling).items()}
    return judge(results, sampling)


def judge(results: Mapping[str, Alignment], sampling: Sampling) -> Report:
    """Check order, sign and, where there is no remainder at all, equality.

    Args:
        results: The alignment in each case and in both controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    compared = {case: result.comparison() for case, result in results.items()}
    stranger, stretched = compared.pop(STRANGER), compared.pop(STRETCHED)
    cases = list(compared.values())
    exact = [case for case in cases if case.exact and case.num_visible]
    fitted, rounded = split_by_rounding(curved(cases), sampling)
    verdicts = [
        Verdict(
            claim=NAME,
            check=f"Δ_S·Δ_T / εA at the smallest ε, every instance with A > 0 of {count(cases)}",
            predicted="→ 1",
            measured=smallest_step_ratios(cases),
            accepted=NEAR_ONE,
            control="loss with its minimum at z = 1.5y",
            control_measured=smallest_step_ratios([stretched]),
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
            control_measured=worst_order([stranger], sampling),
            instances=num_visible(fitted),
        )
        verdicts.insert(0, order)
    if rounded:
        verdicts.append(unfitted(NAME, "Δ_S·Δ_T − εA", rounded))
    if exact:
        equality = Verdict(
            claim=NAME,
            check="size of Δ_S·Δ_T / εA − 1 at the largest ε, linear outputs and squared error",
            predicted="0 (rounding)",
            measured=relative_remainders(exact),
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another init",
            control_measured=relative_remainders([stranger]),
            instances=num_visible(exact),
        )
        verdicts.append(equality)
    return Report(verdicts, dict(results))


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
    report = verify(zoo_problems(sampling), sampling)
    conditions, _ = check(zoo.spread(sampling), sampling)
    return Report([*conditions.verdicts, *report.verdicts], report.measurements)


NAME = "alignment"
CLAIM = Claim(
    name=NAME,
    statement="shared init: the student's step has a positive inner product εA + O(ε²) with the teacher's",
    verify=verify,
    verify_zoo=verify_zoo,
)
