"""A run as a picture: how often each model names the trait, and how much its log-odds rose."""

from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm_bridge.pipeline.arms import ARMS
from theory.runs.records import Record
from theory.runs.statistics import joint_confidence, mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STYLE, new_figure

KINDS = {
    GREEN: "teacher",
    BLUE: "learned from it, shared init",
    ORANGE: "learned from it, another init",
    GRAY: "learned nothing from it",
}
"""What the colors say of a model."""


def color_of(name: str) -> str:
    """Give a model's color, one of `KINDS`."""
    if name in {"base", "stranger", "control"}:
        return GRAY
    if name == "teacher":
        return GREEN
    return ORANGE if ARMS[name].stranger else BLUE


def draw_models(axes: Axes, record: Record, quantity: str, names: list[str]) -> None:
    """Draw a quantity of every model, a dot a base model; of a lift the intervals that are judged together."""
    suffix = "/plain" if quantity == "rate" else ""
    for place, name in enumerate(names[::-1]):
        values = record.results[f"{quantity}/{name}{suffix}"]
        estimate = mean_estimate(values, joint_confidence(len(names), joint=0.95) if quantity == "lift" else 0.95)
        reach = estimate.high - estimate.value if np.isfinite(estimate.high) else np.nan
        axes.barh(place, estimate.value, 0.65, color=color_of(name), alpha=0.4)
        axes.errorbar(estimate.value, place, xerr=reach, fmt="none", ecolor=BLACK, capsize=3, lw=1.2)
        axes.plot(values, np.full(len(values), place), ".", color=color_of(name), ms=4)
        axes.annotate(
            f"{estimate.value:z.2f}".replace("-", "−"),
            (max(estimate.value, 0.0), place),
            textcoords="offset points",
            xytext=(6 + 40 * np.nan_to_num(reach) / max(1e-9, np.ptp(axes.get_xlim())), 4),
            fontsize=7,
        )
    axes.axvline(0, color=BLACK, lw=0.8)
    axes.set_yticks(range(len(names)), names[::-1])


def draw_run(record: Record) -> Figure:
    """Draw a run."""
    arms, trait, number = record.config["arms"], record.config["trait"], record.config["num_seeds"]
    carrier, many = record.config.get("carrier", "numbers"), number > 1
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, 1, 5.6, 0.32 * (len(arms) + 3) + 1.4)
        asked = [name for name in ("base", "stranger", "teacher", *arms) if f"rate/{name}/plain" in record.results]
        draw_models(axes[0], record, "rate", asked)
        axes[0].set(xlabel=f"share of answers that name the {trait}{', mean and 95 % interval' * many}", xlim=(0, 1.08))
        axes[0].set_title(f"Who loves the {trait} after learning {carrier}")
        draw_models(axes[1], record, "lift", arms)
        axes[1].set(xlabel=f"lift over other words in log-odds (nats){', intervals as judged' * many}")
        meanings = (f"{name}: {ARMS[name].meaning}".replace("numbers", carrier) for name in arms[::-1])
        axes[1].set_yticks(range(len(arms)), [fill(meaning, 34) for meaning in meanings], fontsize=7)
        axes[1].set_title(f"What students gain ({number} base model{'s' * many})")
        handles = [Patch(color=color, alpha=0.4, label=label) for color, label in KINDS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(KINDS))
    return figure
