"""Pictures of the theory's records, one file a claim; `draw` puts those of a run side by side."""

from collections.abc import Callable
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.claims.null_space import CONTROLLED
from theory.plots.filtering import draw_filtering
from theory.plots.forms import draw_forms
from theory.plots.how_small import draw_how_small
from theory.plots.imitation_losses import draw_imitation_losses
from theory.plots.initialization_distance import draw_initialization_distance
from theory.plots.label_noise_cost import draw_label_noise_cost
from theory.plots.low_rank import draw_low_rank
from theory.plots.many_steps import draw_many_steps
from theory.plots.null_space import draw_null_space
from theory.plots.one_step import draw_alignment, draw_trait_loss
from theory.plots.optimizers import draw_optimizers
from theory.plots.sampled_labels import draw_label_drift, draw_label_information, draw_sampled_labels
from theory.plots.signs import draw_signs
from theory.plots.symmetry import draw_symmetry
from theory.plots.trait_matrix import draw_trait_matrix
from theory.runs.records import Record
from theory.runs.style import STYLE, new_figure


class Panel(NamedTuple):
    """A claim's picture, and what a record must hold for it."""

    name: str
    """How the gallery calls it."""
    draw: Callable[[Axes, Record], None]
    """Draws it from a record."""
    start: str
    """How the names of the arrays begin that it draws."""
    needed: str
    """Part of the name of one of them, so that a record of one's own problem without it has no such panel."""

    def drawable(self, record: Record) -> bool:
        """Whether a record holds what the panel shows.

        Args:
            record: A record.

        Returns:
            True if so.
        """
        names = [name for name in record.results if name.startswith(self.start) and self.needed in name]
        return any(np.any(record.results[name]) for name in names)


PANELS = (
    Panel("alignment", draw_alignment, "alignment/", "/visible"),
    Panel("trait-loss", draw_trait_loss, "trait-loss/", "/visible"),
    Panel("how-small", draw_how_small, "how-small/", "/largest_third"),
    Panel("null-space", draw_null_space, "null-space/", CONTROLLED),
    Panel("imitation-losses", draw_imitation_losses, "imitation-losses/", "/"),
    Panel("forms", draw_forms, "different-initialization/forms: ", "/cosine"),
    Panel("signs", draw_signs, "different-initialization/signs: ", "/own"),
    Panel("initialization-distance", draw_initialization_distance, "initialization-distance/phases: ", "/"),
    Panel("symmetry", draw_symmetry, "symmetry/rescaled: ReLU", "/"),
    Panel("sampled-labels", draw_sampled_labels, "sampled-labels/", "/alignment"),
    Panel("label-drift", draw_label_drift, "sampled-labels/", "/alignment"),
    Panel("label-information", draw_label_information, "sampled-labels/", "/alignment"),
    Panel("label-noise-cost", draw_label_noise_cost, "label-noise-cost/", "/relative"),
    Panel("filtering", draw_filtering, "filtering/", "/slope"),
    Panel("optimizers", draw_optimizers, "optimizers/", "/"),
    Panel("many-steps", draw_many_steps, "many-steps/limits/", "/predicted"),
    Panel("trait-matrix", draw_trait_matrix, "trait-matrix/", "/changes"),
    Panel("low-rank", draw_low_rank, "low-rank/", "/"),
)
"""Every picture, in the order of the claims."""


def draw(record: Record) -> Figure:
    """Draw the figure of a `verify` run.

    Args:
        record: The run's record.

    Returns:
        A panel for each claim that was verified and has one; nothing if there is none.
    """
    panels = [panel for panel in PANELS if panel.drawable(record)]
    if not panels:
        return Figure(figsize=(5.0, 0.5))
    columns = min(len(panels), 2 if len(panels) <= 4 else 3)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(columns * 5.6, rows * 4.0), layout="constrained")
        places = np.asarray(figure.subfigures(rows, columns, wspace=0.03, hspace=0.03), object).ravel()
        for panel, place in zip(panels, places, strict=False):
            panel.draw(place.subplots(), record)
    return figure


def draw_panel(panel: Panel, record: Record) -> Figure:
    """Draw one claim's picture by itself, as for a slide.

    Args:
        panel: The picture.
        record: A record that holds it.

    Returns:
        The figure.
    """
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 6.0, 4.2)
        panel.draw(axes, record)
    return figure
