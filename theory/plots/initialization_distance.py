r"""Claim 6 as a phase diagram: where the alignment is positive, over the teacher's step and the student's distance."""

from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from theory.claims.initialization_distance.phases import GRID
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, STEP_LABEL, stated

SHADES = LinearSegmentedColormap.from_list("shades", ["#FFF3E6", "#9CC9E3", BLUE])
"""From never to always, light to dark: it reads in gray print."""


def draw_initialization_distance(axes: Axes, record: Record) -> None:
    """Draw the share of instances with a positive alignment, the predicted boundary and the measured one.

    Args:
        axes: Where to draw.
        record: A record with claim 6 over the zoo.
    """
    phases = "initialization-distance/phases: reference"
    seen = record.results[f"{phases}/visible"]
    alignment = record.results[f"{phases}/alignment"][seen]
    transferred = alignment - record.results[f"{phases}/idle_alignment"][seen][..., None]
    init_size = float(np.median(record.results[f"{phases}/init_size"][seen]))
    grid = np.array(GRID)
    shares = np.mean(alignment > 0, axis=0)
    mesh = axes.pcolormesh(grid, grid, shares, cmap=SHADES, vmin=0, vmax=1, shading="gouraud", rasterized=True)
    figure = cast(Figure, axes.get_figure(root=True))
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, ticks=[0, 0.5, 1])
    bar.set_label(r"share of seeds with $\Delta_S\cdot\Delta_T > 0$")
    bar.outline.set_visible(False)
    axes.plot(grid, grid, color=BLACK, label=r"predicted, $\delta = \epsilon A/d^\top K\Delta_T$")
    axes.plot(grid, half_way(shares), "o", color="white", mec=BLACK, ms=4, label="simulated, half of the seeds")
    axes.axhline(init_size, color=BLACK, lw=0.9, ls="--")
    axes.axhline(reach(np.mean(transferred > 0, axis=0)), color=BLACK, lw=1.4, ls=":")
    note: Any = {"fontsize": 8, "color": BLACK, "ha": "left"}
    axes.text(1.4 * grid[0], 0.93 * init_size, "as long as the init itself", va="top", **note)
    axes.text(1.4 * grid[0], 0.5, r"$\epsilon = 0$ student subtracted: 95 % up to here", va="bottom", **note)
    axes.text(3e-4, 1e-2, "back to the\nteacher's init", **note)
    axes.text(5e-2, 1e-3, "on to where the\nteacher went", **(note | {"color": "white"}))
    axes.set(xscale="log", yscale="log", xlim=grid[[0, -1]], ylim=grid[[0, -1]])
    axes.set(xlabel=STEP_LABEL, ylabel=r"distance between the inits $\delta$ (outweighs $\epsilon < \delta$)")
    axes.set_title(stated("The student may start as far off as the teacher moves", record, "initialization-distance"))
    axes.legend(loc="lower right", labelcolor="white", fontsize=7.5)


def reach(shares: np.ndarray) -> float:
    """Find up to which distance at least 95 % are positive.

    Args:
        shares: Over the grid, shape `(displacements, teacher_steps)`.

    Returns:
        Interpolated, for the smallest step of the teacher.
    """
    return float(np.interp(-0.95, -np.minimum.accumulate(shares[:, 0]), GRID))


def half_way(shares: np.ndarray) -> np.ndarray:
    """Find, for every step of the teacher, where the share first falls to one half, on its way below a quarter.

    Args:
        shares: Over the grid, shape `(displacements, teacher_steps)`.

    Returns:
        Interpolated in the logarithm of the distance, shape `(teacher_steps,)`; NaN where it never does.
    """
    logs = np.log(GRID)
    below = (shares < 0.5) & (shares.min(axis=0) < 0.25)[None, :]
    first = np.argmax(below, axis=0)
    columns = np.arange(shares.shape[1])
    upper, lower = shares[first - 1, columns], shares[first, columns]
    place = logs[first] - (logs[1] - logs[0]) * (0.5 - lower) / (upper - lower)
    return np.where(below.any(axis=0) & (first > 0), np.exp(place), np.nan)
