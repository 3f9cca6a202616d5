"""The bridge as a picture: first steps, and the limit in which the theory is exact or, of a larger model, descents."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.linearized.orders import added_alignment, added_changes, leading_alignment, leading_changes, size
from llm_bridge.linearized.quantities import SCALES
from llm_bridge.linearized.results import INITS, STRANGER, TARGETS, Results
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, STYLE, new_figure, stated

LOOKS: dict[str, dict[str, Any]] = {
    "shared": {"color": BLUE, "marker": "o", "label": "shared init"},
    "matched": {"color": GREEN, "marker": "^", "label": "same function, units rescaled"},
    "stranger": {"color": ORANGE, "marker": "s", "label": "another init"},
}
"""Color, marker and name of each init."""


def draw_compare(record: Record) -> Figure:
    """Draw predictions and students of a record of `compare`; of a larger model, descents instead of limits."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(2, 1, 4.6, 4.0)
        draw_first_steps(left, record)
        (draw_limit if record.config["extent"].get("whole", True) else draw_courses)(right, record)
    return figure


def with_seeds(axes: Axes, places: Any, values: np.ndarray, **looks: Any) -> None:
    """Draw means over seeds, and every seed faintly."""
    for each in values if len(values) > 1 else ():
        axes.plot(places, each, ls="none", alpha=0.45, ms=3, **{**looks, "label": None})
    axes.plot(places, values.mean(axis=0), ls="none", **looks)


def draw_first_steps(axes: Axes, record: Record) -> None:
    """Draw cosines of the first step with what the teacher has learned, for every target and init."""
    cosines = record.results["directions/cosines"][..., 0]
    for row, init in enumerate(INITS):
        places = np.arange(len(TARGETS)) + 0.24 * (row - 1)
        with_seeds(axes, places, cosines[:, row], **LOOKS[init])
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set_xticks(range(len(TARGETS)), [f"{target.replace(' ', chr(10))}" for target in TARGETS])
    axes.set(xlim=(-0.5, len(TARGETS) - 0.5), xlabel="student imitates")
    axes.set_ylabel(r"cosine of $\Delta_S - \Delta_S(0)$ with $\Delta_T$")
    text = "From a shared init the first step on number\ntokens goes the teacher's way"
    seeds, one = len(cosines), "run" if "model" in record.config else "base model"
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
    axes.legend(loc="upper right")
    axes.set_title(stated(f"{text} ({seeds} {one}{'s' * (seeds > 1)})", record, "first-step"))


def draw_courses(axes: Axes, record: Record) -> None:
    """Draw the rise of the trait's log-odds along a descent of every seed, predicted and measured."""
    results, times = record.results, record.config["extent"]["times"]
    measured = results["course/raw"] - results["course/idle"]
    for row, init in enumerate(INITS):
        look, marks = {"color": LOOKS[init]["color"], "lw": 1}, LOOKS[init]
        for seed, values in enumerate(measured[:, row, :, 0]):
            axes.plot(times, results["course/predicted"][seed, row, :, 0], "-", **look)
            axes.plot(times, results["course/first order"][seed, row, :, 0], ":", **look)
            axes.plot(times, values, ls="none", **(marks if seed == 0 else {**marks, "label": None}))
    axes.plot([], [], "-", color=BLACK, label="predicted: linearized student")
    axes.plot([], [], ":", color=BLACK, label=r"predicted: first order, $t\alpha\nabla o\cdot b$")
    linear = 10.0 ** np.ceil(np.log10(np.abs(measured[:, 0, 0, 0]).mean()))
    axes.set_yscale("symlog", linthresh=linear, linscale=0.8)
    low, high = axes.get_ylim()
    decades = 10.0 ** np.arange(np.log10(linear), np.log10(high))
    axes.set_yticks([tick for tick in (*-decades, 0, *decades) if tick > low])
    axes.set_ylim(low, 30 * high)
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set(xscale="log", xlabel="steps of gradient descent on number tokens")
    axes.set_ylabel(f"log-odds of “{record.config['traits'][0]}”,\nbeyond an untaught teacher's student")
    axes.set_title("The trait's rise, predicted and measured")
    axes.legend(loc="upper left", labelspacing=0.25)


def relative(remainder: np.ndarray, leading: np.ndarray) -> np.ndarray:
    """Size of a remainder over its leading term at every scale, median over all else."""
    ratio = np.abs(remainder / leading)
    return np.median(ratio.reshape(-1, ratio.shape[-1]), axis=0)


def limits(results: Results) -> dict[str, np.ndarray]:
    """Say how far each prediction is from what it predicts, relative, at every scale; the last one is the control."""
    scales, form = np.array(SCALES), leading_alignment(results, "numbers")
    predicted, changes = leading_changes(results, "numbers"), added_changes(results, "numbers")
    nats, quadratic = results["divergence/nats"], results["divergence/curvature"][..., None] * scales**2 / 2
    linear = results["sizes/rates"][..., None] * results["sizes/slopes"][:, :, :1]
    drifting = results["steps/numbers/alignment"][:, STRANGER] - form[:, STRANGER]
    return {
        r"alignment over $sB(\Delta_T, \Delta_T)$": relative(added_alignment(results, "numbers") - form, form),
        r"words' change over $s\alpha B(v, \Delta_T)$": relative(size(changes - predicted), size(predicted)),
        r"KL over $s^2A/2$": relative(nats - quadratic, quadratic),
        r"words' change over $\alpha\nabla o\cdot\Delta_S$": relative(
            size(results["sizes/changes"] - linear), size(linear)
        ),
        "control: stranger, untaught not subtracted": relative(drifting, form[:, STRANGER]),
    }


def draw_limit(axes: Axes, record: Record) -> None:
    """Draw how predictions become exact for younger teachers and shorter steps."""
    looks = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (GRAY, "x"))
    curves = limits(record.results)
    for (name, values), (color, marker) in zip(curves.items(), looks, strict=True):
        line = "--" if name.startswith("control") else "-"
        axes.plot(SCALES, values, line, color=color, marker=marker, lw=1, label=name)
    least = min(values[-1] for values in curves.values())
    axes.plot(SCALES, 0.5 * least * np.array(SCALES) / SCALES[-1], ":", color=BLACK, label="slope 1: second order")
    axes.set(xscale="log", yscale="log", ylim=(0.3 * least, 1e7))
    axes.set_xlabel("scale $s$ of what the teacher has learned;\nstep's length over $\\|\\Delta_T\\|$")
    axes.set_ylabel("|measured / predicted − 1|, median")
    axes.legend(loc="upper right", fontsize=7.5, labelspacing=0.2)
    axes.set_title(stated("Every prediction is exact in its limit", record, "first-step", "trait-change", "divergence"))
