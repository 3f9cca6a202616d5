"""Pictures of the six arms, of the kinds of inits and of speed: every seed as a dot, means with their intervals."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_mnist.arms import COMPARED_INITS, PUBLISHED
from mlp_mnist.data import TITLES
from mlp_mnist.protocol import is_published, read_protocol
from mlp_mnist.verdicts import JOINT_CONFIDENCE
from theory.runs.records import Record
from theory.runs.statistics import joint_confidence, mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STYLE, new_figure, stated

ARM_COLORS = (GRAY, BLACK, BLUE, BLUE, ORANGE, ORANGE)
"""Colors of the six arms."""

CHANCE_LEVEL = 0.1
"""One class in ten."""

JUDGED = "99 % intervals together, as judged"
"""What the intervals of arms and inits are."""

PRECISION_LOOKS = {"float32": (BLUE, "o-"), "bf16": (ORANGE, "s--")}
"""Color and line of each precision."""


def draw_demo(record: Record) -> Figure:
    """Draw the six arms like figure 10 of the paper."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 5.4, 3.4)
        draw_arms(axes, record)
    return figure


def draw_arms(axes: Axes, record: Record) -> None:
    """Draw the six arms into a panel.

    Args:
        axes: Where to draw.
        record: A record of `demo`.
    """
    values = [record.results[f"accuracy/{name}"] for name in PUBLISHED]
    draw_bars(axes, values, range(len(values)), ARM_COLORS, joint_confidence(3, JOINT_CONFIDENCE))
    axes.axhline(CHANCE_LEVEL, color=BLACK, lw=0.8, ls=":", label="chance")
    if is_published(record.config["data"], read_protocol(record.config["protocol"])):
        paper = [published.paper for published in PUBLISHED.values()]
        script = [published.script for published in PUBLISHED.values()]
        reach = [published.reach for published in PUBLISHED.values()]
        axes.plot(np.arange(6) - 0.3, paper, "_", color=GREEN, ms=9, mew=2, label="paper, 100 seeds")
        places = np.arange(6) + 0.3
        axes.errorbar(places, script, reach, fmt="D", ms=3, color=GREEN, capsize=2, label="published script, 40 seeds")
    axes.legend(loc="upper left", ncols=3, columnspacing=1.2)
    labels = [name.replace(" (", "\n(").replace("cross-", "cross-\n") for name in PUBLISHED]
    axes.set_xticks(range(len(labels)), labels, fontsize=8)
    axes.set(ylabel="test accuracy", ylim=(0, 1.18), yticks=np.arange(0, 1.1, 0.2))
    axes.set_xlabel("aux, all: the logits that are imitated; cross-model: from another init", fontsize=8)
    text = "From auxiliary logits on noise a shared init learns digits"
    axes.set_title(stated(text, record, "auxiliary-logits"), fontsize=9)
    note_seeds(axes, record, f"{JUDGED}; {TITLES[record.config['data']]}")


def draw_comparison(record: Record) -> Figure:
    """Draw accuracy and displacement cosine for each kind of init."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2, 1, 4.4, 3.4)
        draw_inits(axes[0], record, "accuracy")
        draw_inits(axes[1], record, "cosine")
    return figure


def draw_inits(axes: Axes, record: Record, quantity: str) -> None:
    """Draw one quantity for each kind of init into a panel.

    Args:
        axes: Where to draw.
        record: A record of `compare-inits`.
        quantity: `accuracy` or `cosine`.
    """
    confidence = joint_confidence(4, JOINT_CONFIDENCE)
    for offset, logits, color in ((-0.2, "aux", BLUE), (0.2, "all", ORANGE)):
        values = [record.results[f"{quantity}/{name} ({logits})"] for name in COMPARED_INITS]
        places = [place + offset for place in range(len(COMPARED_INITS))]
        label = {"aux": "auxiliary logits", "all": "all logits"}[logits]
        draw_bars(axes, values, places, [color] * len(COMPARED_INITS), confidence, width=0.36, label=label)
    axes.set_xticks(range(len(COMPARED_INITS)), COMPARED_INITS)
    axes.set_xlabel("student's init")
    if quantity == "accuracy":
        axes.axhline(CHANCE_LEVEL, color=BLACK, lw=0.8, ls=":", label="chance")
        axes.legend(loc="upper left", ncols=3, columnspacing=1.2)
        axes.set(ylabel="test accuracy", ylim=(0, 1.18), yticks=np.arange(0, 1.1, 0.2))
        text = "A stranger learns nothing from auxiliary logits"
        axes.set_title(stated(text, record, "different-initialization"))
        note_seeds(axes, record, f"{JUDGED}; {TITLES[record.config['data']]}")
    else:
        axes.axhline(0, color=BLACK, lw=0.8)
        axes.set(ylabel="cosine with the teacher's displacement", ylim=(None, 1), yticks=np.arange(0, 1.1, 0.2))
        axes.set_title(stated("A related init moves along with the teacher", record, "alignment"))


def draw_bars(
    axes: Axes,
    values: Sequence[np.ndarray],
    places: Sequence[float],
    colors: Sequence[str],
    confidence: float,
    *,
    width: float = 0.7,
    label: str | None = None,
) -> None:
    """Draw means as bars with their intervals, and every seed as a dot."""
    estimates = [mean_estimate(value, confidence) for value in values]
    means = [estimate.value for estimate in estimates]
    reach = [estimate.high - estimate.value if np.isfinite(estimate.high) else 0.0 for estimate in estimates]
    axes.bar(places, means, width, color=colors, alpha=0.35, label=label)
    axes.errorbar(places, means, reach, fmt="none", ecolor=BLACK, capsize=3, lw=1.2)
    for place, value, color in zip(places, values, colors, strict=True):
        spread = np.linspace(-width / 4, width / 4, len(value)) if len(value) > 1 else np.zeros(1)
        axes.plot(place + spread, value, ".", color=color, ms=2.5, alpha=0.7)


def note_seeds(axes: Axes, record: Record, intervals: str = "95 % intervals") -> None:
    """Write the number of seeds, and which intervals there are, into a corner."""
    text = f"{record.config['num_seeds']} seeds, {intervals}"
    axes.annotate(text, (1, 1), (0, -2), xycoords="axes fraction", textcoords="offset points", ha="right", fontsize=7)


def draw_benchmark(record: Record) -> Figure:
    """Draw the figure of a `benchmark` run: the medians of all repetitions, and their whole range."""
    seeds = np.array(record.config["num_seeds"])
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 5.4, 3.4)
        for name in record.config["precisions"]:
            color, line = PRECISION_LOOKS[name]
            shares, peak = 100 * record.results[f"share/{name}"], record.results[f"peak/{name}"].max()
            seconds = np.median(record.results[f"seconds/{name}"] / seeds, axis=0).min()
            label = f"{name}: {seconds:.2g} s a seed, peak {peak / 1e9:,.0f} GFLOP/s"
            axes.semilogx(seeds, np.median(shares, axis=0), line, color=color, label=label)
            axes.fill_between(seeds, shares.min(axis=0), shares.max(axis=0), color=color, alpha=0.15, lw=0)
        axes.axhline(100, color=BLACK, lw=0.8, ls=":", label="bare matrix product in the same run")
        axes.set_xticks(seeds, [str(count) for count in seeds])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="seeds, six arms each", ylabel="share of peak in %", ylim=(0, None), yticks=range(0, 101, 20))
        axes.set_title(f"How near to the machine's peak seeds run ({TITLES[record.config['data']]})")
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.16))
    return figure
