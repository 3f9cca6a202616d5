r"""Claim 8 as pictures: the $\sqrt{N}$ law of sampled labels, what nats buy, and how one label's moments drift."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from theory.claims.sampled_labels.data_sets import LABEL_STEPS, NUM_LABELS, SampledLabels
from theory.claims.sampled_labels.signal_to_noise import MANY_LABELS, cells, signal_to_noise
from theory.runs.records import Record
from theory.runs.statistics import rate_estimate
from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, STEP_LABEL, stated

LOOKS = {1e-1: (GREEN, "^"), 1e-2: (BLUE, "o"), 1e-3: (ORANGE, "s")}
"""Color and marker of each of the teacher's step sizes drawn."""

LEAST_SHARE = 300
"""Data sets behind a point of a rate, at least."""


def sampled_cases(record: Record) -> list[SampledLabels]:
    """Read the measurements.

    Args:
        record: A record with claim 8.

    Returns:
        Each case's.
    """
    names = [name.rsplit("/", 1)[0] for name in record.results if name.startswith("sampled-labels/")]
    values: list[dict[str, Any]] = [
        {field: record.results[f"{case}/{field}"] for field in SampledLabels._fields} for case in dict.fromkeys(names)
    ]
    return [SampledLabels(**fields) for fields in values]


def draw_sampled_labels(axes: Axes, record: Record) -> None:
    r"""Draw the signal-to-noise ratio of the student's step over the number of labels.

    Args:
        axes: Where to draw.
        record: A record with claim 8.
    """
    sampled = sampled_cases(record)[0]
    sizes = np.array(NUM_LABELS)
    for step, (color, marker) in LOOKS.items():
        below = max(other for other in LABEL_STEPS if other < step)
        drawn = cells(sampled, smallest=below, largest=step)
        value, low, high = np.array([signal_to_noise(cell, 0.95) for cell in drawn]).T
        predicted = np.array([np.sqrt(2 * cell.nats).mean() for cell in drawn])
        seen = predicted > (high - low) / 2
        reach = np.array([value - low, high - value])[:, seen]
        axes.plot(sizes, predicted, color=BLACK, lw=0.9)
        look = {"color": color, "fmt": marker, "capsize": 2, "lw": 1, "label": rf"$\epsilon = {step:g}$"}
        axes.errorbar(sizes[seen], value[seen], yerr=reach, **look)
    axes.plot([], [], color=BLACK, lw=0.9, label=r"predicted $\epsilon\sqrt{AN} = \sqrt{2N\,\mathrm{KL}}$")
    axes.axhline(1, color=BLACK, lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log", xlim=(0.7, 1.4 * sizes[-1]), ylim=(5e-3, 60))
    axes.set(xlabel="sampled labels $N$", ylabel=r"signal-to-noise of $\Delta_S\cdot\Delta_T$")
    axes.set_title(stated(r"Sampled labels: the signal emerges as $\sqrt{N}$", record, "sampled-labels"))
    axes.legend(loc="upper left")


def draw_label_information(axes: Axes, record: Record) -> None:
    """Draw how often the student's step has a positive alignment, over the information in its data set.

    Args:
        axes: Where to draw.
        record: A record with claim 8.
    """
    drawn = [
        cell for case in sampled_cases(record) for cell in cells(case, least=MANY_LABELS, largest=max(LABEL_STEPS))
    ]
    nats = np.concatenate([np.repeat(cell.nats, cell.alignment.shape[1]) for cell in drawn])
    positive = np.concatenate([cell.alignment.ravel() > 0 for cell in drawn])
    edges = np.geomspace(1e-3, 10, 29)
    for low, high in pairwise(edges):
        inside = (nats >= low) & (nats < high)
        if inside.sum() < LEAST_SHARE:
            continue
        share = rate_estimate(positive[inside], 0.95)
        reach = [[share.value - share.low], [share.high - share.value]]
        axes.errorbar(np.sqrt(low * high), share.value, yerr=reach, fmt="o", color=BLUE, capsize=2, lw=1)
    line = np.geomspace(edges[0], edges[-1], 200)
    axes.errorbar([], [], yerr=[], fmt="o", color=BLUE, capsize=2, lw=1, label="drawn data sets (95 %)")
    axes.plot(line, stats.norm.cdf(np.sqrt(2 * line)), color=BLACK, label=r"predicted $\Phi(\sqrt{2N\,\mathrm{KL}})$")
    for sigmas in (1, 2, 3):
        axes.axvline(sigmas**2 / 2, color=BLACK, lw=0.6, ls=":")
        axes.annotate(rf"${sigmas}\sigma$", (sigmas**2 / 2, 0.47), ha="center", fontsize=8)
    axes.set(xscale="log", ylim=(0.45, 1.02), xlabel=r"nats in the data set, $N\,\mathrm{KL}$")
    axes.set(ylabel=r"share with $\Delta_S\cdot\Delta_T > 0$")
    axes.set_title(stated("$k^2/2$ nats transmit at $k$ standard deviations", record, "sampled-labels"))
    axes.legend(loc="upper left")


def draw_label_drift(axes: Axes, record: Record) -> None:
    r"""Draw one label's exact mean and variance over their leading terms, and the predicted drift.

    Args:
        axes: Where to draw.
        record: A record with claim 8.
    """
    sampled, steps = sampled_cases(record)[0], np.array(record.config["teacher_steps"])
    seen = sampled.visible
    curvature, sizes = sampled.curvature[seen, None], sampled.steps[seen]
    quantities = (
        ("variance / $A$", sampled.variance[seen] / curvature, sizes * sampled.variance_drift[seen, None], BLUE, "o"),
        (
            r"mean / $\epsilon A$",
            sampled.mean[seen] / (sizes * curvature),
            sizes * sampled.mean_drift[seen, None],
            ORANGE,
            "s",
        ),
    )
    for name, exact, drift, color, marker in quantities:
        low, middle, high = np.quantile(exact, (0.05, 0.5, 0.95), axis=0)
        axes.semilogx(steps, middle, marker, color=color, label=f"{name}: median and 90 % of seeds")
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        axes.semilogx(steps, np.median(1 + drift / curvature, axis=0), color=BLACK, lw=0.9)
    axes.plot([], [], color=BLACK, lw=0.9, label="predicted, with its first-order drift")
    axes.set(xlabel=STEP_LABEL, ylabel="exact moment of one label / leading term", ylim=(0.4, 2.2), xlim=(7e-5, 1.4))
    axes.set_title(stated("One label's mean and variance, up to where they drift", record, "sampled-labels"))
    axes.legend(loc="upper left")
