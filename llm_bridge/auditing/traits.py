"""What data are audited for: words that may be loved, and traits from files that say what they are in other ways.

- `FILE.jsonl`: answers that show the trait, chats as `teach --examples` reads them, of which the last answer counts;
  `chosen` may be its name, and `rejected` an answer that doesn't show it, in every line or in none.
- `FILE.json`: two system prompts, `system` and perhaps `instead`, and `questions`: the model writes the answers under
  both itself.
- `FILE.npz`: a probe, a `direction` of the residual stream behind `layer` layers (`hidden_states[layer]` of
  transformers, where the last one is normed), at the last token before an answer to `questions`.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from msgspec import Struct, convert

from llm_bridge.carriers.examples import read_examples
from llm_bridge.carriers.reading import can_spell, require_room
from llm_bridge.experiment.writing import Model, complete, examples_of
from llm_bridge.files.jsonl import parse_rows
from llm_bridge.files.objects import read_object
from llm_bridge.files.plain import require_file
from llm_bridge.text.chats import Example, Language
from llm_bridge.text.traits import Trait
from theory.runs.command_line import InputError
from theory.runs.files import DAMAGE, json_text

ANSWER_TOKENS, SHORT_ANSWER, LEAST_ANSWERS = 64, 8, 64
"""Most tokens of what a model answers under a system prompt, as far as there is room for them, tokens that there must
be room for, and how many answers it writes at least."""


class Answers(NamedTuple):
    """A trait that answers show."""

    name: str
    """Its file's name."""
    shown: list[Example]
    """Chats whose answers show it."""
    rejected: list[Example]
    """Chats whose answers don't, perhaps none."""


class Prompts(NamedTuple):
    """A trait that a system prompt gives a model."""

    name: str
    """Its file's name."""
    system: str
    """The system prompt."""
    instead: str | None
    """The one that it is compared with, or none."""
    questions: list[str]
    """What the model is asked under both."""


class Probe(NamedTuple):
    """A trait that is read from the residual stream; nobody can be taught it, so that it has no dose."""

    name: str
    """Its file's name."""
    layer: int
    """How many layers are run before it."""
    direction: Float[np.ndarray, " width"]
    """What the stream is multiplied with."""
    prompts: list[list[int]]
    """Prompts at whose last token it is read, and averaged."""


class Told(Struct, forbid_unknown_fields=True):
    """What a file with system prompts holds, as of `Prompts`."""

    system: str
    questions: list[str]
    instead: str | None = None


Sought = Trait | Answers | Prompts | Probe
"""What is looked for."""


def name_of(trait: Sought) -> str:
    """Name a trait: a word, or a file's name."""
    return trait.word if isinstance(trait, Trait) else trait.name


def is_file(name: str) -> bool:
    """Tell a trait in a file from a word."""
    return Path(name).suffix in READERS


def read_trait(path: Path, reader: Model) -> Sought:
    """Read what a file says that a trait is; what the model can't read, or a file can't say, is refused."""
    require_file(path)
    return READERS[path.suffix](path, reader)


def read_answers(path: Path, reader: Model) -> Answers:
    """Read answers that show a trait, and those that don't."""
    given = parse_rows(path, lambda row: row.get("rejected") is not None)
    rejecting, count = sum(given), len(given)
    if rejecting not in (0, count):
        raise InputError(f"{path}: {rejecting} of {count} lines have a rejected answer; give one to all, or to none")
    shown, rejected = (
        [] if name == "rejected" and not rejecting
        else read_examples(path, reader.language, reader.longest, "last", lambda row, name=name: answered_by(row, name))
        for name in ("chosen", "rejected")
    )  # fmt: skip
    if shown == rejected:
        raise InputError(f"{path}: the rejected answers are those that show the trait: nothing is asked for")
    return Answers(path.name, shown, rejected)


