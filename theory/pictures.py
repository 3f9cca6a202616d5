"""Pictures of a `verify` run: the panels of its claims, side by side or each by itself, and an index of many."""

from collections.abc import Iterator
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure, SubFigure

from theory.claim import Panel, all_claims
from theory.runs.checks import Evidence
from theory.runs.records import Record
from theory.runs.style import STYLE, new_figure

MOST_IN_FULL = 4
"""With more pictures than this, a sheet of them is an index."""


def panels_of(record: Record) -> Iterator[tuple[str, Panel, Evidence]]:
    """Find the pictures that a record holds, by name and with the numbers that they show."""
    measured = {name.split("/")[0] for name in record.results}
    for claim in all_claims().values():
        if claim.name in measured and claim.panels:
            for name, panel in claim.panels.items():
                evidence = claim.read(record, panel.shows)
                if panel.needs(evidence):
                    yield name, panel, evidence


def draw(record: Record) -> dict[str, Figure]:
    """Draw a `verify` run: its panels side by side or, of many, an index of them, and of several each by itself."""
    panels = list(panels_of(record))
    if not panels:
        return {"figure": Figure(figsize=(5.0, 0.5))}
    is_index = len(panels) > MOST_IN_FULL
    columns, width, height = (4, 2.7, 2.1) if is_index else (min(len(panels), 2), 5.6, 4.0)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
        places = np.asarray(figure.subfigures(rows, columns, wspace=0.03, hspace=0.03), object).ravel()
        for (name, panel, evidence), place in zip(panels, places, strict=False):
            panel.draw(place.subplots(), evidence)
            if is_index:
                shrink(place, name)
    alone = {name: draw_alone(panel, evidence) for name, panel, evidence in panels} if len(panels) > 1 else {}
    return {"figure": figure} | alone


def shrink(place: SubFigure, name: str) -> None:
    """Leave of a picture its shapes and its title, under its name."""
    axes, *bars = place.axes
    for each in (*bars, *axes.texts, *filter(None, [axes.get_legend()])):
        each.remove()
    for line in axes.lines:
        line.set(markersize=0.6 * line.get_markersize(), linewidth=0.6 * line.get_linewidth())
    axes.set(xlabel="", ylabel="", aspect="auto")
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.set_title(fill(axes.get_title(loc="left"), 42), fontsize=7.5, fontweight="normal")
    place.suptitle(name, fontsize=9, fontweight="bold", x=0.02, ha="left")


def draw_alone(panel: Panel, evidence: Evidence) -> Figure:
    """Draw one picture by itself."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 6.0, 4.2)
        panel.draw(axes, evidence)
    return figure
