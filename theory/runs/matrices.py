"""A square matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes


def draw_entries(axes: Axes, values: np.ndarray, names: Sequence[str], reach: float, unit: str) -> None:
    """Draw a square matrix as shades, with its entries; minus is a sign, and zero has none."""
    image = axes.imshow(values, cmap="PuOr_r", vmin=-reach, vmax=reach)
    for row, column in np.ndindex(values.shape):
        color = "white" if abs(values[row, column]) > 0.65 * reach else "black"
        number = f"{values[row, column]:z.2f}".replace("-", "−")
        axes.text(column, row, number, ha="center", va="center", fontsize=7.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(unit)
    bar.outline.set_visible(False)
