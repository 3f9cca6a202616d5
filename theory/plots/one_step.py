"""Claims 1 and 2 as pictures: prediction as a line, simulated steps as points, what is left below."""

import itertools

import numpy as np
from matplotlib.axes import Axes

from theory.plots.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STEP_LABEL, first_case, median
from theory.records import Record
from theory.statistics import fitted_order


def draw_alignment(axes: Axes, record: Record) -> None:
    """Draw predicted and measured alignment of the first case, what is left, and the control.

    Args:
        axes: Where to draw.
        record: A record with claim 1.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "alignment")
    seen = record.results[f"{case}/visible"]
    leading = (record.results[f"{case}/predicted"][:, None] * record.results[f"{case}/steps"])[seen]
    measured = record.results[f"{case}/measured"][seen]
    elsewhere = record.results["alignment/control: another init/measured"][seen] - leading
    fitted = steps <= record.config["largest_fitted_step"]
    order = np.median(fitted_order(steps[fitted], (measured - leading)[:, fitted]))
    axes.loglog(steps, median(leading), color=BLACK, label=r"predicted $\epsilon A$")
    axes.loglog(steps, median(measured), "o", color=BLUE, label=r"simulated $\Delta_S\cdot\Delta_T$")
    axes.loglog(steps, median(measured - leading), "s", color=GREEN, mfc="none", label=f"remainder: order {order:.3f}")
    axes.loglog(steps, median(elsewhere), "x--", color=ORANGE, lw=0.8, label="remainder, student from another init")
    axes.set(xlabel=STEP_LABEL, ylabel="inner product, median over seeds")
    axes.set_title("Shared init: the student moves towards the teacher")
    axes.legend(loc="lower right")


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
    axes.set_title("…and lowers the teacher's own trait loss")
    axes.legend(loc="lower left", title="median and 90 % of seeds", title_fontsize=8)
