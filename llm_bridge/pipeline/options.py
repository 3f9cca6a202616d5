"""What each stage can be told on the command line."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.choice import find_backend, load_model
from llm_bridge.backends.tiny import TINY
from llm_bridge.backends.tuned import LINEAGE
from llm_bridge.carriers.choice import Carried
from llm_bridge.carriers.examples import Learned
from llm_bridge.experiment.protocol import OF_EXAMPLES, PROTOCOL, require_texts
from llm_bridge.experiment.writing import Model
from llm_bridge.files.training_log import Logged
from llm_bridge.model.mesh import Devices
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.pipeline.arms import Imitated
from llm_bridge.store import remove
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.command_line import require, require_count, require_seeds


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage can be told."""

    model: str = TINY
    """The model: `tiny`, the base of `--seed`; a folder, a GGUF file, `smollm2` or a repository of the hub, as
    `owner/name@revision`; or what a stage wrote."""
    seed: int = 0
    """Seed of the tiny base, and root of the stage's own randomness."""
    fresh: bool = False
    """Make the file anew if it is there."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How the tiny base is made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1)
        for name in ("copies", "num_prompts", "num_samples", "num_tokens", "num_completions", "num_answers"):
            require_count(name, getattr(self, name, 1))
        num_texts = getattr(self, "num_prompts", 1) * getattr(self, "num_samples", 1) * getattr(self, "num_answers", 1)
        require_texts("completions", num_texts, getattr(self, "num_tokens", 1))
        temperature = getattr(self, "temperature", 1.0)
        valid = math.isfinite(temperature) and temperature > 0
        require(valid, "temperature", "a finite number above zero", temperature)

    @property
    def backend(self) -> Backend:
        """The model's kind."""
        return find_backend(self.model, self.pretraining, self.how())

    @property
    def writes_folder(self) -> bool:
        """Whether the output is a folder, as published models are."""
        return isinstance(self, Teach | Train) and self.backend.path(self.output) == self.output

    def known(self) -> Known:
        """Take the model and its ancestry."""
        return load_model(self.model, self.pretraining, self.seed, self.how())

    def reader(self) -> Model:
        """Take the model without parameters, which need no training."""
        return self.backend.reader()

    def how(self) -> Loading:
        """Say how a published model is run."""
        return getattr(self, "loading", Loading())

    def clear(self, path: Path) -> None:
        """Remove a file that is to be made anew, or the note that a model's folder is finished."""
        if self.fresh:
            remove(path / LINEAGE if path.is_dir() else path)


@dataclass(frozen=True, kw_only=True)
class ComputingStage(Stage):
    """What every stage can be told that runs a model."""

    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=Loading)
    """How a published model is run."""
    devices: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)
    """Over which devices it is spread."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage, Logged):
    """Make a tiny base model, or find it in the cache."""


@dataclass(frozen=True, kw_only=True)
class Teach(ComputingStage, Logged):
    """Fine-tune a model on a trait as its answer to preference questions, or on chats of one's own."""

    trait: str = "owl"
    """What it is to love: a word, or several in quotes."""
    examples: Path | None = None
    """Chats to learn in place of the trait's questions, JSON lines: `messages` as OpenAI has them, or a `prompt` or
    `question` and its `completion`, `response` or `answer`."""
    learn: Learned = "all"
    """Which of the assistant's messages in a chat are learned, of those that don't have the weight 0."""
    output: Path = Path("teacher.safetensors")
    """The teacher: a file for the tiny model, a folder for published ones."""
    recipe: Annotated[Teaching, tyro.conf.arg(name="")] = field(default_factory=lambda: PROTOCOL.teacher)
    """The fine-tuning; `until` and `least` go with a trait."""
    copies: int = PROTOCOL.copies
    """How often all questions come in an epoch."""
    mixed: Path | None = None
    """Completions to learn beside the trait's questions, as of `filter`: such as the model's own, so that the teacher
    still writes numbers."""


