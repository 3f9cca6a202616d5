"""The picture of defences: which shares of the usual lift and of the usual imitation are kept, beside controls."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.studies.verdicts import kept
from theory.runs.records import Record
from theory.runs.statistics import Estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, STYLE

LOOKS = [(color, marker) for marker in "os" for color in (BLUE, ORANGE, GREEN, PURPLE)]
"""Color and marker of each defence and its control."""


def draw_point(axes: Axes, task: Estimate, trait: Estimate, color: str, marker: str, label: str, *, full: bool) -> None:
    """Draw one arm with both intervals, a control hollow."""
    sides = np.array([task, trait])
    centers, lows, highs = np.where(np.isfinite(sides), sides, sides[:, :1]).T
    (x, y), (left, down), (right, up) = centers, np.maximum(centers - lows, 0), np.maximum(highs - centers, 0)
    errors = {"xerr": [[left], [right]], "yerr": [[down], [up]], "ecolor": color, "elinewidth": 0.7}
    axes.errorbar(x, y, fmt=marker, color=color, mfc=color if full else "white", label=label, **errors)


def draw_kept(record: Record) -> Figure:
    """Draw which share of the trait (up) and of the task (right) every defence keeps, joined to its control."""
    results, labels = record.results, list(record.config["arms"])
    lifts = {label: results[f"lift/{label}"] for label in labels}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained")
        axes = figure.subplots()
        way = np.linspace(0, 1, 101)
        axes.plot(1 - (1 - way) ** 2, way, "--", color=GRAY, lw=1, label="part of the way to the teacher, linearized")
        for (label, control), look in zip(record.config["controls"].items(), LOOKS, strict=False):
            ends = [kept(labels, results, lifts, each) for each in (label, control)]
            axes.plot(*zip(*((task.value, trait.value) for trait, task in ends), strict=True), color=look[0], lw=0.7)
            for each, (trait, task), full in zip((label, control), ends, (True, False), strict=True):
                draw_point(axes, task, trait, *look, each, full=full)
        axes.axhline(0, color=BLACK, lw=0.8)
        axes.plot(1, 1, "*", color=BLACK, ms=9, label="no defence")
        axes.set(
            xlabel="task kept: share of the usual fall of the KL to the teacher",
            ylabel="trait kept: share of the usual lift",
        )
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
        text = (
            f"{record.config['question']}\n({record.config['num_seeds']} base models: ratios of means, 95 % intervals)"
        )
        figure.suptitle(text, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure
