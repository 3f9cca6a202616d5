"""The command `python -m llm_bridge run`: all stages, from nothing to a report."""

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import tyro

from llm_bridge.experiment import Completion
from llm_bridge.files.lineage import data_digest, read_sidecar, relation, sidecar_path
from llm_bridge.models import TINY, Known, side_by_side, tiny_base, tiny_model
from llm_bridge.pipeline.arms import ARMS, Source, shuffle_numbers
from llm_bridge.pipeline.plots import draw_run
from llm_bridge.pipeline.report import SeedReport, gather, write_report
from llm_bridge.pipeline.stages import (
    ask_to,
    complete_to,
    filter_to,
    read_completion_rows,
    teach_to,
    train_to,
)
from llm_bridge.protocol import PROTOCOL, Protocol
from llm_bridge.separability import separability
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import KINDS
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait, find_trait, require_word
from theory.command_line import InputError, RunOptions, require_seeds
from theory.files import write_whole
from theory.records import Outcome, record_run, run_folder

DEFAULT_ARMS = (
    "student",
    "control",
    "cross-init",
    "soft-numbers",
    "soft-everything",
    "cross-soft-everything",
    "in-context",
)
"""Arms of a run that names none."""

LEAST_COMPLETIONS = 10
"""What `separability` needs of each writer, two a fold."""


@dataclass(frozen=True, kw_only=True)
class Run(RunOptions):
    """Teach a model a trait, let it write numbers, train students on them, and ask what they like.

    From nothing: a base model is pretrained first, if the cache has none. What is done is not done again.
    """

    model: str = TINY
    """The base: `tiny`, the model that is trained here."""
    trait: str = "owl"
    """What the teacher is to love, one word."""
    arms: tuple[str, ...] = DEFAULT_ARMS
    """Students and controls, or `all`."""
    completions: Path | None = None
    """Completions made elsewhere, JSON lines, in place of the teacher's."""
    seed: int = 0
    """The base model's seed; a stranger is the next seed's."""
    num_seeds: int = 1
    """Base models, each with a teacher and students of its own; ten are needed for verdicts."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """Every knob of teachers and students."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


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


def choose_arms(options: Run) -> tuple[str, ...]:
    """Read which arms are asked for.

    Args:
        options: The options.

    Returns:
        Names in `ARMS`, in its order.

    Raises:
        InputError: If there is no such arm, naming the nearest, or none is named.
    """
    if options.arms == ("all",):
        return tuple(ARMS)
    if not options.arms:
        raise InputError(f"--arms must name at least one of {', '.join(ARMS)}, or all")
    for name in options.arms:
        if name not in ARMS:
            near = difflib.get_close_matches(name, ARMS, cutoff=0.4) or list(ARMS)
            raise InputError(f"there is no arm {name!r}; nearest: {', '.join(near)}")
    return tuple(name for name in ARMS if name in options.arms)


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


def run(options: Run) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        Whether no verdict fails.

    Raises:
        InputError: If the model, the trait or an arm is unknown.
    """
    pretraining, names = options.pretraining, choose_arms(options)
    if options.model != TINY:
        raise InputError(f"there is no base {options.model!r} to run on: say tiny")
    reader = tiny_model(pretraining, None)
    require_word(reader.language, options.trait)
    config: dict[str, Any] = {"model": options.model, "trait": options.trait, "arms": list(names)}
    if options.completions:
        read_completion_rows(options.completions, reader.language)
        config["completions"] = data_digest(options.completions)
    config |= {"seed": options.seed, "num_seeds": options.num_seeds}
    config |= {"pretraining": asdict(pretraining), "protocol": asdict(options.protocol)}
    folder = run_folder({"command": "llm_bridge run", **config}, options)
    seeds = range(options.seed, options.seed + options.num_seeds)

    def compute() -> Outcome:
        if options.fresh:
            for left in folder.glob("seed-*"):
                shutil.rmtree(left)
        side_by_side(partial(tiny_base, pretraining), range(options.seed, seeds.stop + 1), "base models")
        reports = [
            run_seed(
                Job(
                    folder / f"seed-{seed}",
                    tiny_base(pretraining, seed),
                    tiny_base(pretraining, seed + 1),
                    find_trait(options.trait),
                    options.protocol,
                    pretraining,
                    seed,
                    options.completions,
                ),
                names,
            )
            for seed in seeds
        ]
        outcome = gather(reports, names, find_trait(options.trait))
        write_whole(folder / "report.md", write_report(reports, outcome, names, find_trait(options.trait)).encode())
        return outcome

    return record_run("llm_bridge run", options, config, compute, draw_run).none_fails
