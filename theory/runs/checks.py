"""Checks as data: a figure of what was measured, what it must be, and a control under which it must not be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from theory.runs.statistics import (
    CONFIDENCE,
    Estimate,
    hull,
    joint_confidence,
    mean_estimate,
    median_estimate,
    range_estimate,
    rate_estimate,
)
from theory.runs.verdicts import Accepted, Verdict

SECOND_ORDER = Accepted(low=1.95, high=2.05)
"""A remainder of second order, as fitted."""

THIRD_ORDER = Accepted(low=2.95, high=3.05)
"""A remainder of third order, as fitted."""

NEAR_ONE = Accepted(low=0.9, high=1.1)
"""Every single instance has the predicted sign and about the predicted size, at the smallest step."""

FAIR_COIN = Accepted(low=0.5, high=0.5, rule="covers")
"""The interval of a share contains one half."""

NO_EXCESS = Accepted(low=0.0, high=0.0, rule="covers")
"""Nothing is left of a difference to the prediction but chance."""

LEAST_SEEDS = 32
"""With fewer instances a case the interval of a median order is nearly the whole range, and decides nothing."""

VANISHING = 1e-10
"""A remainder below this share of its leading term, at the largest step, is rounding: there is no order to fit."""

ROUNDING = 8.0
"""Multiples of the rounding unit that pass as zero: a few operations an output, their errors averaged over a batch."""

NOTHING = Estimate(np.nan, np.nan, np.nan)
"""What is measured where there is no instance."""

CONTROL = "control: "
"""How the name of a case begins in which an assumption is broken."""


class Comparison(NamedTuple):
    """A simulated quantity beside its predicted leading term, for every instance of a case."""

    leading: np.ndarray
    """Predicted, shape `(num_seeds, …, teacher_steps)`."""
    measured: np.ndarray
    """Simulated, same shape."""
    visible: np.ndarray
    """Whether $A > 0$ by more than rounding, shape `(num_seeds,)`; the others are a matter of claim `null-space`."""
    rounding: np.ndarray | float = 0.0
    """Rounding of the simulated quantity, as measured, shape `(num_seeds, …)`; no order is fitted to less."""

    @property
    def remainder(self) -> np.ndarray:
        """Measured minus predicted, same shape."""
        return self.measured - self.leading

    @property
    def num_visible(self) -> int:
        """How many instances there are to judge."""
        return int(self.visible.sum())

    @property
    def exact(self) -> bool:
        """Whether the remainder is nothing but rounding in every instance, even at the largest step."""
        remainder, leading = self.remainder[self.visible, ..., -1], self.leading[self.visible, ..., -1]
        return bool(np.all(np.abs(remainder) <= VANISHING * np.max(np.abs(leading), axis=0, initial=0.0)))

    @property
    def ratio(self) -> np.ndarray:
        """Measured over predicted at the smallest step, in every visible instance."""
        return self.measured[self.visible, ..., 0] / self.leading[self.visible, ..., 0]

    @property
    def limiting_ratio(self) -> np.ndarray:
        r"""Measured over predicted as the step vanishes, in every visible instance, from the two smallest steps.

        Both ratios are $1 + r\epsilon$ up to second order, whatever $r$: the line through them ends in 1 at
        $\epsilon = 0$, also where $A$ is so small that the smallest step is not small yet.
        """
        leading = self.leading[self.visible][..., :2]
        ratios, share = self.measured[self.visible][..., :2] / leading, leading[..., 0] / leading[..., 1]
        return (ratios[..., 0] - share * ratios[..., 1]) / (1 - share)

    def orders(self, settings: Any) -> np.ndarray:
        """Fit the remainder's order in every visible instance; NaN where fewer than three are above rounding."""
        rounding = np.broadcast_to(self.rounding, self.remainder.shape[:-1])[self.visible]
        orders = settings.orders(self.remainder[self.visible], rounding)
        return orders.reshape(len(orders), -1)


Figure = Callable[[Sequence[Any], Any], Estimate]
"""From the quantities of all cases, and a run's settings, to one figure with its interval."""


