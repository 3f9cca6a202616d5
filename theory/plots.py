"""Pictures of the theory's records: one panel a claim, prediction as a line and measurement as points."""

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.claims.null_space import CONTROLLED
from theory.records import Record
from theory.sharing import SHARING
from theory.statistics import fitted_order, rate_estimate

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
}
"""One look for all pictures."""

BLUE, ORANGE, GREEN, GRAY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"
"""Okabe and Ito's colors, told apart by the color-blind and, by lightness and marker, in gray print."""


STEP_LABEL = r"teacher's step size $\epsilon$ (its outputs move by $\epsilon$)"
"""Both panels with step sizes use natural units."""


def new_figure(columns: int, rows: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of equal panels, without touching any global state; call it inside `rc_context(STYLE)`.

    Args:
        columns: Panels across.
        rows: Panels down.
        width: Width of a panel in inches.
        height: Height of a panel in inches.

    Returns:
        The figure and its panels, row by row.
    """
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns)))


def draw(record: Record) -> Figure:
    """Draw the figure of a `verify` run.

    Args:
        record: The run's record.

    Returns:
        A panel for each claim that was verified and has one; nothing if there is none.
    """
    panels = [
        (draw_alignment, "alignment/", "/visible"),
        (draw_trait_loss, "trait-loss/", "/visible"),
        (draw_null_space, "null-space/", CONTROLLED),
        (draw_signs, "different-initialization/signs: ", "/own"),
    ]
    drawn = [
        panel
        for panel, start, part in panels
        if any(name.startswith(start) and part in name and np.any(record.results[name]) for name in record.results)
    ]
    if not drawn:
        return Figure(figsize=(5.0, 0.5))
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(min(2, len(drawn)), (len(drawn) + 1) // 2, 5.0, 3.6)
        for panel, place in zip(drawn, axes, strict=False):
            panel(place, record)
        for place in axes[len(drawn) :]:
            place.remove()
    return figure


def first_case(record: Record, claim: str) -> str:
    """Find the case that the controls belong to.

    Args:
        record: A record with the claim.
        claim: The claim's name.

    Returns:
        `claim/case` of its first case.
    """
    return next(name for name in record.results if name.startswith(f"{claim}/")).rsplit("/", 1)[0]


def median(values: np.ndarray) -> np.ndarray:
    """Median size over instances.

    Args:
        values: Shape `(num_seeds, ...)`.

    Returns:
        Shape `(...)`.
    """
    return np.median(np.abs(values), axis=0)


def draw_alignment(axes: Axes, record: Record) -> None:
    """Draw predicted and measured alignment of the first case, what is left, and the control.

    Args:
        axes: Where to draw.
        record: A record with claim 1.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "alignment")
    seen = record.results[f"{case}/visible"]
    leading = (record.results[f"{case}/predicted"][:, None] * record.results[f"{case}/steps"])[seen]
    measured = record.results[f"{case}/measured"][seen]
    elsewhere = record.results["alignment/control: another init/measured"][seen] - leading
    fitted = steps <= record.config["largest_fitted_step"]
    order = np.median(fitted_order(steps[fitted], (measured - leading)[:, fitted]))
    axes.loglog(steps, median(leading), color=BLACK, label=r"predicted $\epsilon A$")
    axes.loglog(steps, median(measured), "o", color=BLUE, label=r"simulated $\Delta_S\cdot\Delta_T$")
    axes.loglog(steps, median(measured - leading), "s", color=GREEN, mfc="none", label=f"remainder: order {order:.3f}")
    axes.loglog(steps, median(elsewhere), "x--", color=ORANGE, lw=0.8, label="remainder, student from another init")
    axes.set(xlabel=STEP_LABEL, ylabel="inner product, median over seeds")
    axes.set_title("Shared init: the student moves towards the teacher")
    axes.legend(loc="lower right")


