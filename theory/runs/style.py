"""One look for all pictures: sizes, colors, labels and titles."""

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
    """Make a figure of equal panels, sizes in inches, without global state; call it inside `rc_context(STYLE)`."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def stated(text: str, record: Record | Evidence, *claims: str) -> str:
    """Let a sentence follow from the verdicts of its claims, by default of all: as it is if some hold, none fails."""
    outcomes = {verdict["verdict"] for verdict in record.verdicts if not claims or verdict["claim"] in claims}
    if "fails" in outcomes:
        return f"{text}: fails"
    return text if "holds" in outcomes else f"{text}: not decided"


def median(values: np.ndarray) -> np.ndarray:
    """Median size over instances, the first axis."""
    return np.median(np.abs(values), axis=0)
