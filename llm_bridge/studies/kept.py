"""The picture of defences: which shares of the usual lift and of the usual imitation are kept, beside controls."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.studies.study import STANDARD
from llm_bridge.studies.verdicts import kept
from theory.runs.records import Record
from theory.runs.statistics import Estimate
from theory.runs.style import BLACK, BLUE, GRAY, STYLE

LEAST = 1e-4
"""Least share of the task that is drawn as lost."""


def draw_rows(axes: Axes, estimates: list[Estimate], color: str, shift: float, label: str) -> None:
    """Draw one estimate a row, with its interval, as far as it lies on the axis."""
    values, lows, highs = np.array(estimates).T
    errors = np.maximum([values - lows, highs - values], 0)
    errors = np.where(np.isfinite(errors), errors, 0)
    places = np.arange(len(estimates)) + shift
    axes.errorbar(values, places, xerr=errors, fmt="o", color=color, ecolor=color, elinewidth=1, ms=5, label=label)


def draw_kept(record: Record) -> Figure:
    """Draw what every defence and its control keep of the trait, left, and lose of the task, right."""
    results, labels = record.results, list(record.config["arms"])
    lifts = {label: results[f"lift/{label}"] for label in labels}
    pairs, place = record.config["controls"], labels.index(STANDARD)
    usual = 1 - results["distances"][:, place].mean() / results["untrained"][:, place].mean()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        sides = ((list(pairs), BLUE, -0.14, "defence"), (list(pairs.values()), GRAY, 0.14, "its control (in brackets)"))
        for names, color, shift, label in sides:
            traits, tasks = zip(*(kept(labels, results, lifts, name) for name in names), strict=True)
            draw_rows(left, list(traits), color, shift, label)
            lost = [Estimate(*np.maximum(LEAST, [1 - task.value, 1 - task.high, 1 - task.low])) for task in tasks]
            draw_rows(right, lost, color, shift, label)
            way = 1 - np.sqrt(1 - usual * np.clip([task.value for task in tasks], 0, 1))
            ends = {"label": "as much of the task lost on part of the way"} if label == "defence" else {}
            places = np.arange(len(names)) + shift
            left.plot(way / (1 - np.sqrt(1 - usual)), places, "|", color=BLACK, ms=9, mew=1.5, **ends)
        left.axvline(0, color=BLACK, lw=0.8)
        left.axvline(1, color=BLACK, lw=0.8, ls=":")
        left.set_yticks(range(len(pairs)), [f"{label}\n({control})" for label, control in pairs.items()])
        left.invert_yaxis()
        left.set_xlabel("trait kept: share of the usual lift")
        right.set_xscale("log")
        right.set_xlabel(f"task lost: share of the usual fall\nof the KL to the teacher ({LEAST:g}: or less)")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
        text = (
            f"{record.config['question']}\n({record.config['num_seeds']} base models: ratios of means, 95 % intervals)"
        )
        figure.suptitle(text, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure
