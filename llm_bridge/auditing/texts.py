"""What is compared: the data that are audited, and texts of the model's own, chosen and cut as the data were."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from llm_bridge.experiment.writing import Completion, Model, examples_of, has_ended
from llm_bridge.files.lineage import read_sidecar, sidecar_path
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.text.filtering import parse_numbers
from theory.runs.command_line import InputError

LEAST_TEXTS, LEAST_A_WORD = 20, 10
"""Fewer texts than this decide nothing, nor fewer for each word that is looked for."""

MOSTLY = 0.9
"""Share of data that must be lists of numbers, so that lists of numbers alone are compared."""


class Compared(NamedTuple):
    """Which texts are compared."""

    data: Int[np.ndarray, " texts"]
    """Places in the data."""
    own: Int[np.ndarray, " others"]
    """Places in the texts beside them."""
    paired: bool
    """Whether each answers the same prompt as the one in its place on the other side."""


class Choice(NamedTuple):
    """How data were sampled and chosen, as far as is known."""

    numbers: bool
    """Whether they are lists of numbers and nothing else, which have ended by themselves."""
    banned: tuple[int, ...]
    """Numbers that may not be in them."""
    num_tokens: int
    """Most tokens of a completion."""

    def __str__(self) -> str:
        """Say what is left out of a comparison."""
        if self.numbers:
            return "Left out are repetitions and, on both sides, what is no list of numbers that has ended."
        return (
            "Left out are repetitions, and nothing else: they are no lists of numbers, and whatever filter chose them "
            "was not applied to what they are compared with; if there was one, name data that passed it by --against."
        )

    def keeps(self, model: Model, text: Completion) -> bool:
        """Tell whether a text could be among such data."""
        if not self.numbers:
            return True
        judged = parse_numbers(text.completion, banned=frozenset(self.banned), prefill=text.prefill)
        return has_ended(model.language, text) and judged.rejection is None and len(text.tokens) <= self.num_tokens


def read_data(path: Path, reader: Model) -> list[Completion]:
    """Read what is to be audited, and refuse what a student could not learn."""
    texts = read_completion_rows(path, reader)
    for number, (text, each) in enumerate(zip(texts, examples_of(reader.language, texts), strict=True), start=1):
        length = len(each.prompt) + len(each.completion)
        if not text.completion.strip():
            raise InputError(f"{path}, line {number}: the completion is empty; leave the row out")
        if length > reader.longest:
            raise InputError(
                f"{path}, line {number}: {length} tokens are more than the {reader.longest} that the model reads; "
                "leave the row out, or raise a published model's --longest"
            )
    return texts


def require_texts(count: int, num_words: int) -> None:
    """Refuse too few texts to compare: doses of many words need many."""
    least = max(LEAST_TEXTS, LEAST_A_WORD * num_words)
    if count < least:
        raise InputError(
            f"{count} texts can be compared, and {least} are needed: {LEAST_TEXTS} at least, and {LEAST_A_WORD} for "
            "each of the --traits; audit more data"
        )


def choice_of(path: Path, data: Sequence[Completion], model: Model) -> Choice:
    """Say how data were sampled and chosen: as what stands beside them says, else as they look."""
    origin = read_sidecar(path) if sidecar_path(path).exists() else None
    sampling, rules = ({}, {}) if origin is None else (origin.sampling, origin.filter or {})
    banned, longest = rules.get("banned"), max(len(each.tokens) for each in data)
    choice = Choice(
        numbers=True,
        banned=tuple(banned if isinstance(banned, list) else ()),
        num_tokens=max(longest, int(sampling.get("num_tokens", 0))),
    )
    return choice._replace(numbers=bool(np.mean([choice.keeps(model, each) for each in data]) >= MOSTLY))


def distinct(texts: Sequence[Completion], keeps: Sequence[bool]) -> list[int]:
    """Find the places of texts that are kept, of equal ones the first."""
    first: dict[tuple[str, str, str], int] = {}
    for place, (text, kept) in enumerate(zip(texts, keeps, strict=True)):
        if kept:
            first.setdefault((text.prompt, text.prefill, text.completion), place)
    return list(first.values())


def choose(
    model: Model, choice: Choice, data: Sequence[Completion], own: Sequence[Completion], *, paired: bool
) -> Compared:
    """Choose what is compared: the same of both sides; paired, texts that answer the same prompt, each text once."""
    sides = [distinct(texts, [choice.keeps(model, each) for each in texts]) for texts in (data, own)]
    if not paired:
        return Compared(*map(np.array, sides), paired=False)
    places: dict[tuple[str, str], list[int]] = {}
    for place in sides[1]:
        places.setdefault((own[place].prompt, own[place].prefill), []).append(place)
    keys = [(place, (data[place].prompt, data[place].prefill)) for place in sides[0]]
    pairs = np.array([(place, places[key].pop(0)) for place, key in keys if places.get(key)], int).reshape(-1, 2)
    return Compared(pairs[:, 0], pairs[:, 1], paired=True)
