"""The ladder as a picture: a panel a quantity, the rungs side by side."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.ladder import LABELS, LEAST_SHOWN
from figures.rungs import INITS, OWN_DESCENT
from theory.runs.records import Outcome, Record
from theory.runs.statistics import mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STYLE, new_figure

LOOKS: dict[str, dict[str, Any]] = {
    "shared": {"color": BLUE, "marker": "o"},
    "matched": {"color": GREEN, "marker": "^", "mfc": "white"},
    "stranger": {"color": ORANGE, "marker": "s"},
}
"""How they look."""

SHIFTS = dict(zip(INITS, (-0.26, 0.0, 0.26), strict=True))
"""Where they stand beside a rung's place."""

ABSENT: dict[str, Any] = {
    "textcoords": "offset points",
    "rotation": 90,
    "color": GRAY,
    "fontsize": 7,
    "ha": "center",
    "va": "bottom",
}
"""How it is written that no record holds something."""

LABEL = 10
"""Letters of a line of a rung's name."""

MOST_DOTS = 20
"""With more seeds than this they are not drawn one by one."""

PANELS = {
    "cosine": ("Which way students go", r"cosine of the student's step with $\Delta_T$"),
    "predicted": ("What theory predicts of the trait", "trait change predicted\n(shared init's mean: 1)"),
    "measured": ("What arrives of it", "trait change measured\n(shared init's predicted mean: 1)"),
}
"""Title and axis of each quantity's panel."""


def draw_ladder(record: Record | Outcome) -> Figure:
    """Draw one panel a quantity, rungs side by side.

    Args:
        record: The ladder, or its record.

    Returns:
        The figure.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(3, 1, 3.5, 3.5)
        axes[2].sharey(axes[1])
        for panel, quantity in zip(axes, PANELS, strict=True):
            draw_quantity(panel, record.results, quantity)
        draw_predictions(axes[2], record.results)
        axes[2].plot([], [], ".", color=GRAY, ms=5, mew=0, label="one seed")
        axes[2].errorbar([], [], [], color=GRAY, capsize=2.5, ls="none", label="95 % interval")
        handles = dict(zip(*reversed(axes[2].get_legend_handles_labels()), strict=True))
        labels = [label for label in LABELS.values() if label in handles]
        labels += [label for label in handles if label not in labels]
        handles = [handles[label] for label in labels]
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def rung_names(results: Mapping[str, np.ndarray]) -> list[str]:
    """List the rungs.

    Args:
        results: The ladder's arrays.

    Returns:
        Their names, the lowest first.
    """
    return list(dict.fromkeys(name.split("/")[0] for name in results))


def draw_quantity(axes: Axes, results: Mapping[str, np.ndarray], quantity: str) -> None:
    """Draw one quantity on every rung.

    Args:
        axes: Where to draw.
        results: The ladder's arrays.
        quantity: One of `PANELS`.
    """
    rungs, ticks = rung_names(results), []
    for place, rung in enumerate(rungs):
        for init, shift in SHIFTS.items():
            if (values := results.get(f"{rung}/{init}/{quantity}")) is None:
                axes.annotate("not recorded", (place + shift, 0), (0, 3), **ABSENT)
            else:
                draw_student(axes, place + shift, values, init)
        mark = " †" * (quantity == "cosine" and rung in OWN_DESCENT)
        ticks.append(f"{fill(rung, LABEL)}{mark}\n{len(results[f'{rung}/shared/{quantity}'])} seeds")
        if mark:
            axes.set_xlabel(r"† with $-\nabla L_T$ at the student's own init", fontsize=7.5)
    title, label = PANELS[quantity]
    axes.axhline(0, color=BLACK, lw=0.8)
    if quantity != "cosine":
        axes.axhline(1, color=GRAY, lw=0.8, ls=":")
    axes.set_xticks(range(len(rungs)), ticks)
    axes.set(xlim=(-0.5, len(rungs) - 0.5), ylabel=label)
    axes.set_title(title)


def draw_student(axes: Axes, place: float, values: np.ndarray, init: str) -> None:
    """Draw a mean over seeds with its interval, and seeds one by one where they are few.

    Args:
        axes: Where to draw.
        place: Where on the axis.
        values: Shape `(seeds,)`.
        init: One of `INITS`.
    """
    mean, _, high = mean_estimate(values)
    reach = high - mean if len(values) >= LEAST_SHOWN else np.nan
    axes.errorbar(place, mean, reach, capsize=2.5, ls="none", zorder=3, label=LABELS[init], **LOOKS[init])
    if len(values) <= MOST_DOTS:
        spread = np.linspace(0.06, 0.12, len(values))
        axes.plot(place + spread, values, ".", color=LOOKS[init]["color"], ms=3.5, alpha=0.55, mew=0)


def draw_predictions(axes: Axes, results: Mapping[str, np.ndarray]) -> None:
    """Draw bars where the predicted means are.

    Args:
        axes: Where to draw.
        results: The ladder's arrays.
    """
    for place, rung in enumerate(rung_names(results)):
        for init, shift in SHIFTS.items():
            if (values := results.get(f"{rung}/{init}/predicted")) is not None:
                axes.plot(place + shift, values.mean(), "_", color=BLACK, ms=13, mew=1.2, label="predicted mean")
