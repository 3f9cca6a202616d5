"""Claim 13 as a picture: what passes through adapters of each rank, beside predicted mean and spread."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.low_rank.steps import RANKS
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, first_case, stated


def draw_low_rank(axes: Axes, record: Record) -> None:
    """Draw the distribution of transfers in the first case, for each rank and each way to share adapters.

    Args:
        axes: Where to draw.
        record: A record with claim 13.
    """
    case = first_case(record, "low-rank")
    seen = record.results[f"{case}/visible"]
    curvature = record.results[f"{case}/curvature"][seen]
    relative = {
        name: record.results[f"{case}/{name}"][seen] / curvature[:, None, None]
        for name in ("student", "independent", "same")
    }
    deviation = np.sqrt(np.mean((record.results[f"{case}/deviation"][seen] / curvature[:, None]) ** 2, axis=0))
    rows = np.arange(len(RANKS))
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.axhline(1, color=BLACK, lw=0.8)
    looks = {
        "same": ("the same adapters on both", GREEN, "^", 0.27),
        "student": ("adapters on the student alone", BLUE, "o", -0.27),
        "independent": ("independent adapters", ORANGE, "s", 0.0),
    }
    for name, (label, color, marker, shift) in looks.items():
        values = relative[name].swapaxes(0, 1).reshape(len(RANKS), -1)
        axes.vlines(rows + shift, *np.quantile(values, (0.05, 0.95), axis=1), color=color, lw=1)
        axes.vlines(rows + shift, *np.quantile(values, (0.25, 0.75), axis=1), color=color, lw=4, alpha=0.5)
        axes.plot(rows + shift, values.mean(axis=1), marker, color=color, mec="white", ms=7, label=label)
        for row, share in zip(rows, np.mean(values > 0, axis=1), strict=True):
            axes.text(row + shift, -2.0, f"{100 * share:.3g}", ha="center", fontsize=7.5, color=color)
    axes.text(-0.42, -1.3, "% above 0:", fontsize=7.5)
    spread = {"color": BLACK, "lw": 1, "capsize": 4, "fmt": "none", "zorder": 3}
    axes.errorbar(rows - 0.36, np.ones(len(RANKS)), deviation, label="predicted mean ± σ, student alone", **spread)
    axes.set_xticks(rows, [f"$r = {rank}$" for rank in RANKS])
    axes.set(xlabel="rank of the adapters", ylabel=r"fall of $L_T$ / predicted $\epsilon\alpha A$")
    axes.set_title(
        stated("A student's own adapters keep the mean; spread $\\propto r^{-1/2}$", record, "low-rank"), fontsize=9
    )
    axes.set(xlim=(-0.5, len(RANKS) - 0.5), ylim=(-2.4, 12))
    axes.legend(
        loc="upper right", fontsize=7.5, title="markers: means; bars: 50 %, lines: 90 % of draws", title_fontsize=7.5
    )
