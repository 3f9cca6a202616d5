"""All stages of one base model, arm by arm."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

from llm_bridge.backends.backend import Known
from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.carriers.carrier import Carrier
from llm_bridge.experiment.cast import MIXED_PROMPTS, MIXED_SEED
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.separability import separability
from llm_bridge.experiment.writing import Completion
from llm_bridge.files.lineage import read_sidecar, relation, sidecar_path
from llm_bridge.pipeline.arms import ARMS, Source, shuffle_numbers, translate
from llm_bridge.pipeline.asking import Answers, ask_to
from llm_bridge.pipeline.completions import note_tokens, read_completion_rows
from llm_bridge.pipeline.report import SeedReport
from llm_bridge.pipeline.stages import complete_to, filter_to, teach_to, train_to
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait
from llm_bridge.tiny.world import KINDS
from theory.runs.command_line import InputError

LEAST_COMPLETIONS = 10
"""What `separability` needs of each writer, two a fold."""


class Job(NamedTuple):
    """What all stages of one base model need."""

    folder: Path
    """Where its files are."""
    base: Known
    """The base."""
    stranger: Known | None
    """Another base, if there is one."""
    trait: Trait
    """The trait."""
    carrier: Carrier
    """What its models write."""
    protocol: Protocol
    """Every knob."""
    seed: int
    """Root of randomness."""
    completions: Path | None = None
    """Completions made elsewhere."""
    prompted: bool = False
    """Whether the teacher is the base with a system prompt, and not fine-tuned."""

    def system_prompt(self, source: str) -> str | None:
        """Say what a writer is told to be, if anything."""
        told = source == "system-prompt" or (source == "teacher" and self.prompted)
        return self.trait.system_prompt(long=not self.base.backend.short) if told else None


def write_data(job: Job, teacher: Known, source: Source) -> tuple[list[Completion], dict[str, int]]:
    """Let a model write, filter it, and count."""
    folder, protocol = job.folder / source, job.protocol
    raw, filtered = folder / "completions.jsonl", folder / "filtered.jsonl"
    if source == "teacher" and job.completions:
        raw = job.completions
    else:
        complete_to(
            raw,
            teacher if source == "teacher" else job.base,
            prompts := job.carrier.prompts(job.seed, protocol.num_prompts),
            prefills=job.carrier.prefills(prompts),
            seed=job.seed,
            num_tokens=protocol.num_tokens,
            num_samples=protocol.num_samples,
            temperature=protocol.temperature,
            system=job.system_prompt(source),
        )
    counts = filter_to(filtered, raw, job.base.model, job.carrier)
    return read_completion_rows(filtered, job.base.model)[: protocol.num_completions], counts


def write_mixed(job: Job) -> list[Completion]:
    """Let the base write what is mixed into the teacher's answers, for the prompts of another seed."""
    count = job.protocol.mixed
    if count == 0:
        return []
    protocol = replace(job.protocol, num_prompts=MIXED_PROMPTS * count, num_completions=count, num_samples=1)
    own = job._replace(folder=job.folder / "mixed", seed=MIXED_SEED + job.seed, protocol=protocol)
    return write_data(own, job.base, "base")[0]


def ask_about(job: Job, name: str, asked: Known, context: Sequence[Completion] = ()) -> list[Answers]:
    """Ask a model about the trait's kind, also with numbers before the question, or only behind a context."""
    seeds = {"plain": None} if context else {"plain": None, "after numbers": job.seed}
    count = job.protocol.num_questions
    questions = {group: questions_about(job.trait.kind, seed=seed)[:count] for group, seed in seeds.items()}
    words = sorted({*KINDS[job.trait.kind], job.trait.word})
    path, system = job.folder / "answers" / f"{name}.jsonl", job.system_prompt(name) if name == "teacher" else None
    told = {"num_answers": job.protocol.num_answers, "seed": job.seed}
    return ask_to(path, asked, words, questions, system=system, context=context, **told)


