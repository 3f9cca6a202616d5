"""The picture of a study: every arm's lift, and how well its students imitate."""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_bridge.studies.catalog import STUDIES
from llm_bridge.studies.kept import draw_kept
from llm_bridge.studies.study import STANDARD, STRANGER
from theory.runs.records import Record
from theory.runs.statistics import joint_confidence, mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, STYLE

KINDS = {
    "arm": (BLUE, "o", "shared init"),
    "random": (GRAY, "D", "random subset"),
    "stranger": (ORANGE, "s", "another init"),
}
"""Color, marker and name of each kind of arm."""


def draw_values(axes: Axes, record: Record, values: list[Float[np.ndarray, " runs"]], *, ratios: bool = False) -> None:
    """Draw every run of every arm, with the mean and its interval, arms below each other.

    Ratios are drawn with geometric means on a logarithmic axis; of lifts, those that are judged hold together.
    """
    named: set[str] = set()
    for place, (label, kind, runs) in enumerate(
        zip(record.config["arms"], record.config["kinds"], values, strict=True)
    ):
        color, marker, name = KINDS[kind]
        confidence = joint_confidence(2, 0.95) if label in {STANDARD, STRANGER} else 0.95
        estimate = np.exp(mean_estimate(np.log(runs))) if ratios else np.array(mean_estimate(runs, confidence))
        center, low, high = np.where(np.isfinite(estimate), estimate, estimate[0])
        axes.plot(runs, place + np.linspace(0.12, 0.3, len(runs)), ".", color=color, ms=3, alpha=0.6)
        axes.errorbar(
            center,
            place - 0.08,
            xerr=[[center - low], [high - center]],
            fmt=marker,
            color=color,
            ecolor=BLACK,
            capsize=2.5,
            lw=1.1,
            label=None if name in named else name,
        )
        named.add(name)
    axes.set_xscale("log" if ratios else "linear")
    axes.axvline(1 if ratios else 0, color=BLACK, lw=0.8)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(axis="y", color="#E6E6E6", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def draw_study(record: Record) -> Figure:
    """Draw a study: left what students come to like, right how near they come to their teachers."""
    if "controls" in record.config:
        return draw_kept(record)
    labels, results = list(record.config["arms"]), record.results
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 1.5 + 0.36 * len(labels)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
        draw_values(left, record, [results[f"lift/{label}"] for label in labels])
        usual = STUDIES[record.config["study"]].usual
        left.set_yticks(range(len(labels)), [label.replace(STANDARD, usual) for label in labels])
        left.set(xlabel="lift of the teacher's trait (log-odds, nats)")
        left.set_ylabel(record.config["axis"].partition(" (")[0])
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=len(KINDS))
        distances, untrained = (results[name].mean(axis=-1) for name in ("distances", "untrained"))
        draw_values(right, record, list((distances / untrained).T), ratios=True)
        right.set(xlabel="KL to the teacher on held-out numbers,\nas a share of that before training")
        intervals = "95 % interval; of the first two lifts the intervals as judged"
        text = f"{record.config['question']}\n({record.config['num_seeds']} base models: each, mean, {intervals})"
        figure.suptitle(text, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure
