"""Claim 4 outside the class: orders of their own under powers of the error, coins where the minimum is elsewhere."""

from collections.abc import Sequence

import numpy as np

from theory.claims.different_initialization.signs import FAIR_COIN
from theory.claims.evidence import LEAST_SEEDS, NEAR_ONE, Comparison, num_visible, smallest_step_ratios
from theory.claims.imitation_losses.steps import LossSteps, compare_alignment, compare_fall
from theory.claims.imitation_losses.table import POWERS, SHIFTED, STRETCHED, UNSURE
from theory.runs.statistics import Estimate, hull, joint_confidence, median_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


def alignment_orders(comparisons: Sequence[Comparison], sampling: Sampling, predicted: float) -> Estimate:
    """Fit the order of the alignment itself, median over instances, and keep the worst case.

    Args:
        comparisons: One for each case.
        sampling: The step sizes.
        predicted: The order that theory predicts.

    Returns:
        The order farthest from it with the hull of all cases' intervals; NaN if imitation sees nothing.
    """
    orders = [sampling.orders(case.measured[case.visible]) for case in comparisons if case.num_visible]
    if not orders:
        return Estimate(np.nan, np.nan, np.nan)
    return hull([median_estimate(order, joint_confidence(len(orders))) for order in orders], predicted)


def share_aligned(compared: Comparison) -> Estimate:
    """How often the student moves towards the teacher at the smallest step.

    Args:
        compared: One case under one loss.

    Returns:
        Share of visible instances with its interval; NaN if there is none.
    """
    measured = compared.measured[compared.visible, 0]
    return rate_estimate(measured > 0) if len(measured) else Estimate(np.nan, np.nan, np.nan)


def judge_powers(name: str, cases: Sequence[LossSteps], sampling: Sampling) -> list[Verdict]:
    """Judge the powers of the error against orders and sizes of their own.

    Args:
        name: The claim's name.
        cases: Measurements of each case.
        sampling: Instances and step sizes.

    Returns:
        The verdicts.
    """
    squared, stretched = compare_alignment(cases[:1], ["squared error", STRETCHED])
    powers = {loss: compare_alignment(cases, [loss]) for loss in POWERS}
    verdicts = [
        Verdict(
            claim=name,
            check=f"order of Δ_S·Δ_T under {loss}, Σ|z − y|^{exponent:g}",
            predicted=f"{exponent - 1:.2f}",
            measured=alignment_orders(powers[loss], sampling, exponent - 1),
            accepted=Accepted(low=exponent - 1.05, high=exponent - 0.95),
            control="squared error",
            control_measured=alignment_orders([squared], sampling, exponent - 1),
            instances=num_visible(powers[loss]),
        )
        for loss, exponent in POWERS.items()
    ]
    seen = compare_alignment(cases, tuple(POWERS))
    size = Verdict(
        claim=name,
        check="Δ_S·Δ_T / r ε^(r−1) E Σ|JΔ_T|^r at the smallest ε, every instance, r = 1, 3/2, 4",
        predicted="→ 1",
        measured=smallest_step_ratios(seen),
        accepted=NEAR_ONE,
        control=f"{STRETCHED}, r = 2",
        control_measured=smallest_step_ratios([stretched]),
        instances=num_visible(seen),
    )
    (absolute,) = compare_fall(cases[:1], ["absolute error"])
    falling = absolute.measured[absolute.visible, :, 0] > 0
    shares = [
        Verdict(
            claim=name,
            check=f"share of falling L_T under absolute error, labels from ε → 0, student as far as ε = {rate:g}",
            predicted="no guarantee",
            measured=rate_estimate(column),
            instances=absolute.num_visible,
        )
        for rate, column in zip(sampling.learning_rates, falling.T, strict=True)
        if absolute.num_visible
    ]
    return [*verdicts, size, *shares]


def judge_elsewhere(name: str, cases: Sequence[LossSteps]) -> list[Verdict]:
    """Judge the sign of alignment where the loss has its minimum elsewhere.

    Args:
        name: The claim's name.
        cases: Measurements of a single case.

    Returns:
        The verdicts: a fair coin under a random shift, and no guarantee.
    """
    shifted, squared = compare_alignment(cases, [SHIFTED, "squared error"])
    coin = Verdict(
        claim=name,
        check="share of Δ_S·Δ_T > 0 at the smallest ε, squared error with its minimum at y + b, random b",
        predicted="0.5 (fair coin)",
        measured=share_aligned(shifted),
        accepted=FAIR_COIN,
        control="b = 0",
        control_measured=share_aligned(squared),
        instances=shifted.num_visible,
        least_instances=LEAST_SEEDS,
    )
    shares = [
        Verdict(
            claim=name,
            check=f"share of Δ_S·Δ_T > 0 at the smallest ε, {loss}",
            predicted="no guarantee",
            measured=share_aligned(compared),
            instances=compared.num_visible,
        )
        for loss, compared in zip(UNSURE, compare_alignment(cases, UNSURE), strict=True)
    ]
    return [coin, *shares]
