"""What the measured ends of claim 2's decrease are held against: Taylor's theorem, and limits where ε* is right."""

from collections.abc import Mapping

import numpy as np

from theory.claims.evidence import LEAST_SEEDS, count
from theory.claims.how_small.ends import FITTED, LARGE_RATES, QUARTICS, SLACK, STIFFNESSES, Ends, gather
from theory.runs.statistics import (
    Estimate,
    fitted_order,
    joint_confidence,
    median_estimate,
    range_estimate,
    rate_estimate,
)
from theory.runs.verdicts import Accepted, Verdict

INVERSE = Accepted(low=-1.05, high=-0.95)
"""A deviation that falls as its parameter rises, as fitted."""

TAYLOR = 0.05
"""Third- and fourth-order terms relative to the second up to which an end is within the Taylor range."""

NEAR = 0.1
"""What counts as foretold: 10 %. Without higher terms the two up to `TAYLOR` move an end by 7 % at most."""

FORETOLD = Accepted(low=0.95, high=1.0, rule="covers")
"""At least 95 %: fifth and higher orders may spoil a few."""

GUARANTEED = Accepted(low=0.0, high=1 + SLACK)
"""Not one instance beyond what Taylor's theorem allows, if the bound of $g'''$ is one."""

NOTHING = Estimate(np.nan, np.nan, np.nan)


def share(successes: np.ndarray, num_intervals: int = 1) -> Estimate:
    """Share of successes, or nothing where there is no entry.

    Args:
        successes: Outcomes, boolean.
        num_intervals: How many intervals are judged together.

    Returns:
        The share with its interval.
    """
    return rate_estimate(successes, joint_confidence(num_intervals)) if successes.size else NOTHING


def judge_bound(name: str, ends: Mapping[str, Ends]) -> list[Verdict]:
    """Check what Taylor's theorem says of every instance, given an estimated bound of $g'''$.

    Args:
        name: The claim's name.
        ends: A result for each case.

    Returns:
        The verdicts on the step that is small enough and on where the decrease has ended, and the share of ends of
        which they say nothing, since $g'''$ is not resolved.
    """
    tried = gather(ends, slice(None))
    everything = tried.select(tried.reach > 0)
    certain = everything.select(everything.certain)
    start = certain.select(certain.third > SLACK)
    return [
        Verdict(
            claim=name,
            check=f"small enough ε by an estimated bound of g‴ / measured end, every instance of {count(list(ends))}",
            predicted="≤ 1",
            measured=range_estimate(everything.safe(everything.largest_third) / everything.measured),
            accepted=GUARANTEED,
            control="g‴(0) for the largest g‴",
            control_measured=range_estimate(everything.safe(everything.third) / everything.measured),
            instances=len(everything.measured),
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim=name,
            check="place of the end in its interval by that bound, every instance with t ≤ 1/4",
            predicted="0 to 1",
            measured=range_estimate(certain.position(certain.largest_third)),
            accepted=GUARANTEED,
            control="g‴(0) for the largest g‴",
            control_measured=range_estimate(start.position(start.third)),
            instances=len(certain.measured),
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim=name,
            check="share of ends without that bound, g‴ not resolved",
            predicted="no guarantee",
            measured=share(tried.reach == 0),
            instances=len(tried.measured),
        ),
    ]


