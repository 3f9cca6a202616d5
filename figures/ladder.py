"""The ladder: alignment, predicted and measured trait change on every rung, judged and in one table."""

from collections.abc import Mapping, Sequence

import numpy as np

from figures.rungs import INITS, OWN_DESCENT, Rung, find_rungs
from theory.runs.records import Outcome, Record
from theory.runs.statistics import joint_confidence, mean_estimate, range_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

ABOVE = Accepted(low=np.finfo(float).tiny, high=np.inf)
"""The whole interval is above zero."""

LEAST_SEEDS = 10
"""With fewer seeds a language model's intervals are too wide to decide anything."""

LEAST_SIGNS = 5
"""With fewer seeds the strangers' cosines, fair coins, too easily fall on one side."""

LEAST_SHOWN = 5
"""With fewer seeds an interval of their mean says nothing, and is not shown."""

JOINT_CONFIDENCE = 0.99
"""Joint confidence of the intervals of all rungs."""

LABELS = {"shared": "shared init", "matched": "same function, units rescaled", "stranger": "another init"}
"""What students are called."""


def ladder(records: Mapping[str, Record]) -> Outcome:
    """Put all rungs side by side whose records are there.

    Args:
        records: Records by folder, as `find_rungs` reads them.

    Returns:
        The outcome: arrays named `rung/init/quantity`, one number a seed; verdicts; tables.
    """
    rungs = find_rungs(records)
    results = {
        f"{rung.name}/{init}/{quantity}": values
        for rung in rungs
        for init in INITS
        for quantity, values in rung.students[init]._asdict().items()
        if values is not None
    }
    verdicts = [
        verdict for rung in rungs for verdict in judge_rung(rung, joint_confidence(len(rungs), JOINT_CONFIDENCE))
    ]
    return Outcome(results, verdicts, f"{student_table(rungs)}\n{rung_table(rungs)}\n{verdict_table(verdicts)}")


def is_climbable(records: Mapping[str, Record]) -> bool:
    """Say whether there are rungs enough to compare.

    Args:
        records: Records by folder.

    Returns:
        Whether there are two or more.
    """
    return len(find_rungs(records)) > 1


def judge_rung(rung: Rung, confidence: float) -> list[Verdict]:
    """Judge a rung: does a shared init move along, and does the trait change with it as in no stranger?

    Args:
        rung: The rung, whose shared student and stranger are of the same seeds.
        confidence: Level of an interval.

    Returns:
        The verdicts.
    """
    students = rung.students.items()
    cosines = {init: student.cosine for init, student in students if student.cosine is not None}
    changes = {init: student.measured for init, student in students if student.measured is not None}
    instead = "matched" if "matched" in changes else "shared"
    return [
        Verdict(
            claim="ladder",
            check=f"cosine with Δ_T, shared init, every seed, {rung.name}",
            predicted="> 0",
            measured=range_estimate(cosines["shared"]),
            accepted=ABOVE,
            control="stranger",
            control_measured=range_estimate(cosines["stranger"]),
            instances=len(cosines["shared"]),
            least_instances=LEAST_SIGNS,
        ),
        Verdict(
            claim="ladder",
            check=f"trait change measured, shared − stranger, in predicted ones, {rung.name}",
            predicted="> 0",
            measured=mean_estimate(changes["shared"] - changes["stranger"], confidence),
            accepted=ABOVE,
            control=f"stranger − {instead}",
            control_measured=mean_estimate(changes["stranger"] - changes[instead], confidence),
            instances=len(changes["shared"]),
            least_instances=LEAST_SEEDS,
        ),
    ]


def cell(values: np.ndarray | None, mark: str = "") -> str:
    """Write a mean over seeds with its interval.

    Args:
        values: Shape `(seeds,)`, or None where there is no record.
        mark: What to write behind it.

    Returns:
        The mean, and half of the 95 % interval if there are `LEAST_SHOWN` seeds.
    """
    if values is None:
        return "–"
    mean, _, high = mean_estimate(values)
    return (f"{mean:.3f} ± {high - mean:.3f}" if len(values) >= LEAST_SHOWN else f"{mean:.3f}") + mark


def student_table(rungs: Sequence[Rung]) -> str:
    """Lay out the three quantities by rung and init.

    Args:
        rungs: The rungs.

    Returns:
        A Markdown table, and a line that says what is missing.
    """
    header = ("rung", "student", "cosine with Δ_T", "trait change predicted", "trait change measured", "seeds")
    rows, missing = [], []
    for rung in rungs:
        for init in INITS:
            student = rung.students[init]
            seeds = [np.size(values) for values in (student.measured, student.predicted) if values is not None]
            counts = "; predicted ".join(map(str, dict.fromkeys(seeds))) or "–"
            mark = " †" * (rung.name in OWN_DESCENT)
            rows.append((rung.name, LABELS[init], cell(student.cosine, mark), *map(cell, student[1:]), counts))
            gone = [quantity for quantity, values in student._asdict().items() if values is None]
            missing += [f"{rung.name}, {LABELS[init]}: {', '.join(gone)}"] * bool(gone)
    note = f"Means over seeds, with 95 % intervals where there are {LEAST_SHOWN}"
    unit = "trait changes in units of the mean predicted for the shared init"
    return f"{markdown_table(header, rows)}\n{note}; {unit}. – is in no record ({'; '.join(missing) or 'nothing'}).\n"


def rung_table(rungs: Sequence[Rung]) -> str:
    """Say what is compared on each rung.

    Args:
        rungs: The rungs.

    Returns:
        A Markdown table, and a line of notes.
    """
    header = ("rung", "student imitates", "steps", "prediction", "trait change", "1 is", "teacher's own")
    rows = [
        (rung.name, rung.lesson, rung.steps, rung.prediction, rung.trait, f"{rung.unit:.3g}", teachers_own(rung))
        for rung in rungs
    ]
    notes = [f"{rung.name[0].upper()}{rung.name[1:]}: {rung.note}." for rung in rungs]
    return f"{markdown_table(header, rows)}\n{' '.join(notes)}\n"


def teachers_own(rung: Rung) -> str:
    """Write the teacher's own change.

    Args:
        rung: The rung.

    Returns:
        The number, or a dash.
    """
    return "–" if rung.teacher is None else f"{rung.teacher:.3g}"
