"""Claim 7 as a picture: what a matched student learns, by how unevenly its units are scaled."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.symmetry.rescaling import SPREADS
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, ORANGE, stated

CASE = "symmetry/rescaled: ReLU"
"""The case that is drawn."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Shares of the seeds between which the bands lie, and the median."""


def draw_symmetry(axes: Axes, record: Record) -> None:
    """Draw how well a student's step serves the trait, against a shared init, by the spread of its units' scales.

    Args:
        axes: Where to draw.
        record: A record with claim 7.
    """
    seen = record.results[f"{CASE}/visible"]
    predicted, change, largest = (
        record.results[f"{CASE}/{name}"][seen, :, 0, 0] for name in ("predicted", "change", "largest")
    )
    shared = -largest * record.results[f"{CASE}/shared_cosine"][seen, None]
    spreads = np.array([0.0, *SPREADS])
    simulated, expected = (
        np.hstack([np.ones((len(QUANTILES), 1)), np.quantile(values / shared, QUANTILES, axis=0)])
        for values in (change, predicted)
    )
    axes.fill_between(spreads, simulated[0], simulated[-1], color=BLUE, alpha=0.15, lw=0, label="90 % of seeds")
    axes.fill_between(spreads, simulated[1], simulated[-2], color=BLUE, alpha=0.3, lw=0, label="50 % of seeds")
    for row, style in ((0, "--"), (2, "-"), (4, "--")):
        label = r"predicted, $\Delta_T^\top S^{-2} K \Delta_T$" if row == 2 else None
        axes.plot(spreads, expected[row], style, color=BLACK, lw=1.0, label=label)
    points = np.repeat(spreads[None, 1:], 3, axis=0)
    axes.plot(points.ravel(), simulated[::2, 1:].ravel(), "o", color=BLUE, label="simulated, units rescaled")
    axes.plot(0, permuted_ratio(record), "D", color=ORANGE, ms=7, clip_on=False, label="simulated, units reordered")
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    for spread, share in zip(SPREADS, np.mean(change > 0, axis=0), strict=True):
        axes.text(spread, -1.22, f"{100 * share:.0f} %", ha="center", fontsize=8)
    axes.text(0.04, -1.02, "learn the wrong way:", fontsize=8, color=BLACK)
    axes.set(xlim=(0, 3.15), ylim=(-1.3, 2.6))
    axes.set(
        xlabel=r"spread of the units' scales (standard deviation of $\log s$)",
        ylabel=r"cosine of step and $-\nabla L_T$ (shared init: 1)",
    )
    axes.set_title(stated("Units reordered: the same. Rescaled: no guarantee", record, "symmetry"))
    axes.legend(loc="upper left", ncols=2)


def permuted_ratio(record: Record) -> float:
    """Compare students with reordered units to those of a shared init.

    Args:
        record: A record with claim 7.

    Returns:
        The ratio of the changes of their trait losses, median over seeds and step sizes.
    """
    case = "symmetry/permuted: ReLU"
    return float(np.median(record.results[f"{case}/matched"] / record.results[f"{case}/shared"]))
