"""The picture of the study of steering: cosines of students' directions, and lifts with vectors added and removed."""

import matplotlib as mpl
from matplotlib.figure import Figure

from llm_bridge.studies.plots import KINDS, draw_values
from llm_bridge.studies.steering import (
    ANOTHER,
    BY_CHANCE,
    CAUSAL,
    FIRST,
    OTHERS_WHOLE,
    OWN_WHOLE,
    PLACES,
    STUDENTS,
    Run,
)
from llm_bridge.studies.steering_verdicts import along, figures_of, named
from theory.runs.records import Record
from theory.runs.style import STYLE

READ = (*STUDENTS, *(f"{FIRST}{label}" for label in STUDENTS if not label.endswith(ANOTHER)), BY_CHANCE)
"""Students whose cosines at the middle are drawn, and the two that are drawn at the end, too."""


def kind_of(label: str) -> str:
    """Say what a row is for the figure."""
    if ANOTHER in label:
        return "stranger"
    return "random" if "random vector" in label or "random one" in label or label.startswith(BY_CHANCE) else "arm"


def draw_steering(record: Record) -> Figure:
    """Draw left how far students' directions are along vectors, right what vectors do to lifts."""
    figures = figures_of(Run(**record.results))
    read = {f"{label}, {PLACES[0]}": along(label, PLACES[0]) for label in (*READ, OWN_WHOLE, OTHERS_WHOLE)}
    read |= {f"{label}, {PLACES[1]}": along(label, PLACES[1]) for label in STUDENTS[:1]}
    moved = [*STUDENTS, *(f"{label}, {place}" for place in PLACES for label in CAUSAL[:-2])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.8, 5.4), layout="constrained")
        for axes, rows in zip(figure.subplots(1, 2), (read, dict(zip(moved, moved, strict=True))), strict=True):
            told = record._replace(config={"arms": list(rows), "kinds": list(map(kind_of, rows))})
            draw_values(axes, told, [figures[name] for name in rows.values()])
            students = ["student of a " * (axes is not figure.axes[0] and label in STUDENTS) for label in rows]
            axes.set_yticks(
                range(len(rows)), [f"{who}{named(label)}" for who, label in zip(students, rows, strict=True)]
            )
        left, right = figure.axes
        left.set(xlabel="cosine of the student's direction with the vector", ylabel="student of a")
        right.set(xlabel="lift of the teacher's trait (log-odds, nats)")
        right.set_xscale("symlog", linthresh=1)
        right.margins(x=0.05)
        right.set_xticks(ticks := [-5, -1, 0, 0.5, 1, 5], [f"{tick:g}".replace("-", "−") for tick in ticks])
        right.minorticks_off()
        right.autoscale(axis="x")
        marks, labels = right.get_legend_handles_labels()
        random = KINDS["random"][2]
        texts = ["random direction" if label == random else str(label) for label in labels]
        figure.legend(marks, texts, loc="outside lower left", ncols=3)
        bases = f"{record.config['num_seeds']} base models: each, mean, 95 % interval; two lifts as judged"
        figure.suptitle(f"{record.config['question']}\n({bases})", fontsize=9.5, fontweight="bold", x=0.01, ha="left")
    return figure