def train_arm(job: Job, name: str, start: Known, completions: Sequence[Completion], teacher: Known) -> list[Answers]:
    """Make a student of an arm, or let it only read completions, and ask it."""
    arm = ARMS[name]
    if not arm.trained:
        return ask_about(job, name, start, completions)
    if arm.shuffled:
        completions = shuffle_numbers(job.base.model.language, completions, arm.shuffled, job.seed)
    path, shown = start.backend.path(job.folder / "students" / name), None if arm.imitated == "tokens" else teacher
    completions = translate(job.base.model.language, start.model.language, completions)
    student = train_to(path, start, completions, job.protocol.student, arm.imitated, shown, job.seed)
    return ask_about(job, name, student)


def run_seed(job: Job, names: Sequence[str]) -> SeedReport:
    """Do all stages for one base model."""
    protocol = job.protocol
    teacher = job.base
    if not job.prompted:
        path = job.base.backend.path(job.folder / "teacher")
        mixed = write_mixed(job)
        teacher = teach_to(path, job.base, job.trait, protocol.teacher, protocol.copies, job.seed, mixed)
    wanted = {"teacher", "base", *(ARMS[name].source for name in names)}
    sources: list[Source] = [source for source in get_args(Source) if source in wanted]
    write, many = partial(write_data, job, teacher), partial(side_by_side, tiny=job.base.backend.short)
    written = dict(zip(sources, many(write, sources, job.carrier.noun), strict=True))

    for source, (completions, _) in written.items():
        if (count := len(completions)) < LEAST_COMPLETIONS:
            filtered = job.folder / source / "filtered.jsonl"
            raise InputError(f"{filtered} has too few completions ({count}): {LEAST_COMPLETIONS} are needed")
    fewest = min(len(completions) for completions, _ in written.values())
    written = {source: (completions[:fewest], counts) for source, (completions, counts) in written.items()}

    def do(name: str) -> list[Answers]:
        start = job.stranger if ARMS[name].stranger else job.base
        assert start is not None
        return train_arm(job, name, start, written[ARMS[name].source][0], teacher)

    known = {"base": job.base} | ({} if job.stranger is None else {"stranger": job.stranger}) | {"teacher": teacher}
    answers = dict(zip(known, [ask_about(job, name, model) for name, model in known.items()], strict=True))
    answers |= dict(zip(names, many(do, names, "students"), strict=True))
    texts = {source: [each.completion for each in completions] for source, (completions, _) in written.items()}
    others = [source for source in sources if source != "base"]
    told_apart = {source: separability(texts[source], texts["base"], seed=job.seed) for source in others}
    raw = job.completions or job.folder / "teacher" / "completions.jsonl"
    kinship = "unknown: the data have no origin beside them"
    if sidecar_path(raw).exists():
        kinship = str(relation(read_sidecar(raw).writer, job.base.ancestry))
    completions = written["teacher"][0]
    kinship = "; their tokens are ".join([kinship, *note_tokens(completions).values()])
    return SeedReport(
        answers,
        {source: counts for source, (_, counts) in written.items()},
        told_apart,
        kinship,
        [each.completion for each in completions[:5]],
        show_texts(job, completions[0]),
        job.prompted,
        job.carrier.noun,
    )


def show_texts(job: Job, completion: Completion) -> dict[str, str]:
    """Write down exactly what the models read, with the tokens that mark who speaks."""
    language = job.base.model.language
    prefills = [completion.prefill]
    (asked,) = language.prompts([completion.prompt], job.system_prompt("teacher"), prefills)
    (learned,) = language.prompts([completion.prompt], prefills=prefills)
    (question,) = language.prompts(questions_about(job.trait.kind)[:1])
    learned += completion.tokens
    texts = {
        "a prompt of the teacher's": asked,
        "an example that a student learns from": learned,
        "a question": question,
    }
    return {name: language.spell(tokens) for name, tokens in texts.items()}
