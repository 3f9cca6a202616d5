"""Claim 10 as a picture: how much of a teacher passes, by how many inputs and outputs its student sees."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.many_steps.limits import BATCH, LIMITS, LONG, WIDE
from theory.runs.records import Record
from theory.runs.statistics import mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, stated


def draw_many_steps(axes: Axes, record: Record) -> None:
    """Draw predicted and trained transfer fractions over the number of directions that the student can see.

    Args:
        axes: Where to draw.
        record: A record with claim 10.
    """
    predicted, measured, random, ceiling = (
        record.results[f"many-steps/limits/{name}"] for name in ("predicted", "measured", "random", "ceiling")
    )
    outputs, inputs = np.array(LIMITS).T
    seen = inputs * (outputs - 1)
    series = [
        (inputs == BATCH, outputs, BLUE, "o", "-", (-9, 5), f"trained: 2, 4, 8, {WIDE} outputs, {BATCH} inputs"),
        (outputs == WIDE, inputs, ORANGE, "s", "--", (5, -10), f"trained: 1, 2, 4, 8, {BATCH} inputs, {WIDE} outputs"),
    ]
    for chosen, numbers, color, marker, line, shift, label in series:
        order = np.flatnonzero(chosen)[np.argsort(seen[chosen])]
        means = predicted.mean(axis=0)[order]
        axes.plot(seen[order], means, line, color=BLACK, lw=1, zorder=1)
        draw_fractions(axes, seen[order], measured[:, order], color, marker, label)
        for place, mean, number in zip(seen[order][:-1], means, numbers[order], strict=False):
            axes.annotate(str(number), (place, mean), shift, textcoords="offset points", fontsize=7.5, color=color)
    order = np.argsort(seen)
    draw_fractions(axes, seen, random, GRAY, "x", "trained, teacher moved at random")
    axes.plot(seen[order], ceiling[0][order], ":", color=BLACK, lw=1, label="ceiling of a random teacher, $N(m-1)/p$")
    axes.plot([], [], color=BLACK, lw=1, label="predicted by Lanczos")
    axes.set(xscale="log", yscale="log", xlim=(13, 280), ylim=(0.013, 0.8))
    axes.set_xticks([15, 30, 60, 120, 240], ["15", "30", "60", "120", "240"])
    axes.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["2 %", "5 %", "10 %", "20 %", "50 %"])
    axes.minorticks_off()
    axes.set_xlabel("directions that the student can see: $N$ inputs $\\times$ ($m$ outputs $-$ 1)")
    axes.set_ylabel(f"share of $\\Delta_T$ transferred in {LONG} steps")
    axes.set_title(
        stated("The more a student sees, the more of its teacher it becomes", record, "many-steps"), fontsize=9
    )
    axes.legend(loc="upper left", fontsize=7.5, labelspacing=0.3)


def draw_fractions(axes: Axes, places: np.ndarray, fractions: np.ndarray, color: str, marker: str, label: str) -> None:
    """Draw means over instances with their 95 % intervals.

    Args:
        axes: Where to draw.
        places: Where on the axis, shape `(places,)`.
        fractions: Shape `(num_seeds, places)`.
        color: Color.
        marker: Marker.
        label: Label in the legend.
    """
    means, lows, highs = np.array([mean_estimate(column) for column in fractions.T]).T
    axes.errorbar(places, means, yerr=[means - lows, highs - means], fmt=marker, color=color, capsize=2, label=label)
