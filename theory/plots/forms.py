"""Claim 5 as a picture: the bilinear form's sign, by what the student imitates and where it starts."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from theory.claims.different_initialization.channels import ACTIVATIONS
from theory.claims.different_initialization.forms import IMITATED, INITS
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, ORANGE, stated

BINS = np.linspace(-1, 1, 61)
"""Bins of the cosine."""

HEIGHT = 0.42
"""Of the tallest bin, in rows."""

LOOKS: dict[str, dict[str, Any]] = {
    "shared": {"facecolor": BLUE, "edgecolor": BLUE},
    "different": {"facecolor": "none", "edgecolor": ORANGE, "hatch": "/////"},
}
"""How each init is drawn: full above its row's line, hatched below it."""


def draw_forms(axes: Axes, record: Record) -> None:
    """Draw the distribution of the form over instances, for each set of imitated outputs, shared init over different.

    Args:
        axes: Where to draw.
        record: A record with claim 5.
    """
    cosine = record.results[f"different-initialization/forms: {next(iter(ACTIVATIONS))}/cosine"]
    for row in range(len(IMITATED)):
        axes.axhline(row, color=BLACK, lw=0.6, zorder=3)
        for column, (init, sign) in enumerate(zip(INITS, (-1, 1), strict=True)):
            values = cosine[:, row, column]
            share, _ = np.histogram(values, BINS)
            heights = row + sign * HEIGHT * share / share.max()
            axes.stairs(heights, BINS, baseline=row, fill=True, lw=0.8, **LOOKS[init])
            text = f"{init}: {100 * np.mean(values > 0):.3g} % positive"
            axes.text(-0.97, row + 0.2 * sign, text, color=LOOKS[init]["edgecolor"], va="center", fontsize=8)
    axes.axvline(0, color=BLACK, lw=0.8, ls=":")
    axes.set_yticks(range(len(IMITATED)), [chosen.replace(" ", "\n") for chosen in IMITATED])
    axes.set(xlim=(-1, 1), ylim=(len(IMITATED) - 0.45, -0.55), ylabel="student imitates")
    axes.set_xlabel(r"cosine of the transferred step with the student's own $-\nabla L_T$")
    axes.set_title(stated("Another init and disjoint outputs: no sign of its own", record, "different-initialization"))
