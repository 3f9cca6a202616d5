r"""Claim 2, theorem 1: the student's step lowers the teacher's own trait loss.

$$g(\epsilon) = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0) = -\epsilon\,\alpha A + O(\epsilon^2),$$

a decrease for small enough $\epsilon$ whenever $A > 0$, at every step size $\alpha$ of the student.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from theory.claim import Claim, Panel, any_visible
from theory.one_step import ANOTHER_INIT, CASES, STRETCHED_LOSS, OneStep, zoo_problems
from theory.runs.checks import (
    CONTROL,
    NEAR_ONE,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    second_order,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TraitChange(NamedTuple):
    """Predicted and measured change of the trait loss in every instance."""

    predicted: Float[np.ndarray, "num_seeds learning_rates"]
    r"""$-\epsilon\alpha A$ at the smallest $\epsilon$."""
    steps: Float[np.ndarray, "num_seeds teacher_steps"]
    r"""$\epsilon$ over the smallest, the same in every instance."""
    measured: Float[np.ndarray, "num_seeds learning_rates teacher_steps"]
    r"""$g(\epsilon)$, in units of the trait loss."""
    visible: Bool[np.ndarray, " num_seeds"]
    """Whether $A > 0$ by more than rounding."""
    rounding: Float[np.ndarray, "num_seeds learning_rates"]
    """Rounding of what was measured."""


def keep(one: OneStep) -> TraitChange:
    """Keep the change of the trait loss."""
    predicted = -one.curvature[:, None] * one.rates * one.steps[:, :1]
    steps = one.steps / one.steps[:, :1]
    kept = (predicted, steps, np.swapaxes(one.change, 1, 2), one.visible, one.change_rounding)
    return TraitChange(*map(np.asarray, kept))


def changed(one: TraitChange) -> Comparison:
    r"""$g$ beside $-\epsilon\alpha A$."""
    return Comparison(one.predicted[..., None] * one.steps[:, None], one.measured, one.visible, one.rounding)


def ratio(one: TraitChange) -> np.ndarray:
    r"""$g / -\epsilon\alpha A$ as $\epsilon \to 0$, in every visible instance."""
    return changed(one).limiting_ratio


def checks(evidence: Evidence) -> Sequence[Check]:
    """The remainder's order and the sign, at every step size of the student."""
    rates = ", ".join(f"{rate:g}" for rate in evidence.settings.learning_rates)
    return (
        *second_order(
            f"g + εαA, α = {rates}",
            of=every_case(changed),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", changed),
            optional=True,
        ),
        Check(
            says="g / −εαA as ε → 0, every instance with A > 0 of {cases}",
            predicted="→ 1",
            of=every_case(ratio),
            by=every,
            accepted=NEAR_ONE,
            control="loss with its minimum at z = 1.5y",
            broken=case(f"{CONTROL}{STRETCHED_LOSS}", ratio),
        ),
    )


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Measured over predicted change of the trait loss, in the first case."""
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STEP_LABEL, stated

    one, sampling = evidence.first, evidence.settings
    ratios = (one.measured / changed(one).leading)[one.visible]
    looks = itertools.cycle([(BLUE, "o-"), (GREEN, "s--"), (ORANGE, "^:"), (GRAY, "x-.")])
    for index, (rate, (color, line)) in enumerate(zip(sampling.learning_rates, looks, strict=False)):
        low, middle, high = np.quantile(ratios[:, index], (0.05, 0.5, 0.95), axis=0)
        axes.semilogx(sampling.teacher_steps, middle, line, color=color, label=rf"student's step $\alpha = {rate:g}$")
        axes.fill_between(sampling.teacher_steps, low, high, color=color, alpha=0.15, lw=0)
    axes.axhline(1, color=BLACK, lw=0.8, label="predicted")
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.set(xlabel=STEP_LABEL, ylabel=r"fall of $L_T$ / predicted $\epsilon\alpha A$", ylim=(-0.8, 1.3))
    axes.set_title(stated("Shared init: a small step lowers the teacher's trait loss", evidence))
    axes.legend(loc="lower left", title="median and 90 % of seeds, on below", title_fontsize=8)


CLAIM = Claim(
    number=2,
    name="trait-loss",
    statement="shared init: the student's step lowers the teacher's own trait loss by εαA + O(ε²)",
    measurement=TraitChange,
    problems=zoo_problems,
    cases=CASES,
    keep=keep,
    checks=checks,
    panels={"trait-loss": Panel(draw=draw, shows=TraitChange._fields, needs=any_visible)},
)
