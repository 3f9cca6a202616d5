"""The bridge as a picture: first steps, long descents, the limit in which the theory is exact, and channels."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.linearized.orders import added_alignment, added_changes, leading_alignment, leading_changes, size
from llm_bridge.linearized.quantities import SCALES
from llm_bridge.linearized.results import GROUPS, IMITATED, INITS, STRANGER, TARGETS, Results
from llm_bridge.linearized.tables import group_shares
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, STYLE, new_figure, stated

LOOKS: dict[str, dict[str, Any]] = {
    "shared": {"color": BLUE, "marker": "o"},
    "matched": {"color": GREEN, "marker": "^"},
    "stranger": {"color": ORANGE, "marker": "s"},
}
"""Color and marker of each init."""

GROUP_LOOKS: dict[str, dict[str, Any]] = {
    "layers": {"color": GREEN, "marker": "o"},
    "embedding": {"color": PURPLE, "marker": "^"},
    "norm": {"color": GRAY, "marker": "v"},
    "head": {"color": ORANGE, "marker": "D"},
}
"""The same for each group of parameters."""


def draw_compare(record: Record) -> Figure:
    """Draw predictions and students of a record of `compare`; of a larger model, first steps and descents."""
    panels = [draw_first_steps, draw_courses]
    if record.config["extent"].get("whole", True):
        panels += [draw_limit, draw_channels]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, len(panels) // 2, 4.9, 3.7)
        for panel, place in zip(panels, axes, strict=True):
            panel(place, record)
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
        with_seeds(axes, places, cosines[:, row], label=f"{init} init", **LOOKS[init])
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set_xticks(range(len(TARGETS)), [f"{target.replace(' ', chr(10))}" for target in TARGETS])
    axes.set(xlim=(-0.5, len(TARGETS) - 0.5), xlabel="student imitates")
    axes.set_ylabel(r"cosine of $\Delta_S - \Delta_S(0)$ with $\Delta_T$")
    axes.set_title(stated("The first step goes the teacher's way from a shared init", record, "first-step"))
    seeds, one = len(cosines), "run" if "model" in record.config else "base model"
    axes.legend(loc="upper right", title=f"{seeds} {one}{'s' * (seeds > 1)}", title_fontsize=8)


def draw_courses(axes: Axes, record: Record) -> None:
    """Draw the rise of the trait's log-odds along a descent of every seed, predicted and measured."""
    results, times = record.results, record.config["extent"]["times"]
    measured = results["course/raw"] - results["course/idle"]
    for row, init in enumerate(INITS):
        look = {"color": LOOKS[init]["color"], "lw": 1}
        for seed, values in enumerate(measured[:, row, :, 0]):
            axes.plot(times, results["course/predicted"][seed, row, :, 0], "-", **look)
            axes.plot(times, results["course/first order"][seed, row, :, 0], ":", **look)
            axes.plot(times, values, ls="none", label=f"{init} init" if seed == 0 else None, **LOOKS[init])
    axes.plot([], [], "-", color=BLACK, label="predicted: linearized student")
    axes.plot([], [], ":", color=BLACK, label=r"predicted: first order, $t\alpha\nabla o\cdot b$")
    smallest = np.abs(measured[:, 0, 0, 0]).mean()
    axes.set_yscale("symlog", linthresh=10.0 ** np.ceil(np.log10(smallest)), linscale=0.8)
    low, high = axes.get_ylim()
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
    axes.set(xscale="log", yscale="log", ylim=(0.3 * least, 1e6))
    axes.set_xlabel(r"scale $s$ of what the teacher has learned; step's length over $\|\Delta_T\|$")
    axes.set_ylabel("|measured / predicted − 1|, median")
    axes.set_title(stated("Every prediction is exact in its limit", record, "first-step", "trait-change", "divergence"))
    axes.legend(loc="upper right", fontsize=7, labelspacing=0.2)


def draw_channels(axes: Axes, record: Record) -> None:
    """Draw through which of the student's groups the trait comes, for all that can be imitated and both inits."""
    shares = group_shares(record.results)
    places = np.arange(len(IMITATED))
    for side, init in enumerate(("shared", "stranger")):
        row = INITS.index(init)
        for number, (group, look) in enumerate(GROUP_LOOKS.items()):
            values, shift = shares[:, row, :, GROUPS.index(group)], 0.4 * (side - 0.5) + 0.06 * (number - 1.5)
            filled = {} if init == "shared" else {"mfc": "white"}
            label = f"student's {group}" if init == "shared" else None
            with_seeds(axes, places + shift, values, label=label, **look, **filled)
        total = shares[:, row].sum(axis=-1).mean(axis=0)
        axes.hlines(total, places + 0.4 * (side - 0.5) - 0.15, places + 0.4 * (side - 0.5) + 0.15, color=BLACK, lw=2)
    axes.plot([], [], "-", color=BLACK, lw=2, label="all groups")
    axes.plot([], [], "o", color=BLACK, label="filled: shared init")
    axes.plot([], [], "o", color=BLACK, mfc="white", label="open: stranger")
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set_xticks(places, [imitated.replace(" ", "\n") for imitated in IMITATED])
    axes.set(xlim=(-0.5, len(IMITATED) - 0.5), xlabel="student imitates")
    axes.set_ylabel(r"share of the shared init's $B(v, \Delta_T)$")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.4 * (high - low))
    axes.set_title("Through which parameters the trait comes")
    axes.legend(loc="upper left", fontsize=7, ncols=3, labelspacing=0.2, columnspacing=1)
