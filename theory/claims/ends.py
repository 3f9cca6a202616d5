r"""Claim 2.6: where the decrease of claim 2 ends, near a predicted step, and by Taylor's theorem in an interval.

With $g(\epsilon) = -\epsilon\,\alpha A + \tfrac12 c\,\epsilon^2 + O(\epsilon^3)$ the change of the trait loss (claim
2.5), the decrease ends near $\epsilon^\ast = 2\alpha A/c$ for $c > 0$. That is right within a few percent only where
$g$ is nearly a parabola on the way. What holds for every instance is Taylor's theorem: with
$t = |\epsilon^\ast| \max|g'''| / 3|c|$,

$$g(\epsilon) < 0 \text{ for } 0 < \epsilon < \frac{2\,|\epsilon^\ast|}{\operatorname{sign} c + \sqrt{1 + 4t}}, \qquad
\epsilon_\text{end} \le \frac{2\,\epsilon^\ast}{1 + \sqrt{1 - 4t}} \text{ if } c > 0,\ t \le \tfrac14.$$

The largest $|g'''|$ is an estimate: two polynomials must agree about it, on an interval that is halved until they do
(see `theory.step_limits`). Where they never do, nothing is said of the instance but that.

In two limits $\epsilon^\ast$, or a line, is right: much curvature added to the trait loss, and a student that takes
large steps. The deviation from the second is $d = a/\alpha + b/\alpha^2 + \dots$: its local order is -1 up to a few
times $d$ itself, so an order is fitted where the measured $\alpha\epsilon$ at the smallest of the large rates is within
`TAYLOR` of that at the largest, whatever limit is predicted, and nowhere else.

References: derived here; see `theory.curvature`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from theory import zoo
from theory.claim import Claim, Panel
from theory.curvature import surely_ended, surely_falling
from theory.decrease import FITTED, LARGE_RATES, QUARTICS, SLACK, STIFFNESSES, Ends, measure_ends
from theory.experiments import experiment
from theory.problem import Problem
from theory.runs.checks import LEAST_SEEDS, Check, Evidence, every, every_case, median, share
from theory.runs.programs import Experiment
from theory.runs.statistics import fitted_order
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGE = slice(-len(LARGE_RATES), None)
QUARTIC = slice(LARGE.start - len(QUARTICS), LARGE.start)
STIFF = slice(QUARTIC.start - len(FITTED), QUARTIC.start)
PLAIN = slice(QUARTIC.start)
"""Where these stand among the settings; before the fitted ones the other stiffnesses, and first the learning rates."""

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


Values = Float[np.ndarray, " entries"]


class Entries(NamedTuple):
    """Ends of a case as one list of instances and settings, fields as in `Ends`."""

    predicted: Values
    measured: Values
    reach: Values
    third: Values
    largest_third: Values
    fourth: Values

    @property
    def ratio(self) -> Values:
        """Measured end over predicted."""
        return self.measured / self.predicted

    @property
    def within(self) -> Bool[np.ndarray, " entries"]:
        """Whether derivatives at 0 put it within the Taylor range."""
        return self.third + self.fourth <= TAYLOR

    @property
    def certain(self) -> Bool[np.ndarray, " entries"]:
        """Whether there is an end by Taylor's theorem, if the bound of $g'''$ is one."""
        resolved = self.reach >= 2 * self.predicted * (1 - SLACK)
        return resolved & (self.predicted > 0) & (self.largest_third + SLACK <= 0.25)

    def select(self, chosen: Bool[np.ndarray, " entries"]) -> "Entries":
        """Keep some entries."""
        return Entries(*(column[chosen] for column in self))

    def safe(self, share: str) -> Values:
        """Up to which step Taylor's theorem lets the trait loss fall, given one of the third-order shares."""
        falling = surely_falling(getattr(self, share) + SLACK, np.sign(self.predicted))
        return np.minimum(self.reach, falling * np.abs(self.predicted))

    def position(self, share: str) -> Values:
        """Where in its interval an end lies, in logarithms: 0 where predicted, 1 at the interval's own end."""
        late, third = self.ratio > 1, getattr(self, share)
        allowed = np.where(late, surely_ended(third + SLACK), surely_falling(third + SLACK, np.ones(third.shape)))
        return np.log(self.ratio) / np.log(allowed)


def entries(one: Ends, chosen: slice = slice(None)) -> Entries:
    """Every visible instance in some settings, unless its curvature is exactly zero."""
    columns = (np.asarray(getattr(one, field))[one.visible][:, chosen].ravel() for field in Entries._fields)
    listed = Entries(*columns)
    return listed.select(np.isfinite(listed.predicted))


def bounded(one: Ends) -> Entries:
    """Those with a bound of $g'''$."""
    ends = entries(one)
    return ends.select(ends.reach > 0)