@dataclass(frozen=True)
class Evidence:
    """A record as it was measured, case by case."""

    cases: Mapping[str, Any]
    """For each case, by name, a named tuple of arrays with a leading axis of instances."""
    settings: Any
    """What was asked for: a `Sampling` for a claim of the theory."""
    verdicts: Sequence[Mapping[str, Any]] = ()
    """What became of the checks, for pictures whose titles say so."""
    record: Any = None
    """The record that it was read from, for pictures that look beyond their own claim; None if it was just measured."""

    @property
    def proper(self) -> dict[str, Any]:
        """The cases in which no assumption is broken."""
        return {name: case for name, case in self.cases.items() if CONTROL not in name}

    @property
    def first(self) -> Any:
        """The case that the controls belong to."""
        return next(iter(self.proper.values()))


Select = Callable[[Evidence], Sequence[Any]]
"""From the evidence to what each case contributes: a comparison, or numbers with a leading axis of instances."""


def every_case(quantity: Callable[[Any], Any]) -> Select:
    """Take a quantity of every case in which no assumption is broken."""
    return lambda evidence: [quantity(case) for case in evidence.proper.values()]


def first_case(quantity: Callable[[Any], Any]) -> Select:
    """Take a quantity of the first case alone."""
    return lambda evidence: [quantity(case) for case in list(evidence.proper.values())[:1]]


def case(name: str, quantity: Callable[[Any], Any]) -> Select:
    """Take a quantity of one case, by name; that it is missing is an error."""

    def select(evidence: Evidence) -> list[Any]:
        if name not in evidence.cases:
            raise KeyError(f"no case {name!r} was measured, only {', '.join(map(repr, evidence.cases))}")
        return [quantity(evidence.cases[name])]

    return select


def nothing(quantities: Sequence[Any], settings: Any = None) -> Estimate:
    """Make no figure, NaN, of what is only counted."""
    return NOTHING


def _together(quantities: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(values) for values in quantities]) if quantities else np.zeros(0)


