"""Growth as a picture: time over seeds on both rungs, memory over seeds, and devices and processes."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.growth import SHARED, Curve, read_curves
from theory.runs.records import Outcome, Record
from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, STYLE, new_figure

LOOKS = ((BLUE, "o-"), (ORANGE, "s-"), (GREEN, "^-"))
"""Color and line of each curve."""

IDEAL: dict[str, Any] = {"color": BLACK, "ls": ":", "lw": 1.0}
"""How ideal lines look."""


def draw_growth(record: Record | Outcome) -> Figure:
    """Draw time over seeds, a panel a rung, and one panel each for memory and for devices and processes.

    Args:
        record: What `growth` measured, or its record.

    Returns:
        The figure.
    """
    curves = read_curves(record.results)
    looks = dict(zip(curves, LOOKS, strict=False))
    lowest, *others = curves
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, 2, 4.4, 3.2)
        for panel, names in zip(axes, ([lowest], others), strict=False):
            for name in names:
                draw_time(panel, curves[name], name, looks[name])
            finish_time(panel, names[0].split(",")[0])
        for name, curve in curves.items():
            draw_memory(axes[2], curve, name, looks[name])
        axes[2].axhline(np.nan, label="ideal: as for the fewest seeds", **IDEAL)
        axes[2].set(xlabel="seeds", ylabel="peak memory of the process in GiB", xscale="log", ylim=(0, None))
        axes[2].set_title("Memory over seeds")
        axes[2].legend(loc="best")
        draw_shared(axes[3], record.results)
    return figure


def draw_time(axes: Axes, curve: Curve, name: str, look: tuple[str, str]) -> None:
    """Draw seconds over seeds, their range, and the ideal line.

    Args:
        axes: Where to draw.
        curve: The curve.
        name: What it is called.
        look: Color and line.
    """
    color, line = look
    axes.loglog(curve.seeds, np.median(curve.seconds, axis=0), line, color=color, label=name)
    axes.fill_between(curve.seeds, curve.seconds.min(axis=0), curve.seconds.max(axis=0), color=color, alpha=0.2, lw=0)
    axes.loglog(curve.seeds, curve.ideal, **IDEAL)


def finish_time(axes: Axes, rung: str) -> None:
    """Name what a panel of `draw_time` shows.

    Args:
        axes: Where to draw.
        rung: The rung.
    """
    axes.plot([], [], label="ideal: in proportion to seeds,\nfrom one full chunk on", **IDEAL)
    axes.set(xlabel="seeds", ylabel="seconds, compiled before")
    axes.set_title(f"Time over seeds: {rung}")
    axes.legend(loc="upper left")


def draw_memory(axes: Axes, curve: Curve, name: str, look: tuple[str, str]) -> None:
    """Draw peak memory over seeds, and where it would be if it stayed as it was.

    Args:
        axes: Where to draw.
        curve: The curve.
        name: What it is called.
        look: Color and line.
    """
    color, line = look
    axes.plot(curve.seeds, curve.memory / 2**30, line, color=color, label=name)
    axes.plot(curve.seeds, np.full(len(curve.seeds), curve.memory[0] / 2**30), **IDEAL)


def draw_shared(axes: Axes, results: Mapping[str, np.ndarray]) -> None:
    """Draw how many times as fast several devices and processes are as one.

    Args:
        axes: Where to draw.
        results: The arrays of `growth`.
    """
    cores = int(results["cores"])
    largest = max(int(results[f"shared/{kind}/number"].max()) for kind in SHARED)
    for (kind, label), (color, line) in zip(SHARED.items(), LOOKS, strict=False):
        times, numbers = results[f"shared/{kind}/times"], results[f"shared/{kind}/number"]
        usual = np.median(times, axis=0)
        reach = np.abs(np.stack([times.min(axis=0), times.max(axis=0)]) - usual)
        axes.errorbar(numbers, usual, reach, fmt=line, color=color, capsize=2.5, label=label)
    numbers = np.arange(1, largest + 1)
    axes.plot(numbers, np.minimum(numbers, cores), label=f"ideal: as many as there are, to {cores} cores", **IDEAL)
    axes.set(xlabel="devices or processes", ylabel="times as fast as one", ylim=(0, None))
    axes.set_xticks(sorted({int(number) for kind in SHARED for number in results[f"shared/{kind}/number"]}))
    axes.set_title("Random networks on several devices")
    axes.legend(loc="lower right")
