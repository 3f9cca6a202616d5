"""Pictures of the theory's records, one file a claim; `draw` puts those of a run side by side."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.claims.null_space import CONTROLLED
from theory.plots.null_space import draw_null_space
from theory.plots.one_step import draw_alignment, draw_trait_loss
from theory.plots.signs import draw_signs
from theory.plots.style import STYLE, new_figure
from theory.records import Record


def draw(record: Record) -> Figure:
    """Draw the figure of a `verify` run.

    Args:
        record: The run's record.

    Returns:
        A panel for each claim that was verified and has one; nothing if there is none.
    """
    panels = [
        (draw_alignment, "alignment/", "/visible"),
        (draw_trait_loss, "trait-loss/", "/visible"),
        (draw_null_space, "null-space/", CONTROLLED),
        (draw_signs, "different-initialization/signs: ", "/own"),
    ]
    drawn = [
        panel
        for panel, start, part in panels
        if any(name.startswith(start) and part in name and np.any(record.results[name]) for name in record.results)
    ]
    if not drawn:
        return Figure(figsize=(5.0, 0.5))
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(min(2, len(drawn)), (len(drawn) + 1) // 2, 5.0, 3.6)
        for panel, place in zip(drawn, axes, strict=False):
            panel(place, record)
        for place in axes[len(drawn) :]:
            place.remove()
    return figure
