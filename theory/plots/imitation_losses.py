"""Claim 4 as a picture that is its own table: a row a loss, its order, and how often the sign is right."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.imitation_losses.table import COSINE, INSIDE, NAMES, POWERS, SHIFTED, UNSURE
from theory.runs.records import Record
from theory.runs.statistics import fitted_order, median_estimate, rate_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, first_case, stated

GROUPS = (
    ("inside", tuple(INSIDE), BLUE, "o"),
    ("its null space depends on x", tuple(COSINE), GREEN, "D"),
    ("flat or kinked at the minimum", tuple(POWERS), ORANGE, "s"),
    ("minimum elsewhere", (*UNSURE, SHIFTED), GRAY, "^"),
)
"""Losses as the theory sorts them."""


WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Behind words that stand on a line."""


def draw_imitation_losses(axes: Axes, record: Record) -> None:
    r"""Draw each loss's fitted order, and beside it how often the student moves towards the teacher.

    Args:
        axes: Where to draw.
        record: A record with claim 4.
    """
    case = first_case(record, "imitation-losses")
    leading, measured, visible = (record.results[f"{case}/{part}"] for part in ("leading", "measured", "visible"))
    steps = np.array([step for step in record.config["teacher_steps"] if step <= record.config["largest_fitted_step"]])
    place, ticks = 0.0, {}
    for title, names, color, marker in GROUPS:
        axes.text(-0.35, place, title, fontsize=7, style="italic", va="center", bbox=WHITE)
        for name in names:
            place += 1
            row = NAMES.index(name)
            ticks[place], seen = name, visible[:, row]
            if not seen.any():
                continue
            inside = title in (GROUPS[0][0], GROUPS[1][0])
            remainder = measured[seen, row] - (leading[seen, row] if inside else 0)
            order = median_estimate(fitted_order(steps, remainder), 0.95)
            reach = np.abs(np.subtract(order[1:], order[0]))[:, None]
            axes.errorbar(order.value, place, xerr=reach, fmt=marker, color=color, ms=4, capsize=2)
            value, low, high = (100 * end for end in rate_estimate(measured[seen, row, 0] > 0, 0.95))
            axes.text(3.8, place, f"{abs(order.value):.2f}", fontsize=7.5, va="center", ha="right")
            axes.text(5.6, place, f"{value:.0f} % [{low:.0f}, {high:.0f}]", fontsize=7.5, va="center", ha="right")
        place += 1.2
    axes.text(3.8, -1.3, "order", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.text(5.6, -1.3, "towards (95 %)", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.axvline(2, color=BLACK, lw=0.8, zorder=0)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(place - 0.5, -2.0), xlim=(-0.4, 5.6), xticks=[0, 1, 2, 3])
    axes.set_xlabel(
        r"fitted order in $\epsilon$: of $\Delta_S\cdot\Delta_T - \epsilon A$, outside of $\Delta_S\cdot\Delta_T$"
    )
    axes.xaxis.label.set_fontsize(8)
    axes.set_title(stated("Every loss of the class transfers alike", record, "imitation-losses"))
