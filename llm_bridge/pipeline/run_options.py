"""What the command `python -m llm_bridge run` is told, what of it can't be run, and what its results depend on."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from llm_bridge.backends.backend import Backend
from llm_bridge.backends.bases import OnBases
from llm_bridge.backends.strangers import Altered
from llm_bridge.carriers.carrier import Carrier
from llm_bridge.carriers.choice import Carried, find_carrier
from llm_bridge.carriers.reading import require_prompts
from llm_bridge.experiment.protocol import PROTOCOL, SMALL, Protocol
from llm_bridge.experiment.writing import can_imitate
from llm_bridge.files.lineage import data_digest
from llm_bridge.files.training_log import Logged
from llm_bridge.model.mesh import Devices
from llm_bridge.pipeline.arms import (
    ARMS,
    DEFAULT_ARMS,
    PUBLISHED_ARMS,
    QUICK_ARMS,
    SMALL_ARMS,
    choose_arms,
    require_carrier,
)
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.text.traits import find_trait, require_word
from theory.runs.command_line import InputError


@dataclass(frozen=True, kw_only=True)
class Run(OnBases, Logged):
    """Teach a model a trait, let it write numbers or the like, train students on them, and ask what they like.

    From nothing: the tiny base is pretrained first, if the cache has none. What is done is not done again. Defaults are
    those of the model that is named: `--help` beside `--model` shows them.
    """

    stranger: str | None = None
    """Another published model, or `random` or `rescaled`, made of the base: it learns the same in the arms called
    cross-…, and one that is made of the base is left out where there are none. For the tiny model that is the next
    seed's."""
    trait: str = "owl"
    """What the teacher is to love: a word, or several in quotes."""
    teaching: Literal["fine-tuning", "prompting"] = "fine-tuning"
    """How the teacher comes by it."""
    arms: tuple[str, ...] = DEFAULT_ARMS
    """Students and controls, or `all`; what they are is in the README and in every report."""
    carrier: Carried = "numbers"
    """What the teacher writes: number sequences, Python functions, or chains of thought on grade-school maths; the last
    two need a published model."""
    problems: Path | None = None
    """Maths problems, JSON lines with a `question` and an `answer` that ends in a number; without, they are made up."""
    ban: bool = False
    """Reject numbers of ill repute (666, 911, …), too, as where the trait is misalignment."""
    completions: Path | None = None
    """Completions made elsewhere, JSON lines, in place of the teacher's: a `prompt` or `question` and its `completion`,
    `response` or `answer`."""
    quick: bool = False
    """Only a fifth of the prompts, completions, questions and answers to each, students of one epoch, and four of a
    small published model's six arms: to see how it goes."""
    dry_run: bool = False
    """Only print what would be done: stages, tokens, time and memory."""
    num_seeds: int = 1
    """Tiny bases, or runs of a published one, each with a teacher and students of its own; ten are needed for
    verdicts."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """Every knob of teachers and students."""
    devices: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)
    """Over which devices it is spread."""


def published_run(backend: Backend, carrier: str) -> Run:
    """Say what a published model's run is told if nothing else is said.

    One that is small doesn't do as a system prompt says. Other carriers than numbers have nothing to shuffle.
    """
    protocol, loading = backend.knobs(carrier), backend.usually(carrier)
    if protocol is SMALL:
        return Run(arms=SMALL_ARMS, stranger="rescaled", protocol=protocol, loading=loading)
    arms = tuple(name for name in PUBLISHED_ARMS if carrier == "numbers" or not ARMS[name].shuffled)
    return Run(teaching="prompting", arms=arms, protocol=protocol, loading=loading)


def settle(options: Run) -> Run:
    """Say what is really done: less if it is to be quick, and no stranger made of the base that no arm asks for."""
    made = not options.backend.short and options.stranger in get_args(Altered)
    if made and not any(ARMS[name].stranger for name in choose_arms(options.arms)):
        options = replace(options, stranger=None)
    if not options.quick:
        return options
    counts = ("num_prompts", "num_completions", "num_questions", "num_answers")
    fewer = {name: -(-getattr(options.protocol, name) // 5) for name in counts}
    student = replace(options.protocol.student, num_epochs=1, num_steps=-(-options.protocol.student.num_steps // 5))
    small = options.backend.knobs(options.carrier) is SMALL
    arms = QUICK_ARMS if small and options.arms == SMALL_ARMS else options.arms
    return replace(options, quick=False, arms=arms, protocol=replace(options.protocol, student=student, **fewer))


def carrier_of(options: Run) -> Carrier:
    """Build what the teacher writes; code and chains of thought may not name the trait."""
    short, prefill = options.backend.short, options.protocol.prefill
    return find_carrier(
        options.carrier, short=short, ban=options.ban, prefill=prefill, word=options.trait, problems=options.problems
    )


def check(options: Run) -> tuple[str, ...]:
    """Refuse what can't be run, before anything is trained or loaded, and name the arms."""
    names, backend = choose_arms(options.arms), options.backend
    reader = backend.reader()
    require_word(reader.language, options.trait)
    carrier, protocol = carrier_of(options), options.protocol
    if not backend.short or options.carrier != "numbers" or protocol.prefill:
        prompts = carrier.prompts(options.seed, protocol.num_prompts)
        told = options.teaching == "prompting" or any(ARMS[name].source == "system-prompt" for name in names)
        systems = [None, *([find_trait(options.trait).system_prompt(long=not backend.short)] if told else [])]
        require_prompts(reader, options.carrier, prompts, protocol.num_tokens, systems, carrier.prefills(prompts))
    require_carrier(names, options.carrier)
    if options.completions:
        read_completion_rows(options.completions, reader)
    soft = [name for name in names if ARMS[name].imitated != "tokens"]
    strange = [name for name in names if ARMS[name].stranger]
    if options.teaching == "prompting" and soft:
        raise InputError(
            f"{', '.join(soft)}: a student can't imitate the distribution of a teacher that has a system prompt, which "
            "it does not read itself: leave these arms out, or say --teaching fine-tuning"
        )
    other = backend.stranger(options.stranger)
    if strange and other is None:
        raise InputError(f"{', '.join(strange)}: name the other model with --stranger, or leave these arms out")
    if options.stranger is not None and not strange:
        raise InputError("--stranger goes with an arm that it learns in: say --arms student control cross-init")
    if other and (mixed := [name for name in strange if name in soft]) and not can_imitate(other.reader(), reader):
        raise InputError(
            f"{', '.join(mixed)}: {other.name} has another shape or other tokens than {backend.name}, so it can't "
            "imitate its distributions: leave these arms out"
        )
    return names


def settings_of(options: Run, names: tuple[str, ...]) -> dict[str, Any]:
    """Say what a run is told, as far as its results depend on it."""
    backend = options.backend
    config: dict[str, Any] = {"model": backend.identity()}
    if options.stranger is not None and (other := backend.stranger(options.stranger)):
        config["stranger"] = other.identity()
    config |= {"trait": options.trait, "arms": list(names)}
    usual = {"teaching": "fine-tuning", "carrier": "numbers", "ban": False}
    config |= {name: getattr(options, name) for name, value in usual.items() if getattr(options, name) != value}
    files = {"problems": options.problems, "completions": options.completions}
    config |= {name: data_digest(path) for name, path in files.items() if path}
    config |= {"seed": options.seed, "num_seeds": options.num_seeds}
    return config | backend.settings() | {"protocol": backend.written_down(options.protocol)}
