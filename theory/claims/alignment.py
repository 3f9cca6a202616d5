r"""Claim 1, lemma 1: a step of imitation moves a student that shares the teacher's init towards the teacher.

$$\Delta_S(\epsilon)\cdot\Delta_T = \epsilon A + O(\epsilon^2), \qquad
A = \Delta_T^\top K \Delta_T = \mathbb{E}_x[(J\Delta_T)^\top M (J\Delta_T)] \ge 0,$$

for *any* displacement of the teacher, on *any* inputs, under any imitation loss of the theorem's class.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from theory.claim import Claim, Panel, any_visible
from theory.one_step import ANOTHER_INIT, CASES, STRETCHED_LOSS, OneStep, zoo_problems
from theory.runs.checks import (
    CONTROL,
    NEAR_ONE,
    VANISHING,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    exact,
    second_order,
)
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Alignment(NamedTuple):
    """Predicted and measured alignment of every instance."""

    predicted: Float[np.ndarray, " num_seeds"]
    r"""$\epsilon A$, the alignment to leading order, at the smallest $\epsilon$."""
    steps: Float[np.ndarray, "num_seeds teacher_steps"]
    r"""$\epsilon$ over the smallest, the same in every instance."""
    measured: Float[np.ndarray, "num_seeds teacher_steps"]
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$."""
    visible: Bool[np.ndarray, " num_seeds"]
    """Whether $A > 0$ by more than rounding."""
    rounding: Float[np.ndarray, " num_seeds"]
    """Rounding of what was measured."""


def keep(one: OneStep) -> Alignment:
    """Keep the alignment of both steps."""
    steps = one.steps / one.steps[:, :1]
    kept = (one.curvature * one.steps[:, 0], steps, one.alignment, one.visible, one.alignment_rounding)
    return Alignment(*map(np.asarray, kept))


def aligned(one: Alignment) -> Comparison:
    r"""$\Delta_S\cdot\Delta_T$ beside $\epsilon A$."""
    return Comparison(one.predicted[:, None] * one.steps, one.measured, one.visible, one.rounding)


def ratio(one: Alignment) -> np.ndarray:
    r"""$\Delta_S\cdot\Delta_T / \epsilon A$ at the smallest $\epsilon$, in every visible instance."""
    return aligned(one).ratio


def largest_remainder(cases: Sequence[Comparison], settings: Any) -> Estimate:
    """Size of the remainder relative to its leading term at the largest step, in every visible instance."""
    return every([np.abs(one.remainder[one.visible, -1] / one.leading[one.visible, -1]) for one in cases], settings)


def draw(axes: "Axes", evidence: Evidence) -> None:
    r"""Predicted and simulated alignment of the first case in units of $A$, and what is left with and without it."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, STEP_LABEL, median, stated

    sampling, steps = evidence.settings, np.array(evidence.settings.teacher_steps)

    def in_units(one: Alignment) -> np.ndarray:
        return (one.measured * steps / aligned(one).leading)[evidence.first.visible]

    def plot(values: np.ndarray, color: str, look: str, label: str, **style: Any) -> None:
        fitted = np.nanmedian(sampling.orders(values))
        axes.loglog(steps, median(values), look, color=color, label=f"{label}: fitted order {fitted:.2f}", **style)
        axes.fill_between(steps, *np.quantile(np.abs(values), (0.05, 0.95), axis=0), color=color, alpha=0.15, lw=0)

    shared, stranger = in_units(evidence.first), in_units(evidence.cases[f"{CONTROL}{ANOTHER_INIT}"])
    axes.loglog(steps, steps, color=BLACK, zorder=3, label=r"predicted: $\epsilon A$, nothing fitted")
    plot(shared, BLUE, "o", r"simulated $\Delta_S\cdot\Delta_T$", zorder=4)
    plot(shared - steps, GREEN, "s:", "simulated less predicted", mfc="none", lw=0.8)
    plot(stranger - steps, ORANGE, "x--", "the same, student of another init", lw=0.8)
    axes.set(xlabel=STEP_LABEL, ylabel=r"inner product in units of $A$, median and 90 % of seeds")
    axes.set_ylim(steps[0] ** 2 / 1e3, 3e3)
    axes.set_title(stated("Shared init: small steps move the student towards the teacher", evidence))
    axes.legend(loc="lower right", fontsize=7.5)


CLAIM = Claim(
    number=1,
    name="alignment",
    statement="shared init: the student's step has a positive inner product εA + O(ε²) with the teacher's",
    measurement=Alignment,
    problems=zoo_problems,
    cases=CASES,
    keep=keep,
    checks=(
        *second_order(
            "Δ_S·Δ_T − εA",
            of=every_case(aligned),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", aligned),
            optional=True,
        ),
        Check(
            says="Δ_S·Δ_T / εA at the smallest ε, every instance with A > 0 of {cases}",
            predicted="→ 1",
            of=every_case(ratio),
            by=every,
            accepted=NEAR_ONE,
            control="loss with its minimum at z = 1.5y",
            broken=case(f"{CONTROL}{STRETCHED_LOSS}", ratio),
        ),
        Check(
            says="size of Δ_S·Δ_T / εA − 1 at the largest ε, linear outputs and squared error",
            predicted="0 (rounding)",
            of=every_case(aligned),
            among=exact,
            by=largest_remainder,
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", aligned),
            optional=True,
        ),
    ),
    panels={"alignment": Panel(draw=draw, shows=Alignment._fields, needs=any_visible)},
)
