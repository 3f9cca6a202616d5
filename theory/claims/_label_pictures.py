r"""Claim 8 as pictures: the $\sqrt{N}$ law of sampled labels, what nats buy, and how one label's moments drift."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from theory.claim import Panel, any_visible
from theory.data_sets import LABEL_STEPS, MANY_LABELS, NUM_LABELS, REPETITIONS, cells, signal_to_noise
from theory.runs.checks import Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SHARE = 300
"""Data sets behind a point of a rate, at least."""


def draw_signal(axes: "Axes", evidence: Evidence) -> None:
    r"""The signal-to-noise ratio of the student's step over the number of labels, in the first case."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    sizes = np.array(NUM_LABELS)
    for step, color, marker in ((1e-1, GREEN, "^"), (1e-2, BLUE, "o"), (1e-3, ORANGE, "s")):
        below = max(other for other in LABEL_STEPS if other < step)
        drawn = cells(evidence.first, smallest=below, largest=step)
        value, low, high = np.array([signal_to_noise(cell, 0.95) for cell in drawn]).T
        predicted = np.array([np.sqrt(2 * cell.nats).mean() for cell in drawn])
        seen = predicted > (high - low) / 2
        reach = np.array([value - low, high - value])[:, seen]
        axes.plot(sizes, predicted, color=BLACK, lw=0.9)
        look = {"color": color, "fmt": marker, "capsize": 2, "lw": 1, "label": rf"$\epsilon = {step:g}$ (95 %)"}
        axes.errorbar(sizes[seen], value[seen], yerr=reach, **look)
    axes.plot([], [], color=BLACK, lw=0.9, label=r"predicted $\epsilon\sqrt{AN} = \sqrt{2N\,\mathrm{KL}}$")
    axes.axhline(1, color=BLACK, lw=0.8, ls=":", label="signal as large as the noise")
    axes.set(xscale="log", yscale="log", xlim=(0.7, 1.4 * sizes[-1]), ylim=(5e-3, 60))
    axes.set(xlabel="sampled labels $N$", ylabel=r"signal-to-noise of $\Delta_S\cdot\Delta_T$")
    axes.set_title(stated(r"Sampled labels: the signal emerges as $\sqrt{N}$", evidence))
    axes.legend(loc="upper left")


def draw_information(axes: "Axes", evidence: Evidence) -> None:
    """How often the student's step has a positive alignment, over the information in its data set."""
    from scipy import stats

    from theory.runs.statistics import rate_estimate
    from theory.runs.style import BLACK, BLUE, stated

    cases = evidence.proper.values()
    drawn = [cell for case in cases for cell in cells(case, least=MANY_LABELS, largest=max(LABEL_STEPS))]
    nats = np.concatenate([np.repeat(cell.nats, REPETITIONS) for cell in drawn])
    positive = np.concatenate([cell.positive.ravel() for cell in drawn])
    edges = np.geomspace(1e-3, 10, 29)
    look: dict[str, Any] = {"fmt": "o", "color": BLUE, "capsize": 2, "lw": 1}
    for low, high in pairwise(edges):
        inside = (nats >= low) & (nats < high)
        if inside.sum() < LEAST_SHARE:
            continue
        share = rate_estimate(positive[inside], 0.95)
        reach = [[share.value - share.low], [share.high - share.value]]
        axes.errorbar(np.sqrt(low * high), share.value, yerr=reach, **look)
    line = np.geomspace(edges[0], edges[-1], 200)
    axes.errorbar([], [], yerr=[], label="drawn data sets (95 %)", **look)
    axes.plot(line, stats.norm.cdf(np.sqrt(2 * line)), color=BLACK, label=r"predicted $\Phi(\sqrt{2N\,\mathrm{KL}})$")
    axes.axhline(0.5, color=BLACK, lw=0.8, ls="--", label="chance")
    for sigmas in (1, 2, 3):
        axes.axvline(sigmas**2 / 2, color=BLACK, lw=0.6, ls=":")
        axes.annotate(rf" $k = {sigmas}$", (sigmas**2 / 2, 0.46), fontsize=8)
    axes.set(xscale="log", ylim=(0.45, 1.02), xlabel=r"nats in the data set, $N\,\mathrm{KL}$")
    axes.set(ylabel=r"share with $\Delta_S\cdot\Delta_T > 0$")
    axes.set_title(stated("A data set of $k^2/2$ nats transmits at $k$ standard deviations", evidence))
    axes.legend(loc="upper left")


def draw_drift(axes: "Axes", evidence: Evidence) -> None:
    """One label's exact mean and variance over their leading terms, and the predicted drift, in the first case."""
    from theory.runs.style import BLACK, BLUE, ORANGE, STEP_LABEL, stated

    one, steps = evidence.first, np.array(evidence.settings.teacher_steps)
    curvature, sizes = one.curvature[one.visible, None], one.steps[one.visible]

    def plot(name: str, moment: np.ndarray, drift: np.ndarray, color: str, marker: str) -> None:
        low, middle, high = np.quantile(moment[one.visible] / curvature, (0.05, 0.5, 0.95), axis=0)
        axes.semilogx(steps, middle, marker, color=color, label=f"{name}: median and 90 % of seeds")
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        axes.semilogx(steps, np.median(1 + sizes * drift[one.visible, None] / curvature, axis=0), color=BLACK, lw=0.9)

    plot("variance / $A$", one.variance, one.variance_drift, BLUE, "o")
    plot(r"mean / $\epsilon A$", one.mean / one.steps, one.mean_drift, ORANGE, "s")
    axes.plot([], [], color=BLACK, lw=0.9, label="predicted, with its first-order drift")
    axes.set(xlabel=STEP_LABEL, ylabel="exact moment of one label / leading term", ylim=(0.4, 2.2), xlim=(7e-5, 1.4))
    axes.set_title(stated("One label's mean and variance are as predicted until they drift", evidence))
    axes.legend(loc="upper left")


MOMENTS = ("curvature", "mean_drift", "variance_drift", "visible")
"""What all pictures show."""

OF_DATA_SETS = (*MOMENTS, "kurtosis", "label_steps", "label_information", "average", "spread", "positive")
"""What pictures of data sets show."""


PANELS = {
    "sampled-labels": Panel(draw=draw_signal, shows=OF_DATA_SETS, needs=any_visible),
    "label-drift": Panel(draw=draw_drift, shows=(*MOMENTS, "steps", "mean", "variance"), needs=any_visible),
    "label-information": Panel(draw=draw_information, shows=OF_DATA_SETS, needs=any_visible),
}
"""By name."""