def draw_trait_loss(axes: Axes, record: Record) -> None:
    """Draw the measured over the predicted change of the trait loss, in the first case.

    Args:
        axes: Where to draw.
        record: A record with claim 2.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "trait-loss")
    seen = record.results[f"{case}/visible"]
    ratios = record.results[f"{case}/measured"][seen] / record.results[f"{case}/predicted"][seen]
    looks = itertools.cycle([(BLUE, "o-"), (GREEN, "s--"), (ORANGE, "^:"), (GRAY, "x-.")])
    for index, (rate, (color, line)) in enumerate(zip(record.config["learning_rates"], looks, strict=False)):
        low, middle, high = np.quantile(ratios[:, index], (0.05, 0.5, 0.95), axis=0)
        axes.semilogx(steps, middle, line, color=color, label=rf"student's step $\alpha = {rate:g}$")
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
    axes.axhline(1, color=BLACK, lw=0.8)
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.set(
        xlabel=STEP_LABEL,
        ylabel=r"fall of $L_T$ / predicted $\epsilon\alpha A$",
    )
    axes.set(ylim=(-0.8, 1.3))
    axes.set_title("…and lowers the teacher's own trait loss")
    axes.legend(loc="lower left", title="median and 90 % of seeds", title_fontsize=8)


def draw_null_space(axes: Axes, record: Record) -> None:
    """Draw the largest alignment in each null-space case beside its control's.

    Args:
        axes: Where to draw.
        record: A record with claim 3.
    """
    pairs = [name.split("/")[1].split(CONTROLLED) for name in record.results if CONTROLLED in name]
    pairs = list(dict.fromkeys(map(tuple, pairs)))
    floor = 1e-21
    for row, (case, control) in enumerate(pairs):
        values = [
            np.abs(record.results[f"null-space/{name}/alignment"]).max(axis=1)
            for name in (case, f"{case}{CONTROLLED}{control}")
        ]
        for value, color, marker in zip(values, (BLUE, ORANGE), ("o", "x"), strict=True):
            axes.plot(np.maximum(value, floor), np.full(len(value), row), marker, color=color, ms=3, alpha=0.3)
        axes.annotate(case, (floor, row), (0, 7), textcoords="offset points", fontsize=8)
        axes.annotate(f"{control}  ", (values[1].min(), row), ha="right", va="center", fontsize=7, color=ORANGE)
    axes.set(xscale="log", xlim=(floor / 3, 1e3), ylim=(len(pairs) - 0.4, -0.7), yticks=[])
    ticks = [floor, 1e-16, 1e-12, 1e-8, 1e-4, 1]
    axes.set_xticks(ticks, ["exactly 0", *(f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks[1:])])
    axes.minorticks_off()
    axes.set_xlabel(r"largest $|\Delta_S\cdot\Delta_T|$ over all $\epsilon$, every seed (crosses: control)")
    axes.set_title("What imitation can't see is not transferred")


def draw_signs(axes: Axes, record: Record) -> None:
    """Draw how often the transferred part helps the student, by what its init shares with the teacher's.

    Args:
        axes: Where to draw.
        record: A record with claim 5.
    """
    for offset, activation, color, marker in ((-0.13, "tanh", BLUE, "o"), (0.13, "ReLU", ORANGE, "s")):
        name = f"different-initialization/signs: {activation}, auxiliary outputs/own"
        rates = np.array([rate_estimate(column > 0, 0.95) for column in record.results[name].T])
        rows = np.arange(len(SHARING)) + offset
        reach = np.abs(rates[:, 1:] - rates[:, :1]).T
        axes.errorbar(rates[:, 0], rows, xerr=reach, fmt=marker, color=color, capsize=2, label=activation)
    axes.axvline(0.5, color=BLACK, lw=0.8, ls=":")
    axes.set_yticks(range(len(SHARING)), list(SHARING))
    axes.set(ylim=(len(SHARING) - 0.5, -0.5), xlim=(0.3, 1.03))
    axes.set(xlabel="share of seeds in which the transfer lowers $L_T$ (95 %)", ylabel="init shared")
    axes.set_title("Another auxiliary head: a fair coin")
    axes.legend(loc="upper right")
