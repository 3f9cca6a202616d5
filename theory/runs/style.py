"""One look for all pictures: sizes, colors, labels and empty panels."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.runs.checks import Evidence
from theory.runs.records import Record

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
}
"""One look for all pictures."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GRAY, BLACK = "#8C8C8C", "#222222"
"""With the above Okabe and Ito's colors, told apart by the color-blind and, by lightness and marker, in gray print."""


STEP_LABEL = r"teacher's step size $\epsilon$ (its outputs move by $\epsilon$)"
"""Both panels with step sizes use natural units."""


def new_figure(columns: int, rows: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of equal panels, without touching any global state; call it inside `rc_context(STYLE)`.

    Args:
        columns: Panels across.
        rows: Panels down.
        width: Width of a panel in inches.
        height: Height of a panel in inches.

    Returns:
        The figure and its panels, row by row.
    """
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns)))


def stated(text: str, record: Record | Evidence, *claims: str) -> str:
    """Let a sentence about a result follow from the verdicts.

    Args:
        text: What the claims say.
        record: The record of a run, or the evidence of one claim.
        *claims: The claims that say it; all if none is named.

    Returns:
        The sentence itself if some of their verdicts hold and none fails; else what became of it.
    """
    outcomes = {verdict["verdict"] for verdict in record.verdicts if not claims or verdict["claim"] in claims}
    if "fails" in outcomes:
        return f"{text}: fails"
    return text if "holds" in outcomes else f"{text}: not decided"


def median(values: np.ndarray) -> np.ndarray:
    """Median size over instances.

    Args:
        values: Shape `(num_seeds, ...)`.

    Returns:
        Shape `(...)`.
    """
    return np.median(np.abs(values), axis=0)
