"""Claim 3 as a picture: what imitation can't see, beside what it sees."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.null_space import CONTROLLED
from theory.runs.records import Record
from theory.runs.style import BLUE, ORANGE, stated


def draw_null_space(axes: Axes, record: Record) -> None:
    """Draw the largest alignment in each null-space case beside its control's.

    Args:
        axes: Where to draw.
        record: A record with claim 3.
    """
    pairs = [name.split("/")[1].split(CONTROLLED) for name in record.results if CONTROLLED in name]
    pairs = list(dict.fromkeys(map(tuple, pairs)))
    floor = 1e-21
    for row, (case, control) in enumerate(pairs):
        values = [
            np.abs(record.results[f"null-space/{name}/alignment"]).max(axis=1)
            for name in (case, f"{case}{CONTROLLED}{control}")
        ]
        for value, color, marker in zip(values, (BLUE, ORANGE), ("o", "x"), strict=True):
            axes.plot(np.maximum(value, floor), np.full(len(value), row), marker, color=color, ms=3, alpha=0.3)
        axes.annotate(case, (floor, row), (0, 7), textcoords="offset points", fontsize=8)
        axes.annotate(f"{control}  ", (values[1].min(), row), ha="right", va="center", fontsize=7, color=ORANGE)
    axes.set(xscale="log", xlim=(floor / 3, 1e3), ylim=(len(pairs) - 0.4, -0.7), yticks=[])
    ticks = [floor, 1e-16, 1e-12, 1e-8, 1e-4, 1]
    axes.set_xticks(ticks, ["exactly 0", *(f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks[1:])])
    axes.minorticks_off()
    axes.set_xlabel(r"largest $|\Delta_S\cdot\Delta_T|$ over all $\epsilon$, every seed (crosses: control)")
    axes.set_title(stated("What imitation can't see is not transferred", record, "null-space"))