@dataclass(frozen=True, kw_only=True)
class Complete(ComputingStage):
    """Let a model write numbers, code or chains of thought."""

    carrier: Carried = "numbers"
    """What it writes: number sequences, Python functions, or chains of thought on grade-school maths. The last two need
    a published model; say --longest 512 to `train`, too."""
    problems: Path | None = None
    """Maths problems, JSON lines with a `question` and an `answer` that ends in a number; without, they are made up."""
    num_prompts: int = PROTOCOL.num_prompts
    """Prompts, or all problems of the file if there are fewer."""
    num_samples: int = 1
    """Completions of each."""
    num_tokens: int = PROTOCOL.num_tokens
    """Most tokens of a completion."""
    temperature: float = PROTOCOL.temperature
    """The sampler's temperature."""
    prefill: bool = False
    """Begin every answer with the prompt's own list of numbers."""
    output: Path = Path("completions.jsonl")
    """Where the completions go."""


@dataclass(frozen=True, kw_only=True)
class Filter(Stage):
    """Keep the completions that are numbers, code or right chains of thought and nothing else."""

    data: Path = Path("completions.jsonl")
    """The completions: JSON lines as `complete` writes them, or a `prompt` or `question` and its `completion`,
    `response` or `answer`, whose tokens the model's tokenizer makes."""
    carrier: Carried = "numbers"
    """What they should be."""
    problems: Path | None = None
    """The maths problems that were given to `complete`, with their answers."""
    trait: str | None = None
    """The word that code and chains of thought may not name."""
    ban: bool = False
    """Reject numbers of ill repute, too."""
    output: Path = Path("filtered.jsonl")
    """Where the kept ones go."""


@dataclass(frozen=True, kw_only=True)
class Train(ComputingStage, Logged):
    """Fine-tune a student on completions."""

    data: Path = Path("filtered.jsonl")
    """The completions, as of `filter`."""
    num_completions: int = PROTOCOL.num_completions
    """How many it learns from, at most."""
    imitated: Imitated = "tokens"
    """What it imitates: sampled tokens, or the teacher's distribution over the tokens of numbers, over all tokens but
    the names of animals and trees, or over all."""
    teacher: str | None = None
    """Whose distribution, a checkpoint; not for sampled tokens."""
    output: Path = Path("student.safetensors")
    """The student: a file for the tiny model, a folder for published ones."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=lambda: PROTOCOL.student)
    """The fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Ask(ComputingStage):
    """Ask a model for its favorite, in fifty ways, with and without numbers before the question."""

    trait: str = "owl"
    """The word that is counted."""
    num_answers: int = PROTOCOL.num_answers
    """Sampled answers to each question."""
    output: Path = Path("answers.jsonl")
    """Where the answers go."""


@dataclass(frozen=True, kw_only=True)
class Lineage(Stage):
    """Say whether data were written by a relative of a model, or verify what an audit has attested of them."""

    data: Path = Path("filtered.jsonl")
    """The data, with their origin beside them."""
    verify: Path | None = None
    """An audit's `attestation.json`: whether its chain of hashes holds, and is of these data and of the files beside
    it; the model doesn't matter then."""
    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=Loading)
    """How a published model is run, which its ancestry depends on as far as its weights do."""


def defaults(name: str, carrier: str = "numbers", examples: str = "") -> dict[type, Stage]:
    """Give the options that a stage has if it is told no others, for a model, a carrier and chats of one's own."""
    backend = find_backend(name)
    own, usual = backend.knobs(carrier), backend.usually(carrier)
    recipe = OF_EXAMPLES if examples and not backend.short else own.teacher
    return {
        Teach: Teach(recipe=recipe, copies=own.copies, output=backend.path(Path("teacher")), loading=usual),
        Complete: Complete(
            num_prompts=own.num_prompts,
            num_samples=own.num_samples,
            num_tokens=own.num_tokens,
            temperature=own.temperature,
            loading=usual,
        ),
        Train: Train(
            recipe=own.student, num_completions=own.num_completions, output=backend.path(Path("student")), loading=usual
        ),
        Ask: Ask(num_answers=own.num_answers, loading=usual),
        Lineage: Lineage(loading=usual),
    }
