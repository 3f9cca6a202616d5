r"""Claim 9: which optimizers keep the guarantee of theorem 1.

The *same symmetric positive-definite* $P$ for teacher and student keeps it: with $\Delta_T = -P\,\nabla L_T$,

$$L_T(\theta_S^\epsilon) - L_T(\theta^0) = -\epsilon\alpha\,\Delta_T^\top K \Delta_T + O(\epsilon^2).$$

A plain teacher with a student that descends by $P$ keeps the sign if $\mathrm{cond}(P) \le \kappa$,

$$\kappa = \frac{1 + \cos\varphi}{1 - \cos\varphi},\qquad \varphi = \angle(\Delta_T, K\Delta_T),$$

and beyond that there is a $P$ that reverses it. A positive matrix that is not symmetric, sign descent and Adam
guarantee nothing.

References:
    Derived here. *Same* $P$: to first order the student moves by $\epsilon\alpha P K \Delta_T$, and if $P$ is symmetric
    $\nabla L_T^\top P K \Delta_T = -\Delta_T^\top K \Delta_T$: this is gradient descent in the coordinates
    $P^{-1/2}\theta$. For $I + tS$ with $S$ skew-symmetric it is $-A(g) + t^2 A(Sg)$ instead, $A(v) = v^\top K v$,
    $g = \nabla L_T$: no sign. *Plain teacher*: `optimizers.largest_safe_condition`.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from theory import zoo
from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    VANISHING,
    Claim,
    Report,
    count,
    curved,
    num_visible,
    smallest_step_ratios,
    worst_order,
)
from theory.claims.optimizers.steps import (
    ABOVE,
    BELOW,
    FALL_STEP,
    MARGIN,
    RANDOM,
    SHARED,
    SIGNS,
    SKEWED,
    TURNED,
    OptimizerSteps,
    compare,
    cosines,
    measure,
)
from theory.problem import Problem
from theory.runs.statistics import Estimate, range_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check what is guaranteed, and count how often what is not guaranteed goes wrong.

    Args:
        problems: The cases; the first also serves for the controls, and alone where nothing is guaranteed.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    fitted = sampling.teacher_steps[: sampling.num_fitted]
    steps = {"teacher_steps": fitted, "learning_rates": sampling.learning_rates}
    results = sampling.sweep_all({problem.name: partial(measure, problem, **steps) for problem in problems}, NAME)
    cases = [results[problem.name] for problem in problems]
    return Report([*judge_shared(cases, sampling), *judge_plain(cases), *report_breaks(cases[:1])], results)


def judge_shared(cases: Sequence[OptimizerSteps], sampling: Sampling) -> list[Verdict]:
    """Judge teacher and student with the same symmetric positive-definite matrix.

    Args:
        cases: Measurements of each case.
        sampling: Instances and step sizes.

    Returns:
        The verdicts on order and size.
    """
    fitted, smallest = compare(cases, SHARED)
    broken_fitted, broken_smallest = compare(cases[:1], SKEWED)
    return [
        Verdict(
            claim=NAME,
            check=f"order of the change of L_T + εα Δ_TᵀKΔ_T, same P for both, worst of {count(cases)}",
            predicted="2.00",
            measured=worst_order(curved(fitted), sampling),
            accepted=SECOND_ORDER,
            control=SKEWED,
            control_measured=worst_order(broken_fitted, sampling),
            instances=num_visible(curved(fitted)),
        ),
        Verdict(
            claim=NAME,
            check=f"fall of L_T / εα Δ_TᵀKΔ_T, same P for both, each α, ε = {FALL_STEP:g}, every instance",
            predicted="→ 1",
            measured=smallest_step_ratios(smallest),
            accepted=NEAR_ONE,
            control=SKEWED,
            control_measured=smallest_step_ratios(broken_smallest),
            instances=num_visible(smallest),
        ),
    ]


def judge_plain(cases: Sequence[OptimizerSteps]) -> list[Verdict]:
    """Judge a plain teacher with a preconditioned student, within the bound on its condition number and at it.

    Args:
        cases: Measurements of each case.

    Returns:
        The verdicts.
    """
    (_, below), (_, above) = compare(cases, BELOW), compare(cases[:1], ABOVE)
    within, broken = cosines(cases, RANDOM), cosines(cases[:1], ABOVE)
    return [
        Verdict(
            claim=NAME,
            check="cosine of student's step and −∇L_T, plain teacher, random P within the bound, every instance",
            predicted="≥ 0",
            measured=range_estimate(within),
            accepted=Accepted(low=0.0, high=1 + VANISHING),
            control=ABOVE,
            control_measured=range_estimate(broken),
            instances=len(within),
        ),
        Verdict(
            claim=NAME,
            check=f"fall of L_T / {MARGIN:g} εαA, plain teacher, worst P 1 % below the bound, every instance",
            predicted="→ 1",
            measured=smallest_step_ratios(below),
            accepted=NEAR_ONE,
            control=ABOVE,
            control_measured=smallest_step_ratios(above),
            instances=num_visible(below),
        ),
    ]


def report_breaks(cases: Sequence[OptimizerSteps]) -> list[Verdict]:
    """Count how often the student's step raises the trait loss where nothing is guaranteed.

    Args:
        cases: Measurements of a single case.

    Returns:
        The shares.
    """
    seen = {arm: cosines(cases, arm) for arm in (*TURNED, *SIGNS)}
    return [
        Verdict(
            claim=NAME,
            check=f"share of student's steps that raise L_T (∇L_T·step > 0), {arm}",
            predicted="no guarantee",
            measured=rate_estimate(values < 0) if len(values) else Estimate(np.nan, np.nan, np.nan),
            instances=len(values),
        )
        for arm, values in seen.items()
    ]


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference case and its farthest neighbors.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify(zoo.spread(sampling), sampling)


NAME = "optimizers"
CLAIM = Claim(
    name=NAME,
    statement="the same symmetric positive-definite preconditioner keeps the guarantee; other optimizers need not",
    verify=verify,
    verify_zoo=verify_zoo,
)
