"""Pictures of a `verify` run: the panels of its claims, side by side or each by itself."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.claim import Panel, all_claims
from theory.runs.checks import Evidence
from theory.runs.records import Record
from theory.runs.style import STYLE, new_figure


def panels_of(record: Record) -> Iterator[tuple[str, Panel, Evidence]]:
    """Find the pictures that a record holds, by name and with the numbers that they show."""
    measured = {name.split("/")[0] for name in record.results}
    for claim in all_claims().values():
        if claim.name in measured and claim.panels:
            for name, panel in claim.panels.items():
                evidence = claim.read(record, panel.shows)
                if panel.needs(evidence):
                    yield name, panel, evidence


def draw(record: Record) -> Figure:
    """Draw the figure of a `verify` run: a panel for each claim that was verified and has one."""
    panels = list(panels_of(record))
    if not panels:
        return Figure(figsize=(5.0, 0.5))
    columns = min(len(panels), 2 if len(panels) <= 4 else 3)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns * 5.6, rows * 4.0), layout="constrained")
        places = np.asarray(figure.subfigures(rows, columns, wspace=0.03, hspace=0.03), object).ravel()
        for (_, panel, evidence), place in zip(panels, places, strict=False):
            panel.draw(place.subplots(), evidence)
    return figure


def draw_alone(name: str, record: Record) -> Figure:
    """Draw one picture of a record by itself, as for a slide."""
    claim = next(claim for claim in all_claims().values() if name in claim.panels)
    panel = claim.panels[name]
    evidence = claim.read(record, panel.shows)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 6.0, 4.2)
        panel.draw(axes, evidence)
    return figure
