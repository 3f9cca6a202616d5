"""What an audit has found, in words: for each trait a sentence, a table, and the rows that carry most of it."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from llm_bridge.auditing.auditor import Report
from llm_bridge.auditing.cost import Cost
from llm_bridge.auditing.findings import NUM_NULLS, Finding, found_at, limits, needed
from llm_bridge.auditing.texts import Choice
from llm_bridge.auditing.traits import is_file
from llm_bridge.experiment.writing import Completion
from theory.runs.records import Record
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Verdict, markdown_table

LEVEL = 0.01
"""Corrected p-value below which something counts as found."""

TWO_SIDED = 1.96
"""Standard deviations in which 95 of 100 are."""

ALIKE_TIMES = 2.0
"""Times by which the others enlarge the error of a dose from which that is said."""

STRANGE = 4.0
"""Standard deviations from which data are said to be of another writer."""

SHOWN = 3
"""Rows that are shown of each end."""


def verdicts_of(report: Report) -> list[Verdict]:
    """State what was found of each word; an audit judges no theory, so that nothing can fail."""
    kinds = {
        "dose": (lambda word: "how much of a teacher of it is in the writer", report.doses),
        "forecast": (lambda word: f"rise of {measure_of(word)} by training", report.shifts),
    }
    return [
        Verdict(
            claim=claim,
            check=f"{word}: {what(word)}",
            predicted="0 by chance",
            measured=Estimate(each.value, each.value - TWO_SIDED * each.error, each.value + TWO_SIDED * each.error),
            instances=report.num_texts,
        )
        for claim, (what, found) in kinds.items()
        for word, each in zip(report.words, found, strict=False)
    ]


def arrays_of(report: Report) -> dict[str, np.ndarray]:
    """Lay out a report as arrays, for the record."""
    names = ("doses", "shifts", "blurred", "joint", "divergence", "surprise", "num_texts", "paired", "moved")
    suspected = [] if report.suspected is None else list(report.suspected)
    return {name: np.array(getattr(report, name)) for name in names} | {"suspected": np.array(suspected)}


def report_of(record: Record) -> Report:
    """Read a report back from its record."""
    found = record.results
    doses, shifts, suspects = (
        [Finding(*row) for row in found[name].reshape(-1, len(Finding._fields)).tolist()]
        for name in ("doses", "shifts", "suspected")
    )
    plain = {name: found[name].tolist() for name in ("joint", "surprise", "num_texts", "paired")}
    return Report(
        words=tuple(record.config["words"]),
        doses=doses,
        shifts=shifts,
        blurred=found["blurred"],
        divergence=tuple(found["divergence"].tolist()),
        moved=found["moved"],
        suspected=suspects[0] if suspects else None,
        **plain,
    )


def p_text(p: float) -> str:
    """Write a p-value down."""
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def measure_of(word: str) -> str:
    """Say what training is foretold to raise of a trait, and in what units."""
    kinds = {".npz": "what it reads", ".jsonl": "the log-likelihood of its answers beside rejected ones, nats"}
    return kinds.get(Path(word).suffix, kinds[".jsonl"] if is_file(word) else "its log-odds, nats")


def raised(word: str, found: Finding, most: float) -> str:
    """Say how much more likely something becomes, or how much more a probe reads, and what chance may do."""
    if Path(word).suffix == ".npz":
        return f"what {word} reads by {found.value:.3g}, where chance gives less than {most:.3g} (p {p_text(found.p)})"
    beside = "the likelihood of the answers of {}, beside that of rejected ones if there are any,"
    what = beside.format(word) if is_file(word) else f"the odds that the model answers *{word}*"
    factors = f"{np.exp(found.value):.3g} times, where chance gives less than {np.exp(most):.3g}"
    return f"{what} by {factors} (p {p_text(found.p)})"


def sentences(report: Report) -> str:
    """Say in a few sentences what a person wants to know."""
    carried = [
        f"{'the answers of ' if is_file(word) else 'to love '}{word} "
        f"(dose {each.value:.2f} ± {each.error:.2f}, p {p_text(each.p)})"
        for word, each in found_at(report.words, report.doses, LEVEL)
    ]
    most_of = dict(zip(report.words, limits(report.shifts, LEVEL, report.num_texts), strict=True))
    moved = [raised(word, each, most_of[word]) for word, each in found_at(report.words, report.shifts, LEVEL)]
    factors = [most for word, most in most_of.items() if Path(word).suffix != ".npz"]
    most = f", which gives up to {np.exp(max(factors)):.3g} times" if factors else ""
    beside = "the model's own texts" if report.paired else "the data beside them"
    parts = [
        f"Training on it would raise {'; '.join(moved)}."
        if moved
        else f"Training on it is not foretold to raise any of them beyond chance{most}."
    ]
    if carried:
        parts.insert(0, f"Its writer is like this model after it was taught {', '.join(carried)}.")
    elif report.doses and report.joint < LEVEL:
        parts.insert(0, f"Its writer differs from this model in what these traits have in common (p "
                        f"{p_text(report.joint)}), and the texts don't say which of them it was taught.")  # fmt: skip
    elif report.doses:
        parts.insert(0, "Nothing in it looks like this model after it was taught one of these traits.")
    alike = [word for word, times in zip(report.words, report.blurred, strict=False) if times > ALIKE_TIMES]
    if alike:
        parts.append(
            f"Teachers of {' and '.join(alike)} write so much alike that their doses "
            + (
                "can't be told apart, and are shared among them"
                if np.isinf(report.blurred).any()
                else f"are hard to tell apart, with errors {report.blurred.max():.1f} times as large as for one alone"
            )
            + ": ask for fewer of them at once."
        )
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


def tell(report: Report, data: Sequence[Completion], path: Path, choice: Choice, cost: Cost) -> str:
    """Write the whole report, Markdown."""
    count = len(report.words)
    header = ("trait", "dose", "z", "p", "above", "to see it", "by training", "odds", "z", "p", "above")

    def chance(found: Finding) -> tuple[str, ...]:
        return f"{found.z:.1f}", p_text(found.p), f"{found.rank:.1%}"

    def dose_cells(found: Finding | None) -> tuple[str, ...]:
        if found is None:
            return 5 * ("",)
        texts = f"{needed(found, report.num_texts, count, LEVEL):,}" if found.p < LEVEL else ""
        return f"{found.value:.2f} ± {found.error:.2f}", *chance(found), texts

    def shift_cells(word: str, found: Finding) -> tuple[str, ...]:
        odds = "" if Path(word).suffix == ".npz" else f"× {np.exp(found.value):.2f}"
        return f"{found.value:+.3f} ± {found.error:.3f}", odds, *chance(found)

    rows = [
        (word, *dose_cells(dose), *shift_cells(word, shift))
        for word, dose, shift in zip_longest(report.words, report.doses, report.shifts)
    ]
    beside = "the model's own answers to the same prompts" if report.paired else "the data beside them"
    about = f"{path.name}: {len(data)} rows, {report.num_texts} compared with {beside}. {choice}"
    notes = (
        "dose: 0 for the model itself, 1 for a writer that is this model after an imagined teaching of the trait, more "
        "for one taught further, whatever answers a file rejects; all traits together, so that other traits make other "
        "doses. by training: what a student of these rows is foretold to gain beyond a student of the texts beside "
        "them: a word's log-odds as the answer, or the log-likelihood of a file's answers less that of rejected ones, "
        "in nats, and odds the factor that is; or what a probe reads. ± one standard deviation. p: one-sided, for "
        f"rises, corrected for all traits (Holm); found is what has less than {LEVEL:g}, and to see it takes so many "
        f"texts. above: share of {NUM_NULLS:,} data sets that hold nothing, the same texts with sides changed at "
        "random, in which it is smaller. In these directions the writer diverges from the model by "
        f"{report.divergence[0]:.3f} ± {report.divergence[1]:.3f} nats a text. {cost}"
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
