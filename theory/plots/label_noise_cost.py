r"""Claim 14 as a picture: a parabola in the student's step size, whose second root is at twice the best."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.label_noise_cost.verdicts import FACTORS, NUM_LABELS
from theory.runs.records import Record
from theory.runs.statistics import mean_estimate
from theory.runs.style import BLACK, BLUE, ORANGE, first_case, stated


def draw_label_noise_cost(axes: Axes, record: Record) -> None:
    """Draw the mean change of the trait loss over the student's step size, with label noise and without.

    Args:
        axes: Where to draw.
        record: A record with claim 14.
    """
    case = first_case(record, "label-noise-cost")
    seen = record.results[f"{case}/definite"]
    drawn = record.results[f"{case}/relative"][seen].mean(axis=1)
    noiseless = record.results[f"{case}/noiseless_relative"][seen].mean(axis=0)
    value, low, high = np.array([mean_estimate(column) for column in drawn.T]).T
    line = np.linspace(0, FACTORS[-1] + 0.15, 200)
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.plot(line, line**2 - 2 * line, color=BLACK, label=r"predicted: $-\alpha\epsilon A$ and the cost of noise")
    reach = [value - low, high - value]
    axes.errorbar(
        FACTORS, value, yerr=reach, fmt="o", color=BLUE, capsize=2, label=f"{NUM_LABELS} sampled labels (95 %)"
    )
    axes.plot(line, -2 * line, color=BLACK, lw=0.8, ls="--")
    axes.plot(FACTORS, noiseless, "s", color=ORANGE, mfc="none", label="the outputs themselves: no noise")
    axes.annotate("worse than before", (0.9, 0.2), fontsize=8)
    axes.set(
        xlabel=r"student's step size $\alpha\,/\,\alpha^*$",
        ylabel=r"$\mathbb{E}[\Delta L_T]\,/\,\frac{1}{2}\alpha^*\epsilon A$",
    )
    axes.set(xlim=(0, line[-1]), ylim=(-6.5, 5.5))
    axes.set_title(stated("Label noise: a best step, and past twice it only damage", record, "label-noise-cost"))
    axes.legend(loc="upper left")
