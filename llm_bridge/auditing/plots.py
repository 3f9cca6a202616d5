"""The picture of an audit: what training would do to each trait, and whose writing it looks like."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.runs.records import Record
from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, STYLE


def draw_audit(record: Record) -> Figure:
    """Draw every trait's dose and forecast, with what chance does at the level at which something is found."""
    from llm_bridge.auditing.findings import found_at, limits
    from llm_bridge.auditing.report import LEVEL, report_of

    report, words = report_of(record), record.config["words"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 1.6 + 0.28 * len(words)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(words))
        for axes, found, look in ((left, report.doses, "o"), (right, report.shifts, "s")):
            value, reach = [each.value for each in found], limits(found, LEVEL, report.num_texts)
            label = f"by chance, up to a rise that is found ({100 * LEVEL:.0f} % of all traits together)"
            axes.barh(places[: len(found)], 2 * reach, left=-reach, color="#DDDDDD", height=0.7, label=label)
            axes.plot(value, places[: len(found)], look, color=BLUE, label="of the data")
            axes.axvline(0, color=BLACK, lw=0.8)
            axes.set_yticks(places, [f"{word} (its own units)" if word.endswith(".npz") else word for word in words])
            axes.set_ylim(len(words) - 0.5, -0.5)
            axes.use_sticky_edges = False
            axes.margins(x=0.04)
        left.axvline(1, color=GRAY, lw=0.8, ls="--", label="the imagined teacher itself")
        left.set(xlabel="dose of an imagined teacher in the writer")
        right.set(xlabel="foretold rise by training on the data (nats)")
        taught, raised = (
            ", ".join(name for name, _ in found_at(words, found, LEVEL)) for found in (report.doses, report.shifts)
        )
        left.set_title(f"The writer looks taught: {taught}" if taught else "No teaching is found in the writer")
        right.set_title(f"Training is foretold to raise {raised or 'nothing beyond chance'}")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_study(record: Record) -> Figure:
    """Draw false alarms, how well teachers are told from the base, and forecasts beside what training did."""
    from scipy import stats

    from llm_bridge.auditing.study import SIZES, TEACHERS, Run
    from llm_bridge.auditing.study_verdicts import null_scores, of_whole_sets, own
    from llm_bridge.text.traits import ANIMALS

    run = Run(**record.results)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.4, 3.7), layout="constrained")
        first, second, third = figure.subplots(1, 3)
        first.plot([0, 1], [0, 1], color=BLACK, lw=0.8, label="uniform")
        for kind, (name, line, color) in enumerate((("doses", "-", BLUE), ("forecasts", "--", ORANGE))):
            nulls = np.sort(stats.norm.sf(null_scores(run, kind)))
            first.plot(nulls, np.arange(1, len(nulls) + 1) / len(nulls), line, color=color, label=name)
        first.set(xlabel="p-value", ylabel="share of data sets below it", xlim=(0, 1), ylim=(0, 1))
        first.set_title(f"{len(null_scores(run, 0))} data sets that hold nothing")
        first.legend()
        found = [each[np.isfinite(each)] for each in (own(run.z[:, place]).ravel() for place in range(len(SIZES)))]
        places = np.repeat(SIZES, list(map(len, found)))
        second.plot(places, np.concatenate(found), ".", color=BLUE, ms=2.5, alpha=0.35, label="one teacher's")
        second.plot(SIZES, list(map(np.mean, found)), "o", color=BLACK, ms=5, label="their mean")
        sizes = np.geomspace(SIZES[0], run.num_texts.mean())
        per_text = np.sqrt(np.maximum(run.nats, 0)).mean()
        label = r"mean $\sqrt{N\,\mathrm{KL}}$, about the most that pairs can show"
        second.plot(sizes, per_text * np.sqrt(sizes), "--", color=GRAY, label=label)
        second.axhline(1.645, color=ORANGE, lw=0.8, ls=":", label="5 % false alarms")
        second.set(xscale="log", xlabel="texts of a teacher's data", ylabel="z of the dose of its own word")
        second.set_xticks(SIZES, map(str, SIZES))
        second.minorticks_off()
        second.set_title("A teacher's own word, the more texts the surer")
        second.set_ylim(top=1.25 * second.get_ylim()[1])
        second.legend(loc="upper left")
        teachers = [ANIMALS.index(word) for word in TEACHERS]
        changes, rows = of_whole_sets(run), np.arange(len(TEACHERS))
        pairs = [changes.predicted, changes.trained]
        own_words = [values[:, rows, teachers].ravel() for values in pairs]
        third.plot(*map(np.ravel, pairs), ".", color=GRAY, ms=2.5, alpha=0.4, label="every data set and word")
        third.plot(*own_words, "o", color=BLUE, ms=4, label="teachers' own words")
        ends = np.array([np.nanmin(pairs), np.nanmax(pairs)])
        third.plot(ends, ends, color=BLACK, lw=0.8, label="as foretold")
        third.set(xlabel="foretold change of log-odds (nats)", ylabel="change after training (nats)")
        for scale, axis in ((third.set_xscale, third.xaxis), (third.set_yscale, third.yaxis)):
            scale("symlog", linthresh=1)
            axis.set_ticks(ticks := [-5, -1, -0.5, 0, 0.5, 1, 5], [f"{tick:g}".replace("-", "−") for tick in ticks])
        third.set_title("Forecasts, and what training did")
        third.legend(loc="upper left")
    return figure