def every(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
    """Say what is true of every single instance: the median, between the smallest and the largest."""
    return range_estimate(_together(quantities))


def median(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
    """Take the median over all instances, with its distribution-free interval."""
    return median_estimate(_together(quantities))


def mean(joint: int = 1, confidence: float = CONFIDENCE) -> Figure:
    """Take the mean over all instances, with Student's interval, one of `joint` that are judged together."""

    def estimate(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
        values = _together(quantities)
        return mean_estimate(values, joint_confidence(joint, confidence)) if values.size else NOTHING

    return estimate


def share(joint: int = 1) -> Figure:
    """Take the share of instances of which something is true, with its exact interval, one of `joint`."""

    def estimate(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
        values = _together(quantities)
        return rate_estimate(values, joint_confidence(joint)) if values.size else NOTHING

    return estimate


def worst_median(predicted: float) -> Figure:
    """Take the median of each column of each case, and keep the worst, between the outermost ends of all."""

    def estimate(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
        columns = [column for values in quantities if len(values) for column in values.reshape(len(values), -1).T]
        confidence = joint_confidence(max(1, len(columns)))
        return hull([median_estimate(column, confidence) for column in columns], predicted) if columns else NOTHING

    return estimate


def least_agreeing(estimates: Sequence[Estimate], accepted: Accepted) -> Estimate:
    """Choose among estimates that are judged together the one with the least margin for its width."""
    if not estimates or np.isnan(np.array(estimates)).any():
        return NOTHING
    return min(estimates, key=lambda one: accepted.margin(one) / max(one.high - one.low, VANISHING))


def worst_mean(accepted: Accepted) -> Figure:
    """Take the mean of each column of each case, and keep the one with the least margin for its interval."""

    def estimate(quantities: Sequence[np.ndarray], settings: Any = None) -> Estimate:
        columns = [column for values in quantities if len(values) for column in values.T]
        return least_agreeing([mean(len(columns))([column], settings) for column in columns], accepted)

    return estimate


def order(predicted: float) -> Figure:
    """Fit the order of every remainder, median over instances, and keep the worst; NaN if one is not finite."""

    def estimate(quantities: Sequence[Comparison], settings: Any) -> Estimate:
        seen = [comparison for comparison in quantities if comparison.num_visible]
        if not all(np.isfinite(comparison.remainder[comparison.visible]).all() for comparison in seen):
            return NOTHING
        return worst_median(predicted)([comparison.orders(settings) for comparison in seen], settings)

    return estimate


def curved(comparison: Comparison, settings: Any) -> bool:
    """Tell whether an order can be fitted: a remainder beyond rounding in enough visible instances."""
    return _bends(comparison) and not rounded(comparison, settings)


def rounded(comparison: Comparison, settings: Any) -> bool:
    """Tell whether there is a remainder, but too close to rounding for an order in too many instances."""
    if not _bends(comparison) or not np.isfinite(comparison.remainder[comparison.visible]).all():
        return False
    return bool(np.any(np.isfinite(comparison.orders(settings)).sum(axis=0) < LEAST_SEEDS))


def _bends(comparison: Comparison) -> bool:
    return comparison.num_visible >= LEAST_SEEDS and not comparison.exact


def exact(comparison: Comparison, settings: Any) -> bool:
    """Tell whether there is no remainder at all, in any visible instance."""
    return comparison.exact and comparison.num_visible > 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure of a record, what it must be, and the same figure with an assumption broken."""

    says: str
    """The quantity in words; `{cases}` stands for how many cases are judged."""
    predicted: str
    """What theory says of it."""
    of: Select
    """What each case contributes."""
    by: Figure
    """The figure that is made of it."""
    among: Callable[[Any, Any], bool] | None = None
    """Which contributions are judged, given the settings; all by default."""
    accepted: Accepted | None = None
    """When the measurement agrees; None where theory guarantees nothing."""
    control: str = ""
    """The assumption that is broken, in words, or why none can be."""
    broken: Select | None = None
    """What contributes to the control."""
    least: int = 0
    """With fewer instances nothing is decided."""
    optional: bool = False
    """Whether the check is left out where no case contributes."""
    unjudged: str = ""
    """Why there is nothing to judge, where that is so."""

    def __post_init__(self) -> None:
        if self.accepted is not None and self.broken is None and not self.control:
            remedy = "say in `broken` what contributes to one, or in `control` why there is none"
            raise ValueError(f"{self.says!r} is judged and has no control: {remedy}")

    def judge(self, claim: str, evidence: Evidence) -> list[Verdict]:
        """Make the figure, and that of the control.

        Args:
            claim: Name of the claim.
            evidence: What was measured.

        Returns:
            The verdict; none if the check is optional and no case contributes.
        """
        settings, among = evidence.settings, self.among
        quantities = [one for one in self.of(evidence) if among is None or among(one, settings)]
        if self.optional and not quantities:
            return []
        return [
            Verdict(
                claim=claim,
                check=self.says.replace("{cases}", count(quantities)),
                predicted=self.predicted,
                measured=self.by(quantities, settings),
                accepted=self.accepted,
                control=self.control,
                control_measured=None if self.broken is None else self.by(self.broken(evidence), settings),
                instances=sum(_instances(quantity) for quantity in quantities),
                least_instances=self.least,
                unjudged=self.unjudged,
            )
        ]


def _instances(quantity: Any) -> int:
    return quantity.num_visible if hasattr(quantity, "num_visible") else len(quantity)


def count(cases: Sequence[object]) -> str:
    """Say how many cases there are, as in `16 cases`."""
    return f"{len(cases)} case{'s' if len(cases) != 1 else ''}"


def second_order(
    quantity: str, *, of: Select, control: str, broken: Select, optional: bool = False
) -> tuple[Check, ...]:
    """Check that what is left of a leading term is of second order, and report the cases in which rounding hides it."""
    return (
        Check(
            says=f"order of {quantity}, worst of {{cases}}",
            predicted="2.00",
            of=of,
            by=order(2.0),
            among=curved,
            accepted=SECOND_ORDER,
            control=control,
            broken=broken,
            optional=optional,
        ),
        hidden_by_rounding(f"order of {quantity}, {{cases}}", "2.00", of),
    )


def hidden_by_rounding(says: str, predicted: str, of: Select) -> Check:
    """Report the cases to which no order is fitted, so that none is left out without a word."""
    why = "fewer than three step sizes above rounding"
    return Check(says=says, predicted=predicted, of=of, by=nothing, among=rounded, optional=True, unjudged=why)
