"""What the study of steering shows: what becomes of others' findings, and the table of cosines and lifts."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from llm_bridge.studies.steering import (
    ANOTHER,
    CAUSAL,
    COSINES,
    FIRST,
    KINDS,
    LIFTS,
    OTHERS_WHOLE,
    PLACES,
    PLUS_RANDOM,
    PLUS_SHORT,
    PLUS_STUDENT,
    PLUS_TEACHER,
    RANDOM,
    STEERED,
    STUDENTS,
    WITHOUT,
    WITHOUT_RANDOM,
    Run,
)
from llm_bridge.studies.study import LESS, MORE, STANDARD, STRANGER, TEACHERS, Finding, difference
from llm_bridge.studies.verdicts import judge_findings, judge_usual
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, mean_estimate
from theory.runs.verdicts import markdown_table, verdict_table

QUESTION = "Is a trait a vector? Directions are read, added and removed, and students learn from steered teachers"
AXIS = "what is added to the residual stream, or taken out of it"
"""What the study asks, and what it changes."""

PAPER = "(arXiv 2606.00995)"
"""Whose findings they are."""


def along(label: str, place: str) -> str:
    """Name a cosine among all figures."""
    return f"cosine of {label}, {place}"


def is_carried(label: str, claim: str) -> Finding:
    """Report that a student's direction is along the vector that its teacher was steered by, and no stranger's is."""
    ours, theirs = (along(f"{label}{end}", PLACES[0]) for end in ("", ANOTHER))
    return Finding(claim, f"{label}: cosine with the vector", {ours: 1.0}, *MORE, "chance: another init", {theirs: 1.0})


def at_place(place: str) -> list[Finding]:
    """Say what is found of taught teachers and usual students at a place."""

    def beside_half(claim: str, label: str, whole: str, random: str, bounds: tuple[float, float]) -> Finding:
        own, control = (difference(f"{each}, {place}", whole, 0.5) for each in (label, random))
        what = "teacher" if whole == TEACHERS else "student"
        check = f"{label}, {place}: lift less half of the {what}'s"
        return Finding(claim, check, own, *bounds, "a random direction", control)

    return [
        beside_half(f"a teacher is well approximated by a vector {PAPER}", PLUS_TEACHER, TEACHERS, PLUS_RANDOM, MORE),
        Finding(
            f"the student learns a vector along its teacher's {PAPER}",
            f"as usual, {place}: cosine with the teacher's vector",
            {along(STANDARD, place): 1.0},
            *MORE,
            "the other teachers' whole directions",
            {along(OTHERS_WHOLE, place): 1.0},
        ),
        beside_half(f"the vector is necessary {PAPER}", WITHOUT, STANDARD, WITHOUT_RANDOM, LESS),
        beside_half(f"the vector is sufficient {PAPER}", PLUS_STUDENT, STANDARD, PLUS_SHORT, MORE),
    ]


FINDINGS = (
    *(finding for place in PLACES for finding in at_place(place)),
    Finding(
        f"a student of a steered teacher has the trait {PAPER}",
        f"{STEERED}: lift",
        {STEERED: 1.0},
        *MORE,
        "another init",
        {f"{STEERED}{ANOTHER}": 1.0},
    ),
    is_carried(STEERED, f"it learns to imitate the steering {PAPER}"),
    is_carried(RANDOM, f"random vectors pass as well {PAPER}"),
    Finding(
        f"it does not pass between models {PAPER}",
        f"{STEERED}{ANOTHER}: lift less half of the shared init's",
        difference(f"{STEERED}{ANOTHER}", STEERED, 0.5),
        *LESS,
        "half of the shared init's itself",
        {STEERED: 0.5},
    ),
    is_carried(f"{FIRST}{STEERED}", "one step moves it along the vector, which nothing guarantees (claim 17)"),
    is_carried(f"{FIRST}{RANDOM}", "one step moves it along the vector, which nothing guarantees (claim 17)"),
)
"""What others found, and what theory leaves open."""


def figures_of(run: Run) -> dict[str, Float[np.ndarray, " runs"]]:
    """Name every lift and every cosine."""
    cosines = {
        along(label, place): run.cosines[:, row, column]
        for row, label in enumerate(COSINES)
        for column, place in enumerate(PLACES)
    }
    return {label: run.lifts[:, row] for row, label in enumerate(LIFTS)} | cosines


def judge_steering(run: Run) -> Outcome:
    """Judge all bases together."""
    figures = figures_of(run)
    verdicts = [*judge_usual(figures[STANDARD], figures[STRANGER]), *judge_findings(FINDINGS, figures)]
    tables = (model_table(run, figures), cosine_table(figures), verdict_table(verdicts))
    return Outcome(run._asdict(), verdicts, "\n".join(tables))


def named(label: str) -> str:
    """Say whose student has a label."""
    return label.replace(STANDARD, "taught teacher")


def model_table(run: Run, figures: Mapping[str, Float[np.ndarray, " runs"]]) -> str:
    """Lay out lifts, with 95 % intervals of each row by itself, how students imitate, and what is kept of lists."""
    ratios = np.exp(np.mean(np.log(run.distances[..., 1] / run.distances[..., 0]), axis=0))
    lifts = [(TEACHERS, mean_estimate(figures[TEACHERS]), "", "")] + [
        (f"student of a {named(label)}", mean_estimate(figures[label]), "", f"{ratio:#.3g}")
        for label, ratio in zip(STUDENTS, ratios, strict=True)
    ]
    lifts += [(label, *(mean_estimate(figures[f"{label}, {place}"]) for place in PLACES), "") for label in CAUSAL]
    kept = (f"{named(kind)}: {100 * run.kept[:, row].mean():.1f} %" for row, kind in enumerate(KINDS))
    lift = f"lift in log-odds [95 %], whole or {PLACES[0]}"
    table = markdown_table(("model", lift, PLACES[1], "share of the KL to its teacher that is left"), lifts)
    return f"{table}\nLists that the filter keeps: {', '.join(kept)}\n"


def cosine_table(figures: Mapping[str, Float[np.ndarray, " runs"]]) -> str:
    """Lay out cosines, with 95 % intervals of each by itself."""
    rows: list[tuple[str, *tuple[Estimate, ...]]] = [
        (named(label), *(mean_estimate(figures[along(label, place)]) for place in PLACES)) for label in COSINES
    ]
    return markdown_table(("student of a", *(f"cosine with the vector [95 %], {place}" for place in PLACES)), rows)
