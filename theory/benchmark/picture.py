"""The benchmark as a picture: instances a second over the number of seeds."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STYLE, new_figure

LOOKS = ((BLUE, "o-"), (GREEN, "s--"), (ORANGE, "^:"), (GRAY, "x-."), (BLACK, "d-"))
"""Color and line of each way."""


def draw_benchmark(record: Record) -> Figure:
    """Draw the figure of a `benchmark` run: the median of all repetitions, and their whole range."""
    seeds = np.array(record.config["num_seeds"])
    share = record.results["operations/matrix products"] / record.results["operations/peak a second"].max()
    names = [name for name in record.results if name.startswith("rate/")]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 5.6, 3.8)
        for name, (color, line) in zip(names, LOOKS, strict=False):
            rates = record.results[name]
            usual = np.median(rates, axis=0)
            label = f"{name.removeprefix('rate/')}: {usual.max():,.0f}/s, {usual.max() * share:.1%} of peak"
            axes.loglog(seeds, usual, line, color=color, label=label)
            axes.fill_between(seeds, rates.min(axis=0), rates.max(axis=0), color=color, alpha=0.15, lw=0)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.45)
        steps = record.config["num_steps"]
        axes.set(xlabel=rf"random networks, each at {steps} step sizes $\epsilon$", ylabel="instances a second")
        axes.set_title("How fast claims 1 and 2 are checked")
        axes.legend(loc="upper left")
    return figure
