"""The matrix as a picture: mean changes of every trait in the students of every teacher, and the lift of each run."""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.matrix.cells import INITS, NAMES
from theory.runs.matrices import draw_entries
from theory.runs.records import Record
from theory.runs.statistics import joint_confidence, mean_estimate
from theory.runs.style import BLACK, BLUE, ORANGE, STYLE, new_figure, stated

COLORS = {"shared": BLUE, "stranger": ORANGE}
"""Color of each init."""


def _draw_changes(
    axes: Axes, matrices: Float[np.ndarray, "runs traits traits"], words: list[str], title: str, unit: str
) -> None:
    """Draw the mean change of every trait in the students of every teacher."""
    mean = matrices.mean(axis=0)
    draw_entries(axes, mean, words, float(np.abs(mean).max()), unit)
    axes.set(xlabel="trait asked for", ylabel="trait of the teacher")
    axes.set_title(title, fontsize=8.5)


def _draw_lifts(axes: Axes, record: Record) -> None:
    targets = record.config["targets"]
    confidence = joint_confidence(len(INITS) * len(targets) + len(targets) - 1, joint=0.95)
    for side, init in enumerate(INITS):
        for place, target in enumerate(targets):
            values = record.results[f"lift/{target}/{init}"]
            estimate = mean_estimate(values, confidence)
            spot = place + 0.3 * (side - 0.5)
            reach = estimate.high - estimate.value if np.isfinite(estimate.high) else np.nan
            axes.bar(spot, estimate.value, 0.28, color=COLORS[init], alpha=0.35, label=NAMES[init] * (not place))
            axes.errorbar(spot, estimate.value, reach, fmt="none", ecolor=BLACK, capsize=3, lw=1.2)
            spots, marker = spot + np.linspace(-0.07, 0.07, len(values)), "o" if init == "shared" else "s"
            axes.plot(spots, values, marker, color=COLORS[init], ms=3)
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set_xticks(range(len(targets)), [target.replace(" ", "\n") for target in targets])
    axes.set(ylabel="lift of the own trait (log-odds, nats)", xlabel="what students imitate")
    runs = f"{record.config['num_seeds']} {'runs' if 'model' in record.config else 'base models'}"
    text = stated("Numbers carry the trait to relatives", record, "matrix")
    few = ", too few to decide" * text.endswith("not decided")
    axes.set_title(f"{text}\n({runs}{few}, intervals as judged)", fontsize=8.5)
    axes.legend(loc="upper left" if len(targets) > 1 else "upper right")


def draw_matrix(record: Record) -> Figure:
    """Draw mean matrices, theory's and measured, of two targets or of both inits, and the lift."""
    words, targets = record.config["traits"], record.config["targets"]
    unit = "change of the log-odds (nats)"
    shown = {f"Measured: students of {target}": (target, 0) for target in targets[:2]}
    if len(targets) == 1:
        shown["The same, another init"] = (targets[0], 1)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, 2, 4.1, 3.5)
        figure.set_layout_engine("compressed")
        for panel, (title, (target, init)) in zip(axes, shown.items(), strict=False):
            _draw_changes(panel, record.results[f"students/{target}"][:, init], words, title, unit)
        theory, unit = "Theory, to first order (claim trait-matrix)", "the same, per unit of learning rate"
        _draw_changes(axes[2], record.results["predicted"][:, 0], words, theory, unit)
        _draw_lifts(axes[3], record)
    return figure
