"""The verdicts of claim 14: the order for one label, and the parabola in the student's step size for many."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from theory.claims.evidence import LEAST_SEEDS, VANISHING, count
from theory.claims.sampled_labels.signal_to_noise import NO_EXCESS
from theory.runs.statistics import Estimate, fitted_order, hull, joint_confidence, mean_estimate, median_estimate
from theory.runs.verdicts import Accepted, Verdict

SIZES = (1e-4, 3e-4, 1e-3)
r"""Of the order's fit both $\epsilon$, in natural units, and $\alpha$, in units of the one at which a single label
moves the student as far as $\epsilon = 1$ moves the teacher."""

NUM_LABELS = 100
"""Labels in a data set, where step sizes of the student are compared."""

FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
r"""Step sizes of the student, in units of the best, $\alpha^*$."""

THIRD_ORDER = Accepted(low=2.95, high=3.05)
"""A remainder of third order, as fitted."""


class NoiseCost(NamedTuple):
    """Predicted and measured change of the trait loss in one instance."""

    predicted: jax.Array
    r"""The formula for one label, at $\epsilon$ and $\alpha$ of each of `SIZES`, shape `(sizes,)`."""
    measured: jax.Array
    r"""Its exact mean over all labels that could be drawn, shape `(sizes,)`."""
    noiseless: jax.Array
    """The same for a student that sees the teacher's outputs themselves, shape `(sizes,)`."""
    climb: jax.Array
    r"""$(K\Delta_T)^\top H (K\Delta_T)$, shape `()`."""
    trace: jax.Array
    r"""$\mathrm{tr}(HK)$, shape `()`."""
    relative: jax.Array
    r"""Change of the trait loss at each of `FACTORS` in units of $\alpha^*\epsilon A/2$, for drawn data sets of
    `NUM_LABELS`, their known mean slope put in for the drawn one, shape `(repetitions, factors)`."""
    noiseless_relative: jax.Array
    """The same for a student that sees the teacher's outputs themselves, shape `(factors,)`."""
    definite: jax.Array
    """Whether imitation sees the trait and its loss is clearly curved upwards, shape `()`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def judge(name: str, results: Mapping[str, Any]) -> list[Verdict]:
    """Hold measurements against the predictions.

    Args:
        name: The claim's name.
        results: Measurements of each case; the first also serves for the controls.

    Returns:
        The verdicts.
    """
    cases = list(results.values())
    order = Verdict(
        claim=name,
        check=f"order of E[ΔL_T] − formula in ε = α, N = 1, every label, worst of {count(cases)}",
        predicted="3.00",
        measured=worst_third_order([(case.predicted, case.measured, case.visible) for case in cases]),
        accepted=THIRD_ORDER,
        control="student sees outputs, not labels",
        control_measured=worst_third_order([(cases[0].predicted, cases[0].noiseless, cases[0].visible)]),
        instances=sum(int(case.visible.sum()) for case in cases),
        least_instances=LEAST_SEEDS,
    )
    relative = np.concatenate([case.relative[case.definite].mean(axis=1) for case in cases])
    noiseless = cases[0].noiseless_relative[cases[0].definite]
    decided = len(relative) if len(noiseless) else 0
    parabola = Verdict(
        claim=name,
        check=f"E[ΔL_T] / (α*εA/2) − (a² − 2a), N = {NUM_LABELS}, {count(cases)}, worst of {len(FACTORS)} a = α/α*",
        predicted="0",
        measured=worst_excess(relative),
        accepted=NO_EXCESS,
        control="student sees outputs, not labels",
        control_measured=worst_excess(noiseless),
        instances=decided,
        least_instances=LEAST_SEEDS,
    )
    damage = Verdict(
        claim=name,
        check=f"E[ΔL_T] / (α*εA/2) at α = {FACTORS[-1]:g} α*: worse than before",
        predicted=f"{FACTORS[-1] ** 2 - 2 * FACTORS[-1]:g}",
        measured=estimate_mean(relative[:, -1]),
        accepted=Accepted(low=0.0, high=np.inf),
        control="student sees outputs, not labels",
        control_measured=estimate_mean(noiseless[:, -1]),
        instances=decided,
        least_instances=LEAST_SEEDS,
    )
    return [order, parabola, damage]


def estimate_mean(samples: np.ndarray, num_intervals: int = 1) -> Estimate:
    """Estimate a mean among several that are judged together.

    Args:
        samples: Independent samples, shape `(samples,)`.
        num_intervals: How many are judged together.

    Returns:
        The estimate; NaN where there is no sample.
    """
    nothing = Estimate(np.nan, np.nan, np.nan)
    return mean_estimate(samples, joint_confidence(num_intervals)) if len(samples) else nothing


def worst_excess(relative: np.ndarray) -> Estimate:
    """Compare the mean change at every step size with the parabola, and keep the one that agrees least.

    Args:
        relative: Changes in units of half the first-order one at the best step size, shape `(instances, factors)`.

    Returns:
        The mean's excess over the parabola, with the least margin relative to its interval.
    """
    factors = np.array(FACTORS)
    columns = (relative - (factors**2 - 2 * factors)).T
    excesses = [estimate_mean(column, len(FACTORS)) for column in columns]
    return min(excesses, key=lambda excess: NO_EXCESS.margin(excess) / max(excess.high - excess.low, VANISHING))


def worst_third_order(comparisons: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Estimate:
    """Fit the order of every case's remainder in both step sizes, median over instances, and keep the worst case.

    Args:
        comparisons: For each case what was predicted and measured, `(num_seeds, sizes)`, and which instances are seen.

    Returns:
        The order farthest from 3 with the hull of all cases' intervals; NaN where there is no instance.
    """
    confidence = joint_confidence(len(comparisons))
    orders = [
        fitted_order(np.array(SIZES), (measured - predicted)[seen])
        for predicted, measured, seen in comparisons
        if seen.any()
    ]
    nothing = Estimate(np.nan, np.nan, np.nan)
    return hull([median_estimate(order, confidence) for order in orders], predicted=3.0) if orders else nothing
