"""Claim 9 as a picture that is its own table: a row a pair of optimizers, and how often the trait loss falls."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.optimizers.steps import ABOVE, ARMS, BELOW, RANDOM, SHARED, SIGNS, TURNED
from theory.runs.records import Record
from theory.runs.statistics import rate_estimate
from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, first_case, stated

GROUPS = (
    ("guaranteed", (SHARED, RANDOM, BELOW), BLUE, "o"),
    ("reversed by design", (ABOVE,), ORANGE, "x"),
    ("no guarantee", (*TURNED, *SIGNS), GRAY, "^"),
)
"""Arms as the theory sorts them."""

RIGHT = 600.0
"""Right end of the axis, with room for a column of figures."""

LINEAR = 0.01
"""Cosines below this are drawn to scale, those above in their logarithm."""


def draw_optimizers(axes: Axes, record: Record) -> None:
    r"""Draw the cosine between the student's step and $-\nabla L_T$ under each pair of optimizers.

    Args:
        axes: Where to draw.
        record: A record with claim 9.
    """
    case = first_case(record, "optimizers")
    cosine, visible = record.results[f"{case}/cosine"], record.results[f"{case}/visible"]
    place, ticks = 0.0, {}
    for title, names, color, marker in GROUPS:
        axes.text(-0.9, place, title, fontsize=7, style="italic", va="center")
        for name in names:
            place += 1
            row = ARMS.index(name)
            ticks[place], values = name, cosine[visible[:, row], row]
            if not len(values):
                continue
            left, middle, right = np.quantile(values, (0.0, 0.5, 1.0))
            axes.plot([left, right], [place, place], color=color, lw=2.5, alpha=0.5, solid_capstyle="butt")
            axes.plot(middle, place, marker, color=color, ms=5)
            value, low, high = (100 * end for end in rate_estimate(values > 0, 0.95))
            axes.text(RIGHT, place, f"{value:.0f} % [{low:.0f}, {high:.0f}]", fontsize=7.5, va="center", ha="right")
        place += 1.2
    axes.text(RIGHT, -1.2, "$L_T$ falls in (95 %)", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.axvline(0, color=BLACK, lw=0.8, zorder=0)
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(place - 0.5, -2.0), xlim=(-1, RIGHT))
    axes.set_xticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], ["−1", "−0.1", "−.01", "0", ".01", "0.1", "1"], fontsize=7.5)
    axes.minorticks_off()
    axes.set_xlabel(r"cosine of student's step and $-\nabla L_T$: median, range", fontsize=8)
    axes.set_title(stated("The same symmetric P keeps the guarantee", record, "optimizers"))
