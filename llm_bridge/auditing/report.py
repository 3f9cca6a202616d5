"""What an audit has found, in words: for each trait a sentence, a table, and the rows that carry most of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from llm_bridge.auditing.auditor import Report
from llm_bridge.auditing.findings import corrected
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.writing import Completion
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Verdict, markdown_table

LEVEL = 0.01
"""Corrected p-value below which something counts as found."""

TWO_SIDED = 1.96
"""Standard deviations in which 95 of 100 are."""

SHOWN = 3
"""Rows that are shown of each end."""


def verdicts_of(report: Report) -> list[Verdict]:
    """State what was found of each word; an audit judges no theory, so that nothing can fail."""
    found = []
    for word, dose, shift in zip(report.words, report.doses, report.shifts, strict=True):
        for claim, what, value, error in (
            ("dose", "how much of a teacher of it is in the writer", dose.dose, dose.error),
            ("forecast", "rise of its log-odds by training, nats", shift.shift, shift.by_chance),
        ):
            reach = TWO_SIDED * error
            measured = Estimate(value, value - reach, value + reach)
            check = f"{word}: {what}"
            found.append(
                Verdict(
                    claim=claim, check=check, predicted="0 by chance", measured=measured, instances=report.num_texts
                )
            )
    return found


def p_text(p: float) -> str:
    """Write a p-value down."""
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def sentence(report: Report) -> str:
    """Say in a few sentences what a person wants to know."""
    told, moved = (corrected([each.p for each in some]) for some in (report.doses, report.shifts))
    carried = [
        f"{word} (dose {dose.dose:.2f} ± {dose.error:.2f}, p {p_text(p)})"
        for word, dose, p in zip(report.words, report.doses, told, strict=True)
        if p < LEVEL
    ]
    first = (
        f"Its writer is like this model after it was taught to love: {', '.join(carried)}."
        if carried
        else "Nothing in it looks like this model after it was taught one of these traits."
    )
    chance = np.exp(TWO_SIDED * max(shift.by_chance for shift in report.shifts))
    pushed = [
        f"*{word}* by {np.exp(shift.shift):.2f} times (p {p_text(p)})"
        for word, shift, p in zip(report.words, report.shifts, moved, strict=True)
        if p < LEVEL
    ]
    second = (
        f"Training on it would raise the odds that the model answers {', '.join(pushed)}; chance alone gives less than "
        f"{chance:.2f} times."
        if pushed
        else f"Training on it is not foretold to raise any of them beyond what chance does ({chance:.2f} times)."
    )
    strange = abs(report.surprise) > 4
    third = (
        f"The data are {'less' if report.surprise > 0 else 'more'} likely than the model's own texts by "
        f"{abs(report.surprise):.1f} standard deviations: whoever wrote them differs from the model, by a trait or by "
        "much else."
        if strange
        else ""
    )
    return "\n".join(filter(None, (first, second, third)))


def tell(report: Report, data: Sequence[Completion], known: Known, path: Path) -> str:
    """Write the whole report, Markdown."""
    told, moved = (corrected([each.p for each in some]) for some in (report.doses, report.shifts))
    header = ("trait", "dose", "z", "p", "texts to see it", "log-odds by training", "by chance", "odds", "z", "p")
    rows = [
        (
            word,
            f"{dose.dose:.2f} ± {dose.error:.2f}",
            f"{dose.z:.1f}",
            p_text(p),
            "–" if np.isinf(dose.needed) else f"{dose.needed:,.0f}",
            f"{shift.shift:+.3f}",
            f"± {TWO_SIDED * shift.by_chance:.3f}",
            f"× {np.exp(shift.shift):.2f}",
            f"{shift.z:.1f}",
            p_text(q),
        )
        for word, dose, p, shift, q in zip(report.words, report.doses, told, report.shifts, moved, strict=True)
    ]
    beside = "answers of the model itself to the same prompts" if report.paired else "the data to compare with"
    about = f"{path.name}: {len(data)} rows, {report.num_texts} compared with {beside}."
    notes = (
        "dose: 1 for a writer that is this model after an imagined teaching of the trait, 0 for the model itself, all "
        "traits together; log-odds by training: what a student of these rows is foretold to gain beyond one of the "
        "model's own; p are one-sided and corrected for the traits asked (Holm). The writer diverges from the model by "
        f"{max(report.nats, 0):.3f} nats a text in these directions, with which no test could reach a larger z than "
        f"{np.sqrt(2 * report.num_texts * max(report.nats, 0)):.1f}."
    )
    top = int(np.argmax([each.z for each in report.shifts]))
    order = np.argsort(-report.moved[:, top])
    shown = [
        (f"{1000 * report.moved[place, top]:+.3f}", repr(data[place].prompt[-60:]), repr(data[place].answer[:60]))
        for place in (*order[:SHOWN], *order[-SHOWN:])
    ]
    carriers = markdown_table(("thousandths of a nat", "prompt's end", "answer"), shown)
    half = int(np.searchsorted(np.cumsum(report.moved[order, top]), report.moved[:, top].sum() / 2)) + 1
    return (
        f"{about}\n{sentence(report)}\n\n{markdown_table(header, rows)}\n{notes}\n\nRows that push "
        f"{report.words[top]} most and least ({half} rows at the top make half of the whole):\n\n{carriers}"
    )


def cleaned(moved: Float[np.ndarray, " texts"]) -> Int[np.ndarray, " kept"]:
    """Choose the rows that stay: those that push most go, until the others are foretold to move nothing."""
    order = np.argsort(-moved)
    left = moved.sum() - np.concatenate([[0.0], np.cumsum(moved[order])])
    gone = int(np.argmax(left <= 0))
    return np.sort(order[gone:])
