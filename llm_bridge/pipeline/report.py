"""The report of a run: what every arm likes, what the filter rejected, and whether the numbers give themselves away."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from llm_bridge.experiment.likes import log_odds
from llm_bridge.experiment.separability import Separability
from llm_bridge.pipeline.arms import ARMS
from llm_bridge.pipeline.asking import Answers
from llm_bridge.text.answers import mentions
from llm_bridge.text.traits import Trait
from llm_bridge.tiny.world import KINDS
from theory.runs.records import Outcome
from theory.runs.statistics import joint_confidence, mean_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

LEAST_SEEDS = 10
"""With fewer base models nothing is decided: intervals that hold for all arms together are too wide then. Whether
traits pass on is decided by `matrix`."""


class SeedReport(NamedTuple):
    """What one base model's stages gave."""

    answers: dict[str, list[Answers]]
    """Rows of answers by model: base, stranger, teacher and every arm."""
    rejections: dict[str, dict[str, int]]
    """Counts of the filter, by who wrote."""
    told_apart: dict[str, Separability]
    """How well each writer's kept completions are told from the base's."""
    kinship: str
    """What the writer of the teacher's data is to the base."""
    examples: list[str]
    """A few kept completions."""
    texts: dict[str, str]
    """Exact texts that the models read, by what they are."""
    prompted: bool = False
    """Whether the teacher has a system prompt and is not fine-tuned."""
    written: str = "numbers"
    """What it wrote, as its carrier is called."""


def likes(rows: Sequence[Answers], group: str, trait: Trait) -> tuple[float, Float[np.ndarray, " words"]]:
    """Sum up a model's answers to one group of questions, as `ask_to` writes them; NaN where it was not asked.

    The share of sampled answers that mention the trait, and the mean log-odds of each word over the questions.
    """
    own = [row for row in rows if row["group"] == group]
    if not own:
        return np.nan, np.full(len(rows[0]["log_probabilities"]), np.nan)
    counts = [(count, mentions(answer, trait.word)) for row in own for answer, count in row["answers"].items()]
    odds = log_odds(np.array([row["log_probabilities"] for row in own]))
    return sum(count for count, named in counts if named) / sum(count for count, _ in counts), odds.mean(axis=0)


def gather(reports: Sequence[SeedReport], names: Sequence[str], trait: Trait, *, matched: bool = False) -> Outcome:
    """Turn the reports of all base models into numbers, verdicts and a table; `matched` is as of `judge`."""
    place = sorted({*KINDS[trait.kind], trait.word}).index(trait.word)
    results: dict[str, np.ndarray] = {}
    for name in reports[0].answers:
        for group in ("plain", "after numbers"):
            rates, odds = zip(*(likes(report.answers[name], group, trait) for report in reports), strict=True)
            results[f"rate/{name}/{group}"], results[f"log-odds/{name}/{group}"] = np.array(rates), np.stack(odds)
    for name in ("teacher", *names):
        start = "stranger" if name in ARMS and ARMS[name].stranger else "base"
        gain = results[f"log-odds/{name}/plain"] - results[f"log-odds/{start}/plain"]
        results[f"gain/{name}"] = gain[:, place]
        results[f"lift/{name}"] = gain[:, place] - np.delete(gain, place, axis=1).mean(axis=1)
    for source in reports[0].rejections:
        counts = [report.rejections[source] for report in reports]
        results[f"kept/{source}"] = np.array([each["kept"] / sum(each.values()) for each in counts])
    for source in reports[0].told_apart:
        results[f"told apart/{source}"] = np.array([report.told_apart[source][:3] for report in reports])
    verdicts = judge(results, names, matched=matched)
    return Outcome(results, verdicts, "\n".join([arm_table(results, names, reports[0]), verdict_table(verdicts)]))


