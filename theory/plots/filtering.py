"""Claim 11 as a picture: raw, the filter's bias hides the teacher's step; a control under the same filter shows it."""

import numpy as np
from matplotlib.axes import Axes

from theory.claims.filtering import SELECTIONS
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, STEP_LABEL, first_case, stated

LOOKS = {"random judge": (BLUE, "o"), "label dropped": (GREEN, "s"), "temperature 0.5": (ORANGE, "^")}
"""Color and marker of each selection drawn."""


def draw_filtering(axes: Axes, record: Record) -> None:
    """Draw the alignment under filters, with and without a control subtracted, in units of the predicted slope.

    Args:
        axes: Where to draw.
        record: A record with claim 11.
    """
    steps = np.array(record.config["teacher_steps"])
    case = first_case(record, "filtering")
    seen = record.results[f"{case}/visible"]
    slope, measured, idle, sizes = (
        record.results[f"{case}/{name}"][seen] for name in ("slope", "measured", "idle", "steps")
    )
    unit = (slope * (sizes[:, -1:] / steps[-1]))[..., None]
    raw, added = measured / unit, (measured - idle[..., None]) / unit
    axes.loglog(steps, steps, color=BLACK, label=r"predicted $\epsilon\,\mathrm{Var}_q(c)$")
    for name, (color, marker) in LOOKS.items():
        index = SELECTIONS.index(name)
        hidden, shown = np.median(np.abs(raw[:, index]), axis=0), np.median(added[:, index], axis=0)
        label = f"raw, {name}: positive in {share_positive(raw[:, index])}"
        axes.loglog(steps, hidden, f"{marker}--", color=color, mfc="none", lw=0.8, label=label)
        axes.loglog(steps, shown, marker, color=color)
    everything = added[:, [SELECTIONS.index(name) for name in LOOKS]]
    axes.plot([], [], "o", color=BLACK, label=f"control subtracted: positive in {share_positive(everything)}")
    axes.set(xlabel=STEP_LABEL, ylabel=r"$|\Delta_S\cdot\Delta_T|\,/\,\mathrm{Var}_q(c)$, median", ylim=(3e-6, 3e2))
    axes.set_title(stated("Filtered labels: a bias, and the teacher's step beneath", record, "filtering"))
    axes.legend(loc="upper left")


def share_positive(alignments: np.ndarray) -> str:
    """Say how often an alignment is positive at the smallest step.

    Args:
        alignments: Shape `(num_seeds, …, teacher_steps)`.

    Returns:
        For example `51 %`.
    """
    return f"{100 * np.mean(alignments[..., 0] > 0):.0f} %"
