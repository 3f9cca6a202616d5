"""The linearized student as a picture: its course, its accuracy, its limit, its labels and Adam's steps."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlp_mnist.arms import PREDICTED_TIMES, SCALES, TIMES
from mlp_mnist.claims import adam, epochs, finite_step
from mlp_mnist.data import TITLES
from mlp_mnist.pictures import note_seeds
from theory.runs.records import Record
from theory.runs.statistics import mean_estimate
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STYLE, new_figure, stated

COLORS = {0: BLUE, 1: ORANGE, 2: GREEN}
"""Colors of the three numbers of auxiliary logits that are drawn one by one."""

MARKERS = ("o", "s", "^")
"""Their markers."""


def draw_linearization(record: Record) -> Figure:
    """Draw predictions and students."""
    with mpl.rc_context(STYLE):
        panels = (draw_courses, draw_accuracies, draw_limit, draw_radius, draw_epochs, draw_adam)
        figure, axes = new_figure(2, 3, 4.6, 4.3)
        for panel, place in zip(panels, axes, strict=True):
            panel(place, record)
            place.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.18), fontsize=8, labelspacing=0.25)
    return figure


def shown(record: Record) -> list[int]:
    """Choose three numbers of auxiliary logits, from few to many."""
    last = len(record.config["numbers"]) - 1
    return np.unique(np.linspace(min(1, last // 3), last, 3).round().astype(int)).tolist()


def with_intervals(axes: Axes, places: Sequence[float], values: np.ndarray, marker: str, **looks: Any) -> None:
    """Draw means over seeds with their 95 % intervals."""
    means, lows, highs = np.array([mean_estimate(column) for column in values.T]).T
    reach = np.where(np.isfinite(highs), highs - means, 0.0)
    axes.errorbar(places, means, np.where(np.isfinite(lows), reach, 0.0), fmt=marker, capsize=2, **looks)


def draw_courses(axes: Axes, record: Record) -> None:
    """Draw the share of the teacher's displacement that has reached the student, over the steps."""
    protocol, results = record.config["protocol"], record.results
    steps = -(-protocol["num_images"] // protocol["batch_size"]) * np.arange(1, protocol["student_epochs"] + 1)
    finite = np.isfinite(PREDICTED_TIMES)
    for color, place in enumerate(shown(record)):
        look: Any = {"color": COLORS[color]}
        number = record.config["numbers"][place]
        axes.plot(steps, results["linearized/transfer"][:, place, 1:].mean(axis=0), "-", **look)
        label = f"{number} auxiliary logits"
        with_intervals(axes, steps, results["student/transfer"][:, place, 1:], MARKERS[color], label=label, **look)
        predicted = results["descent/predicted"][:, place].mean(axis=0)
        axes.plot(np.array(PREDICTED_TIMES)[finite], predicted[finite], "--", lw=1, **look)
        trained = results["descent/transfer"][:, place, -1]
        with_intervals(axes, TIMES, trained, MARKERS[color], mfc="white", **look)
    axes.plot([], [], "-", color=BLACK, label=f"predicted, {protocol['optimizer'].capitalize()}; filled: trained")
    axes.plot([], [], "--", color=BLACK, lw=1, label="predicted, gradient descent; open: trained")
    axes.set(xscale="log", yscale="log", ylim=(None, 1.1), xlabel="steps of the student")
    axes.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_ylabel(r"share of $\Delta_T$ transferred")
    axes.set_title("Share of the teacher, foretold and measured")


def draw_accuracies(axes: Axes, record: Record) -> None:
    """Draw test accuracies over the number of auxiliary logits, predicted and trained."""
    numbers, results = record.config["numbers"], record.results
    linearized, there = np.moveaxis(results["linearized/accuracies"], -1, 0)
    descent = results["descent/accuracy"]
    for height, label in zip(results["teacher/accuracies"].mean(axis=0)[::-1], ("teacher", "linearized"), strict=True):
        axes.axhline(height, color=BLACK, lw=0.8, ls=":")
        text = label if label == "teacher" else "linearized network at the teacher's parameters"
        axes.annotate(text, (numbers[0], height), (0, 2), textcoords="offset points", fontsize=7.5)
    student = results["student/accuracy"][..., -1]
    with_intervals(axes, numbers, student, "o", color=BLUE, label="trained student")
    with_intervals(axes, numbers, there, "s--", color=ORANGE, lw=1, label="network at the predicted parameters")
    with_intervals(axes, numbers, linearized, "^--", color=GREEN, lw=1, label="linearized network there")
    label = f"trained by {TIMES[-1]} steps of gradient descent"
    with_intervals(axes, numbers, descent, "x", color=GRAY, label=label)
    axes.set(xscale="log", xlabel="auxiliary logits", ylim=(0, 1))
    axes.set_ylabel(f"test accuracy ({TITLES[record.config['data']]})")
    axes.set_xticks(numbers, list(map(str, numbers)))
    axes.minorticks_off()
    axes.set_yticks(np.arange(0, 1.1, 0.2))
    axes.set_title("Accuracy of students, foretold and trained")
    note_seeds(axes, record)


def draw_limit(axes: Axes, record: Record) -> None:
    """Draw how far descending students end from their prediction, over the age of their teacher."""
    errors, strangers = (record.results[f"descent/{name}"][..., 1] for name in ("error", "stranger-error"))
    for color, place in enumerate(shown(record)):
        label = f"{record.config['numbers'][place]} auxiliary logits"
        with_intervals(axes, SCALES, errors[:, place], MARKERS[color], color=COLORS[color], label=label)
    with_intervals(axes, SCALES, strangers.mean(axis=1), "x", color=GRAY, label="control: student of another init")
    scales = np.array(SCALES)
    young, trained = errors[:, :, 0].mean(), errors[:, :, -1].mean()
    axes.plot(scales, trained * scales, ":", color=BLACK, lw=1, label="slope 1")
    axes.plot(scales, young * (scales / scales[0]) ** 0.5, "-.", color=BLACK, lw=1, label="slope 1/2")
    axes.set(
        xscale="log", yscale="log", xlabel=r"teacher's distance from the init, $s$ (labels from $\theta^0 + s\Delta_T$)"
    )
    axes.set_ylabel(f"relative error of the predicted\ndisplacement after {TIMES[1]} steps of descent")
    axes.set_title(stated("The younger the teacher, the more exact the prediction", record, "many-steps"))


def draw_radius(axes: Axes, record: Record) -> None:
    """Draw the share that the network's curvature takes from a first step, over the age of the teacher."""
    axes.axhspan(0, 1, color=GRAY, alpha=0.15, lw=0, label="radius: a first step leads towards the teacher for sure")
    ratios = finite_step.ratio(record.results)
    strangers = record.results["finite-step/stranger-step"] / record.results["finite-step/divergence"]
    for color, place in enumerate(shown(record)):
        label = f"{record.config['numbers'][place]} auxiliary logits"
        with_intervals(axes, SCALES, np.abs(ratios[:, place]), f"{MARKERS[color]}-", color=COLORS[color], label=label)
    label = r"control: size of $1 - \Delta_S\cdot D$ / divergence," "\nstudent of another init"
    with_intervals(axes, SCALES, np.abs(1 - strangers).mean(axis=1), "x", color=GRAY, label=label)
    axes.set(xscale="log", yscale="log", ylim=(5e-4, None))
    axes.set_xlabel(r"teacher's distance from the init, $s$ ($D = s\Delta_T$)")
    axes.set_ylabel("size of curvature $\\mathbb{E}[(p_T - p_0)\\cdot r]$\nover the divergence")
    axes.set_title("Are trained teachers within the sure radius?")


def draw_epochs(axes: Axes, record: Record) -> None:
    """Draw signal-to-noise over epochs on the same labels: predicted, behind a young teacher, and a trained one."""
    results, numbers = record.results, record.config["numbers"]
    noise, signal = results["epochs/noise"], results["epochs/signal"]
    apart = epochs.separation(results)
    for color, place in enumerate(shown(record)):
        look: Any = {"color": COLORS[color]}
        axes.plot(epochs.EPOCHS, (signal[:, place, 0] / noise[:, place]).mean(axis=0), "-", **look)
        young = (results["epochs/young"] / noise[:, :, None, epochs.TRAINED])[:, place].mean(axis=1)
        label = f"{numbers[place]} auxiliary logits"
        with_intervals(axes, [time * 1.07 ** (color - 1) for time in TIMES], young, MARKERS[color], label=label, **look)
        axes.plot(TIMES, apart[place], f"{MARKERS[color]}:", mfc="white", lw=1, **look)
    fresh = (signal[:, :, 0] / results["epochs/fresh-noise"]).mean(axis=(0, 1))
    axes.plot(epochs.EPOCHS, fresh, "--", color=GRAY, lw=1, label="fresh labels every epoch, predicted")
    axes.plot([], [], "-", color=BLACK, label="young teacher, predicted; filled: trained students")
    axes.plot([], [], ":", color=BLACK, lw=1, label="trained teacher, one label an image: students")
    axes.set(xscale="log", xlabel="epochs on the same labels", ylim=(0, 12))
    axes.set_ylabel(r"$\Delta_T\cdot(\theta_S - \theta^0)$: mean / standard deviation")
    axes.set_title(stated("Epochs on the same labels gain nothing", record, "epochs"))


def draw_adam(axes: Axes, record: Record) -> None:
    """Draw how far Adam's students are from both predictions, over the age of the teacher."""
    results, numbers, place = record.results, record.config["numbers"], adam.STEPS.index(10)
    errors = results["adam/error"][..., place] / results["adam/distance"][:, :, None, place]
    kept = results["adam/kept-error"][..., 1] / results["adam/distance"][:, :, None, 1]
    for color, number in enumerate(shown(record)):
        look: Any = {"color": COLORS[color], "label": f"{numbers[number]} auxiliary logits"}
        with_intervals(axes, SCALES, errors[:, number], MARKERS[color], **look)
    label = f"control: the first step's preconditioner $P$,\nkept, after {adam.STEPS[1]} steps (medians)"
    axes.plot(SCALES, np.median(kept, axis=(0, 1)), "x", color=GRAY, label=label)
    scales, young = np.array(SCALES), errors[:, :, 0].mean()
    axes.plot(scales, young * (scales / scales[0]) ** 0.5, "-.", color=BLACK, lw=1, label="slope 1/2")
    axes.set(xscale="log", yscale="log", xlabel=r"teacher's distance from the init, $s$")
    axes.set_ylabel(f"relative error of the predicted\ndisplacement after {adam.STEPS[place]} steps of Adam")
    axes.set_title(stated("Young teachers: Adam foretold, with its memory", record, "adam"))
