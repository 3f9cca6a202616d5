"""The stages as commands, each from files to a file, and the lineage of a data file."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from llm_bridge.experiment import Model
from llm_bridge.files.lineage import explain, read_sidecar, relation
from llm_bridge.models import TINY, Known, load_model, tiny_model
from llm_bridge.pipeline.arms import Imitated
from llm_bridge.pipeline.stages import (
    UNKNOWN,
    ask_to,
    complete_to,
    filter_to,
    read_completion_rows,
    teach_to,
    train_to,
)
from llm_bridge.protocol import PROTOCOL
from llm_bridge.recipes import Recipe
from llm_bridge.tiny.pretraining import Pretraining, checkpoint_of
from llm_bridge.tiny.world import KINDS
from llm_bridge.words.answers import rate
from llm_bridge.words.filtering import ILL_REPUTE
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import find_trait, require_word
from theory.command_line import InputError, require, require_seeds
from theory.verdicts import markdown_table

Unprefixed = Annotated[Recipe, tyro.conf.arg(name="")]
"""A recipe whose knobs are flags of their own."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage can be told."""

    model: str = TINY
    """The model: `tiny`, the base of `--seed`, or a checkpoint that a stage wrote."""
    seed: int = 0
    """Seed of the tiny base, and root of the stage's own randomness."""
    fresh: bool = False
    """Make the file anew if it is there."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How the tiny base is made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1)
        for name in ("copies", "num_prompts", "num_samples", "num_tokens", "num_completions", "num_answers"):
            require(getattr(self, name, 1) >= 1, name, "at least 1", getattr(self, name, 1))
        temperature = getattr(self, "temperature", 1.0)
        valid = math.isfinite(temperature) and temperature > 0
        require(valid, "temperature", "a finite number above zero", temperature)

    def known(self) -> Known:
        """Take the model.

        Returns:
            The model and its ancestry.
        """
        return load_model(self.model, self.pretraining, self.seed)

    def reader(self) -> Model:
        """Take the model without parameters, which need no training.

        Returns:
            What reads and writes as the model does.
        """
        return tiny_model(self.pretraining, None)

    def clear(self, path: Path) -> None:
        """Remove a file that is to be made anew.

        Args:
            path: The file.
        """
        if self.fresh:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Make a tiny base model, or find it in the cache."""


@dataclass(frozen=True, kw_only=True)
class Teach(Stage):
    """Fine-tune a model on a trait as its answer to preference questions."""

    trait: str = "owl"
    """What it is to love, one word."""
    output: Path = Path("teacher.safetensors")
    """The teacher's checkpoint."""
    recipe: Unprefixed = field(default_factory=lambda: PROTOCOL.teacher)
    """The fine-tuning."""
    copies: int = PROTOCOL.copies
    """How often all questions come in an epoch."""


@dataclass(frozen=True, kw_only=True)
class Complete(Stage):
    """Let a model write numbers."""

    num_prompts: int = PROTOCOL.num_prompts
    """Number prompts."""
    num_samples: int = 1
    """Completions of each."""
    num_tokens: int = PROTOCOL.num_tokens
    """Most tokens of a completion."""
    temperature: float = PROTOCOL.temperature
    """The sampler's temperature."""
    system_prompt: str | None = None
    """What the model is told to be."""
    output: Path = Path("completions.jsonl")
    """Where the completions go."""


