"""Pictures of studies and sweeps: every point with its interval, what others reported, and the level of chance."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_mnist.data import TITLES
from mlp_mnist.pictures import CHANCE_LEVEL, note_seeds
from theory.runs.records import Record
from theory.runs.statistics import mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, STYLE, new_figure

UNDEFINED: Any = {"textcoords": "offset points", "color": GRAY, "fontsize": 7}
"""How it is written that there is no cosine."""


def draw_sweep(record: Record) -> Figure:
    """Draw a sweep: over one field as points with intervals, over two as a map."""
    labels = list(record.config["points"])
    with mpl.rc_context(STYLE):
        if "columns" in record.config:
            figure, (axes,) = new_figure(1, 1, 5.4, 3.6)
            draw_map(axes, record)
        elif record.config["places"]:
            figure, axes = new_figure(2, 1, 4.6, 3.4)
            draw_curve(axes[0], record, "accuracy")
            draw_curve(axes[1], record, "cosine")
        else:
            figure, axes = new_figure(2, 1, 4.6, 1.2 + 0.28 * len(labels))
            draw_list(axes[0], record, "accuracy")
            draw_list(axes[1], record, "cosine")
            axes[1].set_yticklabels([])
        if "columns" not in record.config:
            varied = "" if record.config["places"] else f"\n(varied: {record.config['axis']})"
            text = f"{record.config['question']} ({TITLES[record.config['data']]}){varied}"
            figure.suptitle(text, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=6)
    return figure


def estimates(record: Record, quantity: str, labels: Sequence[str]) -> np.ndarray:
    """Average over seeds: mean and both ends of its interval, which are the mean of a single seed.

    It is the interval that is judged where chance is predicted, else the one of 95 %.
    """
    judged = {
        f"accuracy/{verdict['check'].rpartition(': ')[2]}": [*map(float, (verdict["measured"], *verdict["interval"]))]
        for verdict in record.verdicts
        if verdict["claim"] == "different-initialization"
    }
    names = [f"{quantity}/{label}" for label in labels]
    table = np.array([judged.get(name) or mean_estimate(record.results[name]) for name in names])
    return np.where(np.isinf(table), table[:, :1], table)


def is_control(record: Record, label: str) -> bool:
    """Say whether a point shares nothing with the teacher."""
    point = record.config["points"][label]
    return point["shared"] == "nothing" or point["correlation"] == 0


def reported(record: Record) -> list[tuple[str, float]]:
    """List the accuracies that others reported."""
    return [(each["point"], (each["low"] + each["high"]) / 2) for each in record.config["findings"] if not each["than"]]


def split_lines(places: Iterable[float], labels: Iterable[str]) -> list[list[tuple[float, str]]]:
    """Split the points that have a place into lines: where a place falls back, a new line starts."""
    lines: list[list[tuple[float, str]]] = []
    for place, label in zip(places, labels, strict=False):
        if not lines or place <= lines[-1][-1][0]:
            lines.append([])
        lines[-1].append((place, label))
    return lines


def draw_curve(axes: Axes, record: Record, quantity: str) -> None:
    """Draw points along a logarithmic axis, and strangers as levels."""
    lines = split_lines(record.config["places"], record.config["points"])
    place_of = {label: place for line in lines for place, label in line}
    for line, color in zip(lines, (BLUE, PURPLE), strict=False):
        places, labels = zip(*line, strict=True)
        name = "student" if color == BLUE else f"student, {labels[0].rsplit(', ', 1)[0]}"
        mean, low, high = estimates(record, quantity, labels).T
        axes.errorbar(places, mean, (mean - low, high - mean), fmt="o-", color=color, capsize=3, label=name)
        for place in np.array(places)[np.isnan(mean)]:
            axes.annotate("not defined", (place, 0), (5, 3), rotation=90, **UNDEFINED)
        if quantity == "accuracy":
            for place, label in line:
                values = record.results[f"accuracy/{label}"]
                axes.plot(np.full(len(values), place), values, ".", color=color, ms=2.5, alpha=0.3)
    places, labels = zip(*lines[0], strict=True)
    if quantity == "accuracy":
        axes.plot(places, estimates(record, "teacher", labels)[:, 0], "s--", color=BLACK, ms=3, label="teacher")
        if found := [(place_of[label], value) for label, value in reported(record) if label in place_of]:
            axes.plot(*zip(*found, strict=True), "D", color=GREEN, ms=4, label="reported by others")
    strangers = [label for label in record.config["points"] if label not in place_of and is_control(record, label)]
    for label, style in zip(strangers, ("--", ":"), strict=False):
        value, low, high = estimates(record, quantity, [label])[0]
        axes.axhspan(low, high, color=ORANGE, alpha=0.15)
        axes.axhline(value, color=ORANGE, ls=style, label=label.replace(", ", " at "))
    axes.set_xscale("log")
    axes.set_xticks(places, labels)
    axes.minorticks_off()
    axes.set_xlabel(record.config["axis"])
    finish(axes, record, quantity)


def draw_list(axes: Axes, record: Record, quantity: str) -> None:
    """Draw points below each other."""
    labels = list(record.config["points"])
    for place, label in enumerate(labels):
        color, marker = (ORANGE, "s") if is_control(record, label) else (BLUE, "o")
        values = record.results[f"{quantity}/{label}"]
        mean, low, high = estimates(record, quantity, [label])[0]
        axes.plot(values, np.full(len(values), place), ".", color=color, ms=2.5, alpha=0.3)
        if np.isnan(mean):
            axes.annotate("not defined: another network", (0, place), (5, -3), **UNDEFINED)
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt=marker, color=color, capsize=3)
    if quantity == "accuracy":
        axes.plot(
            estimates(record, "teacher", labels)[:, 0], range(len(labels)), "|", color=BLACK, ms=9, label="teacher"
        )
        if found := reported(record):
            values, places = [value for _, value in found], [labels.index(label) for label, _ in found]
            axes.plot(values, places, "D", color=GREEN, ms=4, label="reported by others")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    finish(axes, record, quantity, along="x")


def finish(axes: Axes, record: Record, quantity: str, along: str = "y") -> None:
    """Label a panel."""
    line = axes.axhline if along == "y" else axes.axvline
    if quantity == "accuracy":
        line(CHANCE_LEVEL, color=GRAY, lw=0.8, ls=":", label="chance")
        axes.set(**{f"{along}label": "test accuracy", f"{along}lim": (0, 1.02)})
        note_seeds(axes, record, "95 % intervals, as judged where chance is predicted")
    else:
        line(0, color=GRAY, lw=0.8, ls=":")
        axes.set(**{f"{along}label": "cosine with the teacher's displacement"})


def draw_map(axes: Axes, record: Record) -> None:
    """Draw the mean accuracy over two fields."""
    rows, columns = record.config["rows"], record.config["columns"]
    labels = list(record.config["points"])[: len(rows) * len(columns)]
    means = estimates(record, "accuracy", labels)[:, 0].reshape(len(rows), len(columns))
    image = axes.imshow(means, vmin=0.1, vmax=1, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(means):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else BLACK)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.spines[:].set_visible(False)
    vertical, horizontal = record.config["axis"].split(" × ")
    axes.set(xlabel=horizontal, ylabel=vertical)
    axes.set_title(f"Accuracy of a student by auxiliary logits ({TITLES[record.config['data']]})", pad=14)
    note_seeds(axes, record)
    axes.figure.colorbar(image, ax=axes, label="test accuracy")
