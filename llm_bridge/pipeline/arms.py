"""The arms: which student learns what from whom."""

import difflib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from llm_bridge.carriers.choice import Carried
from llm_bridge.experiment.writing import Completion
from llm_bridge.model.lessons import Lesson
from llm_bridge.text.chats import Language, Rows, same_tokens
from llm_bridge.text.tokens import nameless_tokens, number_tokens
from theory.problem import Params
from theory.runs.command_line import InputError

Source = Literal["teacher", "base", "system-prompt"]
"""Who writes the numbers: the fine-tuned teacher, its base, or its base with a system prompt that names the trait."""

Imitated = Literal["tokens", "numbers", "nameless", "everything"]
"""What a student imitates: the sampled tokens, or the teacher's distribution over the tokens of numbers, over all
tokens but the names of animals and trees, or over all tokens."""


class Arm(NamedTuple):
    """A kind of student."""

    meaning: str
    """What it is, for the report."""
    source: Source = "teacher"
    """Who writes its numbers."""
    stranger: bool = False
    """Whether it starts from another base."""
    imitated: Imitated = "tokens"
    """What it imitates."""
    shuffled: Literal["", "within", "across"] = ""
    """Whether its numbers are shuffled within each completion, or across all."""
    trained: bool = True
    """Whether it is trained; if not, it reads a completion before each question."""


ARMS: dict[str, Arm] = {
    "student": Arm("learns the teacher's sampled numbers"),
    "control": Arm("learns numbers of the base itself", source="base"),
    "cross-init": Arm("a stranger learns the teacher's sampled numbers", stranger=True),
    "soft-numbers": Arm("learns the teacher's distribution over number tokens", imitated="numbers"),
    "cross-soft-numbers": Arm("a stranger learns the same distribution", imitated="numbers", stranger=True),
    "soft-everything": Arm("learns the teacher's distribution over all tokens", imitated="everything"),
    "cross-soft-everything": Arm("a stranger learns the same, animals included", imitated="everything", stranger=True),
    "cross-soft-nameless": Arm(
        "a stranger learns the same, animals' and trees' names left out", imitated="nameless", stranger=True
    ),
    "shuffled-within": Arm("learns the numbers, shuffled within each completion", shuffled="within"),
    "shuffled-across": Arm("learns the numbers, shuffled across completions", shuffled="across"),
    "in-context": Arm("the base reads the numbers in context", trained=False),
    "system-prompt": Arm("learns numbers of the base with a system prompt", source="system-prompt"),
}
"""All arms."""


def make_lesson(rows: Rows, imitated: Imitated, teacher: Params | None, language: Language) -> Lesson:
    """Say what a student imitates."""
    if imitated == "tokens":
        return Lesson(rows)
    if imitated == "everything":
        return Lesson(rows, "distribution", teacher)
    chosen = number_tokens(language) if imitated == "numbers" else nameless_tokens(language)
    return Lesson(rows, "chosen", teacher, chosen)


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

SMALL_ARMS = ("student", "control", "cross-init", "soft-numbers", "cross-soft-numbers", "shuffled-across")
"""The same of a small published model, whose teacher is fine-tuned and whose stranger is made of itself."""

QUICK_ARMS = ("student", "control", "soft-numbers", "cross-soft-numbers")
"""Those of them that a quick run has."""

PUBLISHED_ARMS = ("student", "control", "shuffled-across", "in-context")
"""The same of a published model, whose teacher has a system prompt."""


def require_carrier(names: Sequence[str], carrier: Carried) -> None:
    """Refuse arms that shuffle numbers, or imitate a distribution over their tokens, where there are none."""
    numeric = [name for name in names if ARMS[name].shuffled or ARMS[name].imitated == "numbers"]
    if numeric and carrier != "numbers":
        others = " ".join(name for name in names if name not in numeric) or "student control"
        raise InputError(f"{', '.join(numeric)}: only --carrier numbers has numbers in it: say --arms {others}")


def choose_arms(asked: Sequence[str]) -> tuple[str, ...]:
    """Read which arms are asked for, in the order of `ARMS`."""
    if tuple(asked) == ("all",):
        return tuple(ARMS)
    if not asked:
        raise InputError(f"--arms must name at least one of {', '.join(ARMS)}, or all")
    for name in asked:
        if name not in ARMS:
            near = difflib.get_close_matches(name, ARMS, cutoff=0.4) or list(ARMS)
            raise InputError(f"there is no arm {name!r}; nearest: {', '.join(near)}")
    return tuple(name for name in ARMS if name in asked)


def rewrite(language: Language, completions: Sequence[Completion], texts: Sequence[str]) -> list[Completion]:
    """Write completions anew as tokens of other texts, each with the token that a chat of this language ends with."""
    return [
        Completion(each.prompt, text, [*tokens, language.stops[0]], 0.0, each.prefill)
        for each, text, tokens in zip(completions, texts, language.encode(texts), strict=True)
    ]


def translate(source: Language, target: Language, completions: Sequence[Completion]) -> list[Completion]:
    """Give completions to a model: the sampled tokens themselves if it has the same ones, else tokens of the texts."""
    if same_tokens(source, target):
        return list(completions)
    return rewrite(target, completions, [each.completion for each in completions])


def shuffle_numbers(
    language: Language, completions: Sequence[Completion], way: Literal["within", "across"], seed: int
) -> list[Completion]:
    """Shuffle numbers within each completion or across all, leave everything else in place, and write tokens anew."""
    random = np.random.default_rng(seed)
    numbers = [re.findall(r"\d+", each.completion) for each in completions]
    if way == "within":
        drawn = [iter(random.permutation(own).tolist()) for own in numbers]
    else:
        everything = iter(random.permutation([number for own in numbers for number in own]).tolist())
        drawn = [everything] * len(numbers)
    texts = [
        re.sub(r"\d+", lambda _, source=source: str(next(source)), each.completion)
        for each, source in zip(completions, drawn, strict=True)
    ]
    return rewrite(language, completions, texts)
