"""Claim 2's open question as a picture: where the decrease ends, between what Taylor's theorem leaves."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.how_small.ends import SLACK, STIFFNESSES
from theory.curvature import surely_ended, surely_falling
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, first_case

LOOKS = ((GRAY, "x"), (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (BLACK, "D"), (GRAY, "v"), (BLUE, "+"))
"""Color and marker of each setting."""

TOP, BOTTOM = 15.0, 0.4
"""Ends of the vertical axis."""


def draw_bounds(axes: Axes) -> None:
    """Draw which steps are small enough, and by which the decrease has ended, given the third-order share.

    Args:
        axes: Where to draw.
    """
    shares = np.geomspace(1e-3, 3, 500)
    falling, certain = surely_falling(shares, np.ones(shares.shape)), shares[shares <= 0.25]
    axes.fill_between(shares, BOTTOM, falling, color=GREEN, alpha=0.15, lw=0)
    axes.fill_between(certain, surely_ended(certain), TOP, color=GRAY, alpha=0.15, lw=0)
    axes.plot(shares, falling, color=BLACK, lw=1)
    axes.plot(np.append(certain, 0.25), surely_ended(np.append(certain, 0.25)), color=BLACK, lw=1)
    axes.plot([0.25, 0.25], [2, TOP], color=BLACK, lw=0.6, ls=":")
    axes.text(1.3e-3, 0.62, "small enough by Taylor's theorem: $L_T$ has fallen", color=BLACK)
    axes.text(1.3e-3, 1.25, "decrease has ended by Taylor's theorem", color=BLACK)
    axes.axhline(1, color=BLACK, lw=0.8, ls=":")


def draw_how_small(axes: Axes, record: Record) -> None:
    r"""Draw simulated over predicted end of the decrease against the third-order share, over Taylor's theorem.

    Ends are drawn where one is predicted and the share is known up to twice that step.

    Args:
        axes: Where to draw.
        record: A record with claim 2's open question.
    """
    case = first_case(record, "how-small")
    predicted, measured, reach, shares, visible = (
        record.results[f"{case}/{name}"] for name in ("predicted", "measured", "reach", "largest_third", "visible")
    )
    names = [rf"$\alpha = {rate:g}$" for rate in record.config["learning_rates"]]
    names += [rf"$\alpha = 1,\ \kappa = {stiffness:g}$" for stiffness in STIFFNESSES[:3]]
    seen = (predicted > 0) & (reach >= 2 * predicted * (1 - SLACK)) & visible[:, None]
    draw_bounds(axes)
    for column, (name, (color, marker)) in enumerate(zip(names, LOOKS, strict=False)):
        ratios = (measured / np.where(predicted > 0, predicted, np.nan))[seen[:, column], column]
        if ratios.size:
            label = f"{name}: {100 * np.mean(np.abs(ratios - 1) <= 0.1):.0f} %"
            place = shares[seen[:, column], column]
            axes.plot(place, ratios, marker, color=color, ms=3, mew=0.6, mfc="none", label=label)
    axes.set(xscale="log", yscale="log", xlim=(1e-3, 3), ylim=(BOTTOM, TOP))
    axes.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.set(
        xlabel=r"third-order share $t = \epsilon^*\max|g'''|\,/\,3c$, the largest estimated",
        ylabel=r"teacher's step $\epsilon\,/\,\epsilon^*$",
    )
    axes.set_title("How small is small enough: predicted, and bounded")
    axes.legend(
        loc="upper left",
        title="simulated ends, share within 10 %\n($\\kappa$: curvature added to $L_T$)",
        title_fontsize=8,
        alignment="left",
    )