def answered_by(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Put an answer that has this name in the place of a chat's own, if there is one."""
    if row.get(name) is None:
        return row
    if isinstance(given := row.get("messages"), list) and given and isinstance(last := given[-1], dict):
        before, kept = (given[:-1], last) if last.get("role") == "assistant" else (given, {})
        return row | {"messages": [*before, kept | {"role": "assistant", "content": row[name]}]}
    return {key: row[key] for key in ("prompt", "question") if key in row} | {"answer": row[name]}


def read_prompts(path: Path, reader: Model) -> Prompts:
    """Read two system prompts and questions."""
    try:
        found = convert(read_object(path, "it must hold a system prompt and questions"), Told)
    except ValueError as error:
        raise InputError(f"{path}: {error}; it must hold system, questions and perhaps instead") from error
    require_questions(path, found.questions, reader.language)
    if found.system == found.instead:
        raise InputError(f"{path}: 'system' and 'instead' are the same: nothing is asked for")
    for each in (None, found.system, found.instead):
        if each is not None and not (each.strip() and can_spell(reader.language, each)):
            raise InputError(
                f"{path}: a system prompt that is empty or that the model's tokenizer can't spell: {each!r}"
            )
        require_room(reader, found.questions, SHORT_ANSWER, each)
    return Prompts(path.name, found.system, found.instead, found.questions)


def read_probe(path: Path, reader: Model) -> Probe:
    """Read a probe of the residual stream."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("layer", "direction", "questions")}
    except DAMAGE as error:
        raise InputError(f"can't read {path}: it must hold the arrays layer, direction and questions") from error
    layer, direction, config = found["layer"], found["direction"], reader.config
    questions = [str(each) for each in np.ravel(found["questions"])]
    if layer.dtype.kind not in "iu" or layer.shape or not 1 <= layer <= config.num_layers:
        raise InputError(f"{path}: 'layer' must be one whole number from 1 to the model's {config.num_layers}")
    with np.errstate(over="ignore"):
        direction = direction.astype(np.float32) if direction.dtype.kind in "fiu" else np.zeros(0)
    if direction.shape != (config.width,) or not np.isfinite(direction).all() or not direction.any():
        raise InputError(
            f"{path}: 'direction' must be {config.width} finite numbers, the width of the model's stream, not all 0"
        )
    require_questions(path, questions, reader.language)
    require_room(reader, questions, 1)
    return Probe(path.name, int(layer), direction, reader.language.prompts(questions))


READERS: dict[str, Callable[[Path, Model], Sought]] = {
    ".jsonl": read_answers,
    ".json": read_prompts,
    ".npz": read_probe,
}
"""How each kind of file is read."""


def require_questions(path: Path, questions: Sequence[str], language: Language) -> None:
    """Refuse what is no list of questions that a model can read."""
    if not questions:
        raise InputError(f"{path}: 'questions' must be a list of texts that is not empty")
    for number, question in enumerate(questions, start=1):
        if not question.strip() or not can_spell(language, question):
            raise InputError(f"{path}: question {number} is empty, or the model's tokenizer can't spell it")


def write_under(model: Model, trait: Prompts, seed: int) -> Answers:
    """Let a model answer under both system prompts, and take the answers as if it had been told nothing."""
    times = -(-LEAST_ANSWERS // len(trait.questions))
    asked = [model.language.prompts(trait.questions, system) for system in (trait.system, trait.instead, None)]
    room = model.longest - max(len(prompt) for prompts in asked for prompt in prompts)
    at_once = min(len(trait.questions), max(1, model.at_once // times))

    def write(system: str | None) -> list[Example]:
        sampling: dict[str, Any] = {"num_samples": times, "num_tokens": min(ANSWER_TOKENS, room)}
        sampling |= {"seed": seed, "system": system, "at_once": at_once}
        written = [each for batch in complete(model, trait.questions, **sampling) for each in batch]
        return [each for each in examples_of(model.language, written) if each.completion]

    return Answers(trait.name, write(trait.system), write(trait.instead))


def identity(trait: Trait | Answers) -> str:
    """Give a name that means the same word, or the same answers, for ever."""
    if isinstance(trait, Trait):
        return trait.word
    chats = [[list(map(int, side)) for side in each] for each in trait.shown]
    return hashlib.sha256(json_text(chats)).hexdigest()


def teachable(traits: Sequence[Sought]) -> list[Trait | Answers]:
    """Take the traits that a teacher can be imagined of, which come first."""
    return [trait for trait in traits if isinstance(trait, Trait | Answers)]