def small_enough(one: Ends, share: str = "largest_third") -> np.ndarray:
    """Step that is small enough by Taylor's theorem over the measured end, given the third-order share."""
    ends = bounded(one)
    return ends.safe(share) / ends.measured


def place(one: Ends) -> np.ndarray:
    """Place of the end in its interval, where there must be one."""
    ends = bounded(one)
    return ends.select(ends.certain).position("largest_third")


def place_by_start(one: Ends) -> np.ndarray:
    """The same by the third derivative at 0, where that is more than rounding."""
    ends = bounded(one)
    return ends.select(ends.certain & (ends.third > SLACK)).position("third")


def foretold(one: Ends, within: bool = True) -> np.ndarray:
    """Whether a predicted end is near, where it is within the Taylor range or outside."""
    ends = entries(one, PLAIN)
    ends = ends.select((ends.predicted > 0) & (ends.within == within))
    return np.abs(ends.ratio - 1) <= NEAR


def falls_inversely(sizes: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Order of a deviation in what makes it small, in every instance; NaN where an end is not in sight."""
    return fitted_order(sizes, np.where(np.isfinite(deviations), deviations, np.nan))


def stiff_orders(sizes: np.ndarray, chosen: slice) -> Callable[[Ends], np.ndarray]:
    r"""Order in $\kappa$, or another penalty, of measured end over $\epsilon^\ast$ minus 1."""

    def of(one: Ends) -> np.ndarray:
        ratios = np.asarray(one.measured[one.visible] / one.predicted[one.visible])
        return falls_inversely(sizes, ratios[:, chosen] - 1)

    return of


def large_orders(direction: int) -> Callable[[Ends], np.ndarray]:
    r"""Order in $\alpha$ of $\alpha\epsilon/s^\ast - 1$ along a direction, where $\alpha\epsilon$ has settled."""

    def of(one: Ends) -> np.ndarray:
        scaled, limit = np.asarray(one.scaled[one.visible, LARGE]), one.limit[one.visible, direction, None]
        with np.errstate(invalid="ignore"):
            settled = np.abs(scaled[:, 0] / scaled[:, -1] - 1) <= TAYLOR
            return falls_inversely(LARGE_RATES, (scaled / limit - 1)[settled])

    return of


BOUND = (
    Check(
        says="small enough ε by an estimated bound of g‴ / measured end, every instance of {cases}",
        predicted="≤ 1",
        of=every_case(small_enough),
        by=every,
        accepted=GUARANTEED,
        control="g‴(0) for the largest g‴",
        broken=every_case(lambda one: small_enough(one, "third")),
        least=LEAST_SEEDS,
    ),
    Check(
        says="place of the end in its interval by that bound, every instance with t ≤ 1/4",
        predicted="0 to 1",
        of=every_case(place),
        by=every,
        accepted=GUARANTEED,
        control="g‴(0) for the largest g‴",
        broken=every_case(place_by_start),
        least=LEAST_SEEDS,
    ),
    Check(
        says="share of ends without that bound, g‴ not resolved",
        predicted="no guarantee",
        of=every_case(lambda one: entries(one).reach == 0),
        by=share(),
    ),
)
"""What Taylor's theorem says of every instance, given an estimated bound of $g'''$."""

LIMITS = (
    Check(
        says="order in κ of measured end / ε* − 1, with ½κ‖θ − θ⁰‖² added to L_T",
        predicted="−1.00",
        of=every_case(stiff_orders(FITTED, STIFF)),
        by=median,
        accepted=INVERSE,
        control="a quartic penalty, flat at θ⁰",
        broken=every_case(stiff_orders(QUARTICS, QUARTIC)),
        least=LEAST_SEEDS,
    ),
    Check(
        says="order in α of αε / s* − 1 at the end, s* the first zero along KΔ_T, where αε has settled within 5 %",
        predicted="−1.00",
        of=every_case(large_orders(0)),
        by=median,
        accepted=INVERSE,
        control="s* along Δ_T",
        broken=every_case(large_orders(1)),
        least=LEAST_SEEDS,
    ),
)
"""Much curvature added to the trait loss, and a student that takes large steps."""

FORETOLD_ENDS = Check(
    says="share of ends within 10 % of ε*, where g‴ and g⁗ add up to 5 % at most, of {cases}",
    predicted="≥ 0.95",
    of=every_case(foretold),
    by=share(),
    accepted=FORETOLD,
    control="outside that range",
    broken=every_case(lambda one: foretold(one, within=False)),
    least=LEAST_SEEDS,
)
"""How often the end is foretold within the Taylor range."""


def report_ranges(index: int, rate: float) -> list[Check]:
    """How often there is no end to foretell, and how often it is within the Taylor range."""
    shares: dict[str, Callable[[Entries], np.ndarray]] = {
        "c ≤ 0, where no end is predicted": lambda here: here.predicted <= 0,
        "c > 0 and ε* within that range": lambda here: (here.predicted > 0) & here.within,
    }
    here = slice(index, index + 1)
    return [
        Check(
            says=f"share of instances with {which}, α = {rate:g}",
            predicted="no guarantee",
            of=every_case(lambda one, what=what: what(entries(one, here))),
            by=share(),
        )
        for which, what in shares.items()
    ]


def checks(evidence: Evidence) -> Sequence[Check]:
    """Taylor's theorem, two limits, and how often the end is foretold at each step size of the student."""
    rates = enumerate(evidence.settings.learning_rates)
    ranges = [check for index, rate in rates for check in report_ranges(index, rate)]
    return (*BOUND, *LIMITS, FORETOLD_ENDS, *ranges)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Perceptrons alone: an instance takes hundreds of simulated steps."""
    regression = zoo.variant("regression trait", trait="regression")
    return [zoo.build(zoo.REFERENCE), *([regression] if sampling.cases == "all" else [])]


def cases(problems: Sequence[Problem], sampling: Sampling) -> dict[str, Experiment]:
    """Look for the ends of every problem's decrease."""
    rates = sampling.learning_rates
    return {f"{problem.name}; ends": experiment(problem, measure_ends, learning_rates=rates) for problem in problems}


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Simulated over predicted end against the third-order share, in the first case, over Taylor's theorem.

    Ends are drawn where one is predicted and the share is known up to twice that step.
    """
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, stated

    looks = ((GRAY, "x"), (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (BLACK, "D"), (GRAY, "v"), (BLUE, "+"))
    top, bottom = 15.0, 0.4
    shares = np.geomspace(1e-3, 3, 500)
    falling, certain = surely_falling(shares, np.ones(shares.shape)), shares[shares <= 0.25]
    axes.fill_between(shares, bottom, falling, color=GREEN, alpha=0.15, lw=0)
    axes.fill_between(certain, surely_ended(certain), top, color=GRAY, alpha=0.15, lw=0)
    axes.plot(shares, falling, color=BLACK, lw=1)
    axes.plot(np.append(certain, 0.25), surely_ended(np.append(certain, 0.25)), color=BLACK, lw=1)
    axes.plot([0.25, 0.25], [2, top], color=BLACK, lw=0.6, ls=":")
    axes.text(1.3e-3, 0.62, "small enough by Taylor's theorem: $L_T$ has fallen", color=BLACK)
    axes.text(1.3e-3, 1.25, "decrease has ended by Taylor's theorem", color=BLACK)
    axes.axhline(1, color=BLACK, lw=0.8, ls=":")
    axes.text(2.8, 1.03, r"predicted: $\epsilon^*$", ha="right", va="bottom")

    one: Ends = evidence.first
    names = [rf"$\alpha = {rate:g}$" for rate in evidence.settings.learning_rates]
    names += [rf"$\alpha = 1,\ \kappa = {stiffness:g}$" for stiffness in STIFFNESSES[:3]]
    resolved = (one.predicted > 0) & (one.reach >= 2 * one.predicted * (1 - SLACK)) & one.visible[:, None]
    for column, (name, (color, marker)) in enumerate(zip(names, looks, strict=False)):
        here = resolved[:, column]
        ratios = one.measured[here, column] / one.predicted[here, column]
        if ratios.size:
            label = f"{name}: {100 * np.mean(np.abs(ratios - 1) <= NEAR):.0f} %"
            place = one.largest_third[here, column]
            axes.plot(place, ratios, marker, color=color, ms=3, mew=0.6, mfc="none", label=label)
    axes.set(xscale="log", yscale="log", xlim=(1e-3, 3), ylim=(bottom, top))
    axes.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.set(
        xlabel=r"third-order share $t = \epsilon^*\max|g'''|\,/\,3c$, the largest estimated",
        ylabel=r"teacher's step at which the fall of $L_T$ ends, $\epsilon\,/\,\epsilon^*$",
    )
    axes.set_title(stated("How small is small enough: sure below the curve, exact where $t$ is small", evidence))
    axes.legend(
        loc="upper left",
        title="simulated ends, share within 10 %\n($\\kappa$: curvature added to $L_T$)",
        title_fontsize=8,
        alignment="left",
    )


CLAIM = Claim(
    number=2.6,
    name="ends",
    statement="the decrease of the trait loss ends near ε* = 2αA/c, and not before a step that a bound of g‴ gives",
    measurement=Ends,
    problems=zoo_problems,
    cases=cases,
    checks=checks,
    panels={"how-small": Panel(draw=draw, shows=("predicted", "measured", "reach", "largest_third", "visible"))},
)
