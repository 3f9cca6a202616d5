"""Claims 1 and 2 as pictures: prediction as a line, simulated steps as points, what is left below."""

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from theory.runs.records import Record
from theory.runs.statistics import fitted_order
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STEP_LABEL, first_case, median, stated


def draw_alignment(axes: Axes, record: Record) -> None:
    r"""Draw predicted and measured alignment of the first case, and what is left of it with and without a shared init.

    Everything is divided by $A$ times the unit of $\epsilon$, so that the prediction is the step size itself and every
    seed lies on one line.

    Args:
        axes: Where to draw.
        record: A record with claim 1.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "alignment")
    seen = record.results[f"{case}/visible"]
    leading = (record.results[f"{case}/predicted"][:, None] * record.results[f"{case}/steps"])[seen]
    unit = leading / steps
    measured = record.results[f"{case}/measured"][seen] / unit
    elsewhere = record.results["alignment/control: another init/measured"][seen] / unit
    fitted = steps <= record.config["largest_fitted_step"]

    def draw(values: np.ndarray, color: str, look: str, label: str, **style: Any) -> None:
        order = np.median(fitted_order(steps[fitted], values[:, fitted]))
        axes.loglog(steps, median(values), look, color=color, label=f"{label}: fitted order {order:.2f}", **style)
        axes.fill_between(steps, *np.quantile(np.abs(values), (0.05, 0.95), axis=0), color=color, alpha=0.15, lw=0)

    axes.loglog(steps, steps, color=BLACK, zorder=3, label=r"predicted: $\epsilon A$, nothing fitted")
    draw(measured, BLUE, "o", r"simulated $\Delta_S\cdot\Delta_T$", zorder=4)
    draw(measured - steps, GREEN, "s:", "their difference", mfc="none", lw=0.8)
    draw(elsewhere - steps, ORANGE, "x--", "difference from another init", lw=0.8)
    axes.set(xlabel=STEP_LABEL, ylabel=r"inner product in units of $A$, median and 90 %")
    axes.set_ylim(steps[0] ** 2 / 1e3, 3e3)
    axes.set_title(stated("Shared init: the student moves towards the teacher", record, "alignment"))
    axes.legend(loc="lower right", fontsize=7.5)


def draw_trait_loss(axes: Axes, record: Record) -> None:
    """Draw the measured over the predicted change of the trait loss, in the first case.

    Args:
        axes: Where to draw.
        record: A record with claim 2.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "trait-loss")
    seen = record.results[f"{case}/visible"]
    ratios = record.results[f"{case}/measured"][seen] / record.results[f"{case}/predicted"][seen]
    looks = itertools.cycle([(BLUE, "o-"), (GREEN, "s--"), (ORANGE, "^:"), (GRAY, "x-.")])
    for index, (rate, (color, line)) in enumerate(zip(record.config["learning_rates"], looks, strict=False)):
        low, middle, high = np.quantile(ratios[:, index], (0.05, 0.5, 0.95), axis=0)
        axes.semilogx(steps, middle, line, color=color, label=rf"student's step $\alpha = {rate:g}$")
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
    axes.axhline(1, color=BLACK, lw=0.8)
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.set(
        xlabel=STEP_LABEL,
        ylabel=r"fall of $L_T$ / predicted $\epsilon\alpha A$",
    )
    axes.set(ylim=(-0.8, 1.3))
    axes.set_title(stated("…and lowers the teacher's own trait loss", record, "trait-loss"))
    axes.legend(loc="lower left", title="median and 90 % of seeds", title_fontsize=8)