def judge_foretold(name: str, ends: Mapping[str, Ends], learning_rates: tuple[float, ...]) -> list[Verdict]:
    """Check how often the end is foretold within the Taylor range, and report how often that is so.

    Args:
        name: The claim's name.
        ends: A result for each case.
        learning_rates: The student's step sizes, in natural units.

    Returns:
        The verdict, and reported shares.
    """
    tried = gather(ends, slice(len(learning_rates) + len(STIFFNESSES)))
    tried = tried.select(tried.predicted > 0)
    near, inside = np.abs(tried.ratio - 1) <= NEAR, tried.taylor <= TAYLOR
    verdicts = [
        Verdict(
            claim=name,
            check=f"share of ends within 10 % of ε*, where g‴ and g⁗ add up to 5 % at most, of {count(list(ends))}",
            predicted="≥ 0.95",
            measured=share(near[inside]),
            accepted=FORETOLD,
            control="outside that range",
            control_measured=share(near[~inside]),
            instances=int(inside.sum()),
            least_instances=LEAST_SEEDS,
        )
    ]
    for index, rate in enumerate(learning_rates):
        here = gather(ends, slice(index, index + 1))
        shares = {
            "c ≤ 0, where no end is predicted": here.predicted <= 0,
            "c > 0 and ε* within that range": (here.predicted > 0) & (here.taylor <= TAYLOR),
        }
        verdicts += [
            Verdict(
                claim=name,
                check=f"share of instances with {which}, α = {rate:g}",
                predicted="no guarantee",
                measured=share(entries),
                instances=len(entries),
            )
            for which, entries in shares.items()
        ]
    return verdicts


def judge_limits(name: str, ends: Mapping[str, Ends], learning_rates: tuple[float, ...]) -> list[Verdict]:
    r"""Check the two limits: much curvature added to the trait loss, and a student that takes large steps.

    The deviation from the second is $d = a/\alpha + b/\alpha^2 + \dots$: its local order is -1 up to a few times $d$
    itself, so an order is fitted where the measured $\alpha\epsilon$ at the smallest of the large rates is within
    `TAYLOR` of that at the largest, whatever limit is predicted, and nowhere else.

    Args:
        name: The claim's name.
        ends: A result for each case.
        learning_rates: The student's step sizes, in natural units.

    Returns:
        The verdicts.
    """
    start = len(learning_rates) + len(STIFFNESSES)
    stiff, quartic = slice(start - len(FITTED), start), slice(start, start + len(QUARTICS))
    large = slice(-len(LARGE_RATES), None)
    seen = [result for result in ends.values() if result.visible.any()]

    def order(sizes: np.ndarray, deviations: list[np.ndarray]) -> Estimate:
        orders = [fitted_order(sizes, np.where(np.isfinite(one), one, np.nan)) for one in deviations]
        return median_estimate(np.concatenate(orders)) if orders else NOTHING

    def from_prediction(chosen: slice) -> list[np.ndarray]:
        return [np.asarray(one.measured[one.visible] / one.predicted[one.visible] - 1)[:, chosen] for one in seen]

    def from_limit(way: int) -> list[np.ndarray]:
        with np.errstate(invalid="ignore"):
            return [np.asarray(one.scaled[one.visible, large] / one.limit[one.visible, way, None] - 1) for one in seen]

    scaled = [np.asarray(one.scaled[one.visible, large]) for one in seen]
    with np.errstate(invalid="ignore"):
        asymptotic = [np.abs(one[:, 0] / one[:, -1] - 1) <= TAYLOR for one in scaled]

    def near_limit(way: int) -> list[np.ndarray]:
        return [one[inside] for one, inside in zip(from_limit(way), asymptotic, strict=True)]

    instances = sum(int(one.visible.sum()) for one in seen)
    return [
        Verdict(
            claim=name,
            check="order in κ of measured end / ε* − 1, with ½κ‖θ − θ⁰‖² added to L_T",
            predicted="−1.00",
            measured=order(FITTED, from_prediction(stiff)),
            accepted=INVERSE,
            control="a quartic penalty, flat at θ⁰",
            control_measured=order(QUARTICS, from_prediction(quartic)),
            instances=instances,
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim=name,
            check="order in α of αε / s* − 1 at the end, s* the first zero along KΔ_T, where αε has settled within 5 %",
            predicted="−1.00",
            measured=order(LARGE_RATES, near_limit(0)),
            accepted=INVERSE,
            control="s* along Δ_T",
            control_measured=order(LARGE_RATES, near_limit(1)),
            instances=sum(int(inside.sum()) for inside in asymptotic),
            least_instances=LEAST_SEEDS,
        ),
    ]