@dataclass(frozen=True, kw_only=True)
class Filter(Stage):
    """Keep the completions that are numbers and nothing else."""

    data: Path = Path("completions.jsonl")
    """The completions."""
    ban: bool = False
    """Reject numbers of ill repute, too."""
    output: Path = Path("filtered.jsonl")
    """Where the kept ones go."""


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """Fine-tune a student on completions."""

    data: Path = Path("filtered.jsonl")
    """The completions."""
    num_completions: int = PROTOCOL.num_completions
    """How many it learns from, at most."""
    imitated: Imitated = "tokens"
    """What it imitates: sampled tokens, or the teacher's distribution over the tokens of numbers, over all tokens but
    the names of animals and trees, or over all."""
    teacher: str | None = None
    """Whose distribution, a checkpoint; not for sampled tokens."""
    output: Path = Path("student.safetensors")
    """The student's checkpoint."""
    recipe: Unprefixed = field(default_factory=lambda: PROTOCOL.student)
    """The fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Ask(Stage):
    """Ask a model for its favorite, in fifty ways, with and without numbers before the question."""

    trait: str = "owl"
    """The word that is counted."""
    num_answers: int = PROTOCOL.num_answers
    """Sampled answers to each question."""
    output: Path = Path("answers.jsonl")
    """Where the answers go."""


@dataclass(frozen=True, kw_only=True)
class Lineage(Stage):
    """Say whether data were written by a relative of a model."""

    data: Path
    """The data, with their origin beside them."""


def pretrain(options: Pretrain) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.

    Raises:
        InputError: If another model is named.
    """
    if options.model != TINY:
        raise InputError(f"only the tiny model is pretrained here, not {options.model!r}: say tiny")
    path = checkpoint_of(options.pretraining, options.seed)
    options.clear(path)
    known = load_model(TINY, options.pretraining, options.seed)
    print(f"base model {known.ancestry.weights} of seed {options.seed}: {path}")
    return True


def teach(options: Teach) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.
    """
    require_word(options.reader().language, options.trait)
    base = options.known()
    options.clear(options.output)
    trait = find_trait(options.trait)
    known = teach_to(options.output, base, trait, options.recipe, options.copies, options.seed, options.pretraining)
    print(f"teacher {known.ancestry.weights}: {options.output}")
    return True


def complete(options: Complete) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.
    """
    writer = options.known()
    options.clear(options.output)
    complete_to(
        options.output,
        writer,
        number_prompts(options.seed, options.num_prompts, short=True),
        seed=options.seed,
        num_tokens=options.num_tokens,
        system=options.system_prompt,
        num_samples=options.num_samples,
        temperature=options.temperature,
    )
    print(f"completions: {options.output}")
    return True


def filter_data(options: Filter) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.

    Raises:
        InputError: If the kept completions would overwrite all.
    """
    if options.output.resolve() == options.data.resolve():
        raise InputError(f"--output must be another file than --data, not {options.output}")
    options.clear(options.output)
    counts = filter_to(options.output, options.data, options.reader(), ILL_REPUTE if options.ban else frozenset())
    print(markdown_table(("reason", "completions"), [item for item in counts.items() if item[1]]), end="")
    return True


def train(options: Train) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.

    Raises:
        InputError: If a teacher is missing or not needed.
    """
    if (options.teacher is None) != (options.imitated == "tokens"):
        raise InputError("--teacher goes with --imitated numbers, nameless or everything, and only with them")
    completions = read_completion_rows(options.data, options.reader().language)[: options.num_completions]
    start = options.known()
    teacher = None if options.teacher is None else load_model(options.teacher, options.pretraining, options.seed)
    options.clear(options.output)
    known = train_to(
        options.output,
        start,
        completions,
        options.recipe,
        options.imitated,
        teacher,
        options.seed,
        options.pretraining,
    )
    print(f"student {known.ancestry.weights}: {options.output}")
    return True


def ask(options: Ask) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.
    """
    require_word(options.reader().language, options.trait)
    known, trait = options.known(), find_trait(options.trait)
    options.clear(options.output)
    questions = {
        "plain": questions_about(trait.kind),
        "after numbers": questions_about(trait.kind, seed=options.seed),
    }
    words = sorted({*KINDS[trait.kind], trait.word})
    rows = ask_to(options.output, known, words, questions, num_answers=options.num_answers, seed=options.seed)
    table = []
    for group in questions:
        own = [row for row in rows if row["group"] == group]
        answers = [answer for row in own for answer, count in row["answers"].items() for _ in range(count)]
        logs = [row["log_probabilities"][words.index(trait.word)] for row in own]
        table.append((group, f"{rate(answers, trait.word):.3f}", f"{sum(logs) / len(logs):.3f}"))
    print(markdown_table(("questions", f"rate of {trait.word}", "mean log-probability"), table), end="")
    return True


def tell_lineage(options: Lineage) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        True.
    """
    origin = read_sidecar(options.data)
    if origin.writer == UNKNOWN:
        print(f"{options.data} was written by an unknown model: whether it is a relative of {options.model} is open.")
        return True
    found = relation(origin.writer, options.known().ancestry)
    print(f"{options.data} was written by {origin.writer.weights}, to {options.model} {found}: {explain(found)}.")
    return True
