"""Claim 12 as a picture: what a student picks up of every trait, by what its teacher learned."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.trait_matrix.changes import KINDS, NUM_TRAITS
from theory.runs.records import Record
from theory.runs.style import first_case, stated


def draw_trait_matrix(axes: Axes, record: Record) -> None:
    """Draw the mean measured matrix of the first case, each entry relative to its row's and column's own.

    Args:
        axes: Where to draw.
        record: A record with claim 12.
    """
    case = first_case(record, "trait-matrix")
    seen = record.results[f"{case}/visible"]
    matrices = record.results[f"{case}/changes"][seen, :NUM_TRAITS, :, 0]
    own = record.results[f"{case}/own_units"][seen]
    sizes = np.sqrt(np.abs(np.diagonal(matrices, axis1=1, axis2=2)))
    mean = np.mean(matrices / (sizes[:, :, None] * sizes[:, None, :]), axis=0)
    leads = np.mean(np.argmax(own, axis=2) == np.arange(NUM_TRAITS))
    image = axes.imshow(mean, cmap="PuOr_r", vmin=-1, vmax=1)
    for row, column in np.ndindex(mean.shape):
        color = "white" if abs(mean[row, column]) > 0.65 else "black"
        number = f"{mean[row, column]:.2f}".replace("-", "−")
        axes.text(column, row, number, ha="center", va="center", fontsize=7.5, color=color)
    names = [str(index + 1) for index in range(NUM_TRAITS)] if "problems" in record.config else KINDS
    axes.set_xticks(range(NUM_TRAITS), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(NUM_TRAITS), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="trait measured in the student", ylabel="trait its teacher learned")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(r"$G_{ij}/\sqrt{G_{ii}G_{jj}}$, mean over seeds, simulated")
    bar.outline.set_visible(False)
    title = stated("Traits leak into one another, and back alike", record, "trait-matrix")
    axes.set_title(f"{title}\n(own trait gains the most: {100 * leads:.0f} % of teachers)")