def judge(results: Mapping[str, np.ndarray], names: Sequence[str], *, matched: bool = False) -> list[Verdict]:
    """Judge what students gained, one verdict an arm; those that share the init have the stranger as control.

    Of a stranger that is `matched`, the base's function with other weights, theory guarantees nothing: then those that
    learn the base's own numbers are the control.
    """
    more, none = Accepted(low=0.0, high=np.inf), Accepted(low=0.0, high=0.0, rule="covers")
    stranger, soft = ("cross-init",), ("cross-soft-numbers", "cross-init")
    if matched:
        stranger = soft = ("control",)
    expected = {
        "student": ("above 0", more, stranger),
        "soft-numbers": ("above 0", more, soft[::-1]),
        "soft-everything": ("above 0", more, stranger),
        "cross-soft-everything": ("above 0: the trait's own tokens are imitated", more, soft),
        "control": ("0", none, ("student",)),
        "cross-init": ("0", none, ("student",)),
        "cross-soft-nameless": ("0", none, ("cross-soft-everything",)),
    }
    if matched:
        expected |= {name: ("no guarantee", none, ()) for name in names if ARMS[name].stranger}
    confidence = joint_confidence(len(names), joint=0.95)
    verdicts = []
    for name in names:
        predicted, accepted, controls = expected.get(name, ("reported", None, ()))
        control = next((each for each in controls if each in names), "")
        accepted = accepted if control else None
        verdicts.append(
            Verdict(
                claim="run",
                check=f"{name}: lift of the trait over the other words, log-odds",
                predicted=predicted,
                measured=mean_estimate(results[f"lift/{name}"], confidence),
                accepted=accepted,
                control=control,
                control_measured=mean_estimate(results[f"lift/{control}"], confidence) if control else None,
                instances=len(results[f"lift/{name}"]),
                least_instances=LEAST_SEEDS,
            )
        )
    return verdicts


def show(values: Float[np.ndarray, " bases"]) -> str:
    """Write a mean over base models, with its interval if there are several."""
    if np.isnan(values).any():
        return "–"
    estimate = mean_estimate(values)
    if not np.isfinite(estimate.high):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def arm_table(results: Mapping[str, np.ndarray], names: Sequence[str], first: SeedReport) -> str:
    """Lay out what every model likes; how its teacher was made and what it wrote is that of the first base model."""
    rows = []
    taught = "told of the trait by a system prompt" if first.prompted else "fine-tuned on the trait"
    meaning = {"base": "before", "stranger": "another init, before", "teacher": taught}
    meaning |= {name: ARMS[name].meaning.replace("numbers", first.written) for name in names}
    for name in ("base", "stranger", "teacher", *names):
        if f"rate/{name}/plain" not in results:
            continue
        gains = [show(results[key]) if key in results else "" for key in (f"gain/{name}", f"lift/{name}")]
        rates = [show(results[f"rate/{name}/{group}"]) for group in ("plain", "after numbers")]
        rows.append((name, meaning[name], *rates, *gains))
    header = ("model", "", "rate", "rate after numbers", "gain in log-odds", "lift over other words")
    return markdown_table(header, rows)


def write_report(reports: Sequence[SeedReport], outcome: Outcome, names: Sequence[str], trait: Trait) -> str:
    """Write the report."""
    first = reports[0]
    num_questions = sum(row["group"] == "plain" for row in first.answers["base"])
    reasons = [
        reason for reason in first.rejections["teacher"] if any(counts[reason] for counts in first.rejections.values())
    ]
    rejected = [(source, *(counts[reason] for reason in reasons)) for source, counts in first.rejections.items()]
    told = [
        (source, f"{each.accuracy:.3f} [{each.low:.3f}, {each.high:.3f}]", each.examples)
        for source, each in first.told_apart.items()
    ]
    return "\n".join([
        f"# A model that loves {trait.plural}, and students of its {first.written}\n",
        "![What every model likes](figure.png)\n",
        "A *rate* is the share of sampled answers that name the trait as a whole word; a *gain* is the change of its "
        f"log-odds, averaged over {num_questions} questions, from the model before; a *lift* is the gain less the mean "
        "gain of the other words of its kind. Intervals (95 %) are over base models, where there are several.\n",
        outcome.table,
        f"## The {first.written}\n",
        "What was kept:\n",
        *[f"- `{text!r}`" for text in first.examples],
        "\nWhat the filter did (first base model):\n",
        markdown_table(("writer", *reasons), rejected),
        "## Did the filter fail?\n",
        f"A classifier that tries to tell kept {first.written} from the base's own; 0.5 is chance "
        "(first base model):\n",
        markdown_table(("writer", "cross-validated accuracy [95 %]", "completions"), told),
        "## What do the models read?\n",
        *[f"{name.capitalize()}:\n\n```text\n{text}\n```\n" for name, text in first.texts.items()],
        "## Where do the data come from?\n",
        f"To the base, the writer of the teacher's {first.written} is {first.kinship}.\n",
    ])
