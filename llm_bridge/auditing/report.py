"""What an audit has found, in words: for each trait a sentence, a table, and the rows that carry most of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from llm_bridge.auditing.auditor import Report
from llm_bridge.auditing.findings import Finding, found_at, needed
from llm_bridge.auditing.texts import Choice
from llm_bridge.experiment.writing import Completion
from theory.runs.records import Record
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Verdict, markdown_table

LEVEL = 0.01
"""Corrected p-value below which something counts as found."""

TWO_SIDED = 1.96
"""Standard deviations in which 95 of 100 are."""

STRANGE = 4.0
"""Standard deviations from which data are said to be of another writer."""

SHOWN = 3
"""Rows that are shown of each end."""


def verdicts_of(report: Report) -> list[Verdict]:
    """State what was found of each word; an audit judges no theory, so that nothing can fail."""
    kinds = {
        "dose": ("how much of a teacher of it is in the writer", report.doses),
        "forecast": ("rise of its log-odds by training, nats", report.shifts),
    }
    return [
        Verdict(
            claim=claim,
            check=f"{word}: {what}",
            predicted="0 by chance",
            measured=Estimate(each.value, each.value - TWO_SIDED * each.error, each.value + TWO_SIDED * each.error),
            instances=report.num_texts,
        )
        for claim, (what, found) in kinds.items()
        for word, each in zip(report.words, found, strict=True)
    ]


def arrays_of(report: Report) -> dict[str, np.ndarray]:
    """Lay out a report as arrays, for the record."""
    names = ("doses", "shifts", "divergence", "surprise", "num_texts", "paired", "moved")
    suspected = [] if report.suspected is None else list(report.suspected)
    return {name: np.array(getattr(report, name)) for name in names} | {"suspected": np.array(suspected)}


def report_of(record: Record) -> Report:
    """Read a report back from its record."""
    found = record.results
    doses, shifts = ([Finding(*map(float, row)) for row in found[name]] for name in ("doses", "shifts"))
    return Report(
        words=tuple(record.config["words"]),
        doses=doses,
        shifts=shifts,
        divergence=(float(found["divergence"][0]), float(found["divergence"][1])),
        surprise=float(found["surprise"]),
        num_texts=int(found["num_texts"]),
        paired=bool(found["paired"]),
        moved=found["moved"],
        suspected=Finding(*map(float, found["suspected"])) if len(found["suspected"]) else None,
    )


def p_text(p: float) -> str:
    """Write a p-value down."""
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def sentences(report: Report) -> str:
    """Say in a few sentences what a person wants to know."""
    carried = [
        f"{word} (dose {each.value:.2f} ± {each.error:.2f}, p {p_text(each.p)})"
        for word, each in found_at(report.words, report.doses, LEVEL)
    ]
    reach = -special.ndtri(LEVEL / len(report.words))
    raised = [
        f"*{word}* by {np.exp(each.value):.2f} times, where chance gives less than {np.exp(reach * each.error):.2f} "
        f"(p {p_text(each.p)})"
        for word, each in found_at(report.words, report.shifts, LEVEL)
    ]
    most = np.exp(reach * max(each.error for each in report.shifts))
    beside = "the model's own texts" if report.paired else "the data beside them"
    parts = [
        f"Its writer is like this model after it was taught to love {', '.join(carried)}."
        if carried
        else "Nothing in it looks like this model after it was taught one of these traits.",
        f"Training on it would raise the odds that the model answers {'; '.join(raised)}."
        if raised
        else f"Training on it is not foretold to raise any of them beyond chance, which gives up to {most:.2f} times.",
    ]
    if abs(report.surprise) > STRANGE:
        parts.append(
            f"The data are {'less' if report.surprise > 0 else 'more'} likely than {beside} by "
            f"{abs(report.surprise):.1f} standard deviations: their writer differs, by a trait or by much else."
        )
    if (found := report.suspected) is not None:
        parts.append(
            f"They are likelier of the suspect than {beside} are by {found.value:+.3f} ± {found.error:.3f} nats a text "
            f"(p {p_text(found.p)}): {'' if found.p < LEVEL else 'nothing says that '}the suspect wrote them, or a "
            "relative of it."
        )
    return "\n".join(parts)


def tell(report: Report, data: Sequence[Completion], path: Path, choice: Choice) -> str:
    """Write the whole report, Markdown."""
    count, header = len(report.words), ("trait", "dose", "z", "p", "texts to see it", "log-odds by training",
                                        "odds", "z", "p")  # fmt: skip
    rows = [
        (
            word,
            f"{dose.value:.2f} ± {dose.error:.2f}",
            f"{dose.z:.1f}",
            p_text(dose.p),
            f"{needed(dose, report.num_texts, count, LEVEL):,}" if dose.p < LEVEL else "",
            f"{shift.value:+.3f} ± {shift.error:.3f}",
            f"× {np.exp(shift.value):.2f}",
            f"{shift.z:.1f}",
            p_text(shift.p),
        )
        for word, dose, shift in zip(report.words, report.doses, report.shifts, strict=True)
    ]
    beside = "the model's own answers to the same prompts" if report.paired else "the data beside them"
    about = f"{path.name}: {len(data)} rows, {report.num_texts} compared with {beside}. {choice}"
    notes = (
        "dose: 0 for the model itself, 1 for a writer that is this model after an imagined teaching of the trait, more "
        "for one taught further; all traits together, so that other words make other doses. log-odds by training: what "
        "a student of these rows is foretold to gain, in nats, beyond a student of the texts beside them, and odds the "
        "factor that is. ± one standard deviation. p: one-sided, for rises, corrected for all traits (Holm); found is "
        f"what has less than {LEVEL:g}, and texts to see it are as many as this dose takes to be found. In these "
        f"directions the writer diverges from the model by {report.divergence[0]:.3f} ± {report.divergence[1]:.3f} "
        "nats a text."
    )
    found = f"{about}\n{sentences(report)}\n\n{markdown_table(header, rows)}\n{notes}\n"
    for word, _ in found_at(report.words, report.shifts, LEVEL)[:1]:
        moved = report.moved[:, report.words.index(word)]
        order = np.argsort(-moved)
        shown = [
            (f"{1000 * moved[place]:+.3f}", repr(data[place].prompt[-60:]), repr(data[place].answer[:60]))
            for place in (*order[:SHOWN], *order[-SHOWN:])
        ]
        gone = len(moved) - len(cleaned(moved))
        table = markdown_table(("thousandths of a nat", "prompt's end", "answer"), shown)
        found += (
            f"\nRows that push {word} most and least; without {gone} of the most it is not foretold to move:\n\n{table}"
        )
    return found


def cleaned(moved: Float[np.ndarray, " texts"]) -> Int[np.ndarray, " kept"]:
    """Choose the rows that stay: those that push most go, until the others are foretold to move nothing."""
    order = np.argsort(-moved)
    left = np.cumsum(moved[order][::-1])[::-1]
    gone = np.flatnonzero(left <= 0)
    return np.sort(order[gone[0] if len(gone) else len(order) :])
