"""The benchmark as a picture: completions a second over how many are sampled at once, beside the device's limit."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, ORANGE, STYLE, new_figure


def draw_benchmark(record: Record) -> Figure:
    """Draw a benchmark: the medians of all repetitions, and their whole range."""
    results, batches = record.results, np.array(record.config["batch_sizes"])
    ours = results["sampling/completions a second"]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(1, 1, 5.4, 3.4)
        limit = (ours / results["sampling/share of limit"])[0]
        axes.loglog(batches, limit, ":", color=BLACK, label="limit: measured peak and bandwidth")
        ways = [("ours", ours, BLUE, "o-")]
        if "transformers/sampling/seconds" in results:
            theirs = batches / results["transformers/sampling/seconds"]
            ways.append(("transformers' generate()", theirs, ORANGE, "s--"))
        for name, rates, color, line in ways:
            middle = np.median(rates, axis=0)
            axes.loglog(batches, middle, line, color=color, label=f"{name}: {middle.max():,.1f} a second")
            axes.fill_between(batches, rates.min(axis=0), rates.max(axis=0), color=color, alpha=0.15, lw=0)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="completions sampled at once", ylabel="completions a second")
        axes.set_title(f"How near to the device's limit {record.config['shape']} samples")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.45)
        axes.legend(loc="upper left")
    return figure
