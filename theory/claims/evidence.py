"""What every claim file hands over, and the two kinds of evidence that most of them need: orders and ratios."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from theory.problem import Problem
from theory.runs.statistics import Estimate, hull, joint_confidence, median_estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

SECOND_ORDER = Accepted(low=1.95, high=2.05)
"""A remainder of second order, as fitted."""

NEAR_ONE = Accepted(low=0.9, high=1.1)
"""Every single instance has the predicted sign and about the predicted size, at the smallest step."""

LEAST_SEEDS = 32
"""With fewer instances a case the interval of a median order is nearly the whole range, and decides nothing."""

VANISHING = 1e-10
"""A remainder below this share of its leading term, at the largest step, is rounding: there is no order to fit."""


class Report(NamedTuple):
    """A claim's verdicts and the numbers behind them."""

    verdicts: list[Verdict]
    """One for each check."""
    measurements: dict[str, Any]
    """For each case a named tuple of arrays with leading axis `(num_seeds,)`."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the theory and how to verify it."""

    name: str
    """How the command line calls it."""
    statement: str
    """The claim in a line."""
    verify: Callable[[Sequence[Problem], Sampling], Report] | None
    """Verify it for problems that one brings; the first also serves for the controls. None if it needs to know the
    inside of the network."""
    verify_zoo: Callable[[Sampling], Report]
    """Verify it over the zoo."""


def count(cases: Sequence[object]) -> str:
    """Say how many cases there are.

    Args:
        cases: The cases.

    Returns:
        For example `16 cases`.
    """
    return f"{len(cases)} case{'s' if len(cases) != 1 else ''}"


class Comparison(NamedTuple):
    """A simulated quantity beside its predicted leading term, for every instance of a case."""

    leading: np.ndarray
    """Predicted, shape `(num_seeds, …, teacher_steps)`."""
    measured: np.ndarray
    """Simulated, same shape."""
    visible: np.ndarray
    """Whether $A > 0$ by more than rounding, shape `(num_seeds,)`; the others are a matter of claim 3."""
    rounding: np.ndarray | float = 0.0
    """Rounding of the simulated quantity, as measured, shape `(num_seeds, …)`; no order is fitted to less."""

    @property
    def num_visible(self) -> int:
        """How many instances there are to judge."""
        return int(self.visible.sum())

    @property
    def remainder(self) -> np.ndarray:
        """Measured minus predicted, same shape."""
        return self.measured - self.leading

    @property
    def exact(self) -> bool:
        """Whether the remainder is nothing but rounding in every instance, even at the largest step."""
        remainder, leading = self.remainder[self.visible, ..., -1], self.leading[self.visible, ..., -1]
        return bool(np.all(np.abs(remainder) <= VANISHING * np.max(np.abs(leading), axis=0, initial=0.0)))


def num_visible(comparisons: Sequence[Comparison]) -> int:
    """Count the instances behind a verdict.

    Args:
        comparisons: One for each case.

    Returns:
        Instances in which imitation sees the trait.
    """
    return sum(comparison.num_visible for comparison in comparisons)


def curved(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Choose the cases to which an order can be fitted.

    Args:
        comparisons: One for each case.

    Returns:
        Those with a remainder beyond rounding, and with enough visible instances for an interval.
    """
    return [case for case in comparisons if case.num_visible >= LEAST_SEEDS and not case.exact]


def fitted_orders(case: Comparison, sampling: Sampling) -> np.ndarray:
    """Fit the order of a case's remainder in every visible instance.

    Args:
        case: The case.
        sampling: The step sizes.

    Returns:
        Shape `(visible instances, orders)`; NaN where fewer than three remainders are above rounding.
    """
    rounding = np.broadcast_to(case.rounding, case.remainder.shape[:-1])[case.visible]
    orders = sampling.orders(case.remainder[case.visible], rounding)
    return orders.reshape(len(orders), -1)


def split_by_rounding(
    comparisons: Sequence[Comparison], sampling: Sampling
) -> tuple[list[Comparison], list[Comparison]]:
    """Separate the cases in which rounding leaves too little to fit an order to.

    Args:
        comparisons: One for each case.
        sampling: The step sizes.

    Returns:
        Cases with an order in enough instances (a remainder that isn't finite is no rounding), and the others.
    """

    def fits(case: Comparison) -> bool:
        fitted = np.isfinite(fitted_orders(case, sampling)).sum(axis=0)
        return bool(np.all(fitted >= LEAST_SEEDS)) or not np.isfinite(case.remainder[case.visible]).all()

    fitted = [fits(case) for case in comparisons]
    return (
        [case for case, fit in zip(comparisons, fitted, strict=True) if fit],
        [case for case, fit in zip(comparisons, fitted, strict=True) if not fit],
    )


def unfitted(claim: str, remainder: str, comparisons: Sequence[Comparison]) -> Verdict:
    """Report the cases whose remainder is too close to rounding for an order.

    Args:
        claim: Name of the claim.
        remainder: The remainder in symbols.
        comparisons: The cases.

    Returns:
        A verdict that decides nothing.
    """
    return Verdict(
        claim=claim,
        check=f"order of {remainder}, {count(comparisons)}",
        predicted="2.00",
        measured=Estimate(np.nan, np.nan, np.nan),
        instances=num_visible(comparisons),
        unjudged="fewer than three step sizes above rounding",
    )


def worst_order(comparisons: Sequence[Comparison], sampling: Sampling) -> Estimate:
    """Fit the order of every case's remainder, median over instances, and keep the worst case.

    Args:
        comparisons: One for each case.
        sampling: The step sizes.

    Returns:
        The order farthest from 2 with the hull of all cases' intervals, jointly at the level `CONFIDENCE`; NaN if
        there is no case or a remainder is not finite.
    """
    nothing = Estimate(np.nan, np.nan, np.nan)
    remainders = [case.remainder[case.visible] for case in comparisons if case.num_visible]
    if not remainders or not all(np.isfinite(remainder).all() for remainder in remainders):
        return nothing
    columns = [column for case in comparisons if case.num_visible for column in fitted_orders(case, sampling).T]
    confidence = joint_confidence(len(columns))
    return hull([median_estimate(column, confidence) for column in columns], predicted=2.0)


def smallest_step_ratios(comparisons: Sequence[Comparison]) -> Estimate:
    """Measured over predicted at the smallest step, in every visible instance.

    Args:
        comparisons: One for each case.

    Returns:
        Median and whole range.
    """
    measured = np.concatenate([case.measured[case.visible, ..., 0].ravel() for case in comparisons])
    leading = np.concatenate([case.leading[case.visible, ..., 0].ravel() for case in comparisons])
    return range_estimate(measured / leading)


def limiting_ratios(comparisons: Sequence[Comparison]) -> Estimate:
    r"""Measured over predicted as the step vanishes, in every visible instance, from the two smallest steps.

    Both ratios are $1 + r\epsilon$ up to second order, whatever $r$: the line through them ends in 1 at $\epsilon = 0$,
    also where $A$ is so small that the smallest step is not small yet.

    Args:
        comparisons: One for each case; the leading terms are proportional to the step.

    Returns:
        Median and whole range.
    """
    limits = []
    for case in comparisons:
        leading = case.leading[case.visible][..., :2]
        ratios, share = case.measured[case.visible][..., :2] / leading, leading[..., 0] / leading[..., 1]
        limits.append(((ratios[..., 0] - share * ratios[..., 1]) / (1 - share)).ravel())
    return range_estimate(np.concatenate(limits))
