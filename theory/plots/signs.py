"""Claim 5 as a picture: how often the transfer helps, by what the inits share."""

import numpy as np
from matplotlib.axes import Axes

from theory.runs.records import Record
from theory.runs.statistics import joint_confidence, rate_estimate
from theory.runs.style import BLACK, BLUE, ORANGE, stated
from theory.sharing import SHARING


def draw_signs(axes: Axes, record: Record) -> None:
    """Draw how often the transferred part helps the student, by what its init shares with the teacher's.

    Args:
        axes: Where to draw.
        record: A record with claim 5.
    """
    names = [name for name in record.results if name.endswith("auxiliary outputs/own") and "/signs: " in name]
    confidence = joint_confidence(2 * len(names))
    for offset, activation, color, marker in ((-0.13, "tanh", BLUE, "o"), (0.13, "ReLU", ORANGE, "s")):
        name = f"different-initialization/signs: {activation}, auxiliary outputs/own"
        if name not in record.results:
            continue
        rates = np.array([rate_estimate(column > 0, confidence) for column in record.results[name].T])
        rows = np.arange(len(SHARING)) + offset
        reach = np.abs(rates[:, 1:] - rates[:, :1]).T
        axes.errorbar(rates[:, 0], rows, xerr=reach, fmt=marker, color=color, capsize=2, label=activation)
    axes.axvline(0.5, color=BLACK, lw=0.8, ls=":")
    axes.set_yticks(range(len(SHARING)), list(SHARING))
    axes.set(ylim=(len(SHARING) - 0.5, -0.5), xlim=(0.0, 1.03))
    axes.set(xlabel="share of seeds in which $L_T$ falls by it (intervals as judged)", ylabel="init shared")
    axes.set_title(stated("Another auxiliary head: a fair coin", record, "different-initialization"))
    axes.legend(loc="upper right")
