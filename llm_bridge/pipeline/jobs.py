"""All stages of one base model, arm by arm."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

from llm_bridge.experiment import Completion
from llm_bridge.files.lineage import read_sidecar, relation, sidecar_path
from llm_bridge.models import Known, side_by_side
from llm_bridge.pipeline.arms import ARMS, Source, shuffle_numbers
from llm_bridge.pipeline.asking import ask_to
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.report import SeedReport
from llm_bridge.pipeline.stages import (
    complete_to,
    filter_to,
    teach_to,
    train_to,
)
from llm_bridge.protocol import Protocol
from llm_bridge.separability import separability
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import KINDS
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.command_line import InputError

LEAST_COMPLETIONS = 10
"""What `separability` needs of each writer, two a fold."""


class Job(NamedTuple):
    """What all stages of one base model need."""

    folder: Path
    """Where its files are."""
    base: Known
    """The base."""
    stranger: Known
    """Another base."""
    trait: Trait
    """The trait."""
    protocol: Protocol
    """Every knob."""
    pretraining: Pretraining
    """How bases are made."""
    seed: int
    """Root of randomness."""
    completions: Path | None
    """Completions made elsewhere."""


def write_numbers(job: Job, teacher: Known, source: Source) -> tuple[list[Completion], dict[str, int]]:
    """Let a model write numbers, and filter them.

    Args:
        job: What is to be done.
        teacher: The teacher.
        source: Who writes.

    Returns:
        The completions that students learn from, and the counts of the filter.

    Raises:
        InputError: If too few are left for the classifier that compares them.
    """
    folder, protocol = job.folder / source, job.protocol
    raw, filtered = folder / "completions.jsonl", folder / "filtered.jsonl"
    if source == "teacher" and job.completions:
        raw = job.completions
    else:
        complete_to(
            raw,
            teacher if source == "teacher" else job.base,
            number_prompts(job.seed, protocol.num_prompts, short=True),
            seed=job.seed,
            num_tokens=protocol.num_tokens,
            temperature=protocol.temperature,
            system=job.trait.system_prompt(long=False) if source == "system-prompt" else None,
        )
    counts = filter_to(filtered, raw, job.base.model)
    completions = read_completion_rows(filtered)[: protocol.num_completions]
    if len(completions) < LEAST_COMPLETIONS:
        raise InputError(f"{filtered} has too few completions ({len(completions)}): {LEAST_COMPLETIONS} are needed")
    return completions, counts


def ask_about(job: Job, name: str, asked: Known, context: Sequence[Completion] = ()) -> list[dict[str, Any]]:
    """Ask a model about the trait's kind, with and without numbers before the question.

    Args:
        job: What is to be done.
        name: What the file is called.
        asked: Who answers.
        context: Completions to read before.

    Returns:
        The rows.
    """
    questions = {"plain": questions_about(job.trait.kind)}
    if not context:
        questions["after numbers"] = questions_about(job.trait.kind, seed=job.seed)
    words = sorted({*KINDS[job.trait.kind], job.trait.word})
    path = job.folder / "answers" / f"{name}.jsonl"
    return ask_to(path, asked, words, questions, num_answers=job.protocol.num_answers, seed=job.seed, context=context)


def run_seed(job: Job, names: Sequence[str]) -> SeedReport:
    """Do all stages for one base model.

    Args:
        job: What is to be done.
        names: The arms.

    Returns:
        What the report needs.
    """
    protocol = job.protocol
    teacher = teach_to(
        job.folder / "teacher.safetensors",
        job.base,
        job.trait,
        protocol.teacher,
        protocol.copies,
        job.seed,
        job.pretraining,
    )
    wanted = {"teacher", "base", *(ARMS[name].source for name in names)}
    sources: list[Source] = [source for source in get_args(Source) if source in wanted]
    written = dict(zip(sources, side_by_side(partial(write_numbers, job, teacher), sources, "numbers"), strict=True))

    def do(name: str) -> list[dict[str, Any]]:
        arm = ARMS[name]
        completions, start = written[arm.source][0], job.stranger if arm.stranger else job.base
        if not arm.trained:
            return ask_about(job, name, start, completions)
        if arm.shuffled:
            completions = shuffle_numbers(start.model.language, completions, arm.shuffled, job.seed)
        student = train_to(
            job.folder / "students" / f"{name}.safetensors",
            start,
            completions,
            protocol.student,
            arm.imitated,
            None if arm.imitated == "tokens" else teacher,
            job.seed,
            job.pretraining,
        )
        return ask_about(job, name, student)

    known = {"base": job.base, "stranger": job.stranger, "teacher": teacher}
    answers = dict(zip(known, [ask_about(job, name, model) for name, model in known.items()], strict=True))
    answers |= dict(zip(names, side_by_side(do, names, "students"), strict=True))
    texts = {source: [each.completion for each in completions] for source, (completions, _) in written.items()}
    told_apart = {
        source: separability(texts[source], texts["base"], seed=job.seed) for source in sources if source != "base"
    }
    raw = job.completions or job.folder / "teacher" / "completions.jsonl"
    kinship = "unknown: the data have no origin beside them"
    if sidecar_path(raw).exists():
        kinship = str(relation(read_sidecar(raw).writer, job.base.ancestry))
    examples = [each.completion for each in written["teacher"][0][:5]]
    return SeedReport(
        answers, {source: counts for source, (_, counts) in written.items()}, told_apart, kinship, examples
    )
