"""The benchmark as a picture: share of a bare matrix product's speed over the number of seeds."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mlp_mnist.plots import IMAGES
from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, ORANGE, STYLE, new_figure

LOOKS = {"float32": (BLUE, "o-"), "bf16": (ORANGE, "s--")}
"""Color and line of each precision."""


def draw_benchmark(record: Record) -> Figure:
    """Draw the figure of a `benchmark` run: the fastest of all repetitions, and their whole range.

    Args:
        record: The run's record.

    Returns:
        The figure.
    """
    seeds = np.array(record.config["num_seeds"])
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 5.4, 3.4)
        for name in record.config["precisions"]:
            color, line = LOOKS[name]
            shares, peak = 100 * record.results[f"share/{name}"], record.results[f"peak/{name}"].max()
            seconds = (record.results[f"seconds/{name}"] / seeds).min()
            label = f"{name}: {seconds:.2g} s a seed, peak {peak / 1e9:,.0f} GFLOP/s"
            axes.semilogx(seeds, shares.max(axis=0), line, color=color, label=label)
            axes.fill_between(seeds, shares.min(axis=0), shares.max(axis=0), color=color, alpha=0.15, lw=0)
        axes.axhline(100, color=BLACK, lw=0.8, ls=":", label="bare matrix product in the same run")
        axes.set_xticks(seeds, [str(count) for count in seeds])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="seeds, six arms each", ylabel="share of peak in %", ylim=(0, 150), yticks=range(0, 101, 20))
        axes.set_title(f"How near to the machine's peak seeds run ({IMAGES[record.config['data']]})")
        axes.legend(loc="upper left")
    return figure
