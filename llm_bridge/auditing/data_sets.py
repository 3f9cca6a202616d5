"""Data sets of the audit's study: what two models answer to the same prompts, in pieces and mixtures, with scores."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from llm_bridge.auditing.scores import Scores
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.writing import Completion, complete, is_kept
from theory.runs.command_line import InputError


class DataSet(NamedTuple):
    """A data set and its scores."""

    texts: list[Completion]
    """The completions."""
    scores: Scores
    """Their scores."""

    def taken(self, places: Sequence[int] | np.ndarray) -> "DataSet":
        """Take some of them."""
        return DataSet([self.texts[place] for place in places], self.scores.taken(np.array(places, int)))

    def joined(self, other: "DataSet") -> "DataSet":
        """Put another one behind it."""
        scores = jax.tree.map(lambda *leaves: np.concatenate(leaves), self.scores, other.scores)
        return DataSet([*self.texts, *other.texts], scores)


Pair = tuple[DataSet, DataSet]
"""Data, and answers of the base to the same prompts."""


def answer(writer: Known, prompts: Sequence[str], seed: int, num_tokens: int) -> dict[int, Completion]:
    """Let a model answer prompts, and give what the filter keeps by the prompt's number."""
    written = (each for batch in complete(writer.model, prompts, seed=seed, num_tokens=num_tokens) for each in batch)
    return {place: each for place, each in enumerate(written) if is_kept(writer.model.language, each)}


def in_both(one: dict[int, Completion], two: dict[int, Completion], count: int, least: int) -> list[int]:
    """Take the first prompts that both have answered, as many as are wanted if there are, and at least so many."""
    numbers = [number for number in one if number in two][:count]
    if len(numbers) < least:
        raise InputError(f"{len(numbers)} prompts were answered well by both models, not {least}: raise --num-prompts")
    return numbers


def pieces(pair: Pair, size: int, most: int) -> list[Pair]:
    """Cut data and their pairs into pieces of a size, `most` at most."""
    count = min(most, len(pair[0].texts) // size)
    cuts = [np.arange(piece * size, (piece + 1) * size) for piece in range(count)]
    return [(pair[0].taken(cut), pair[1].taken(cut)) for cut in cuts]


def mix(pair: Pair, other: Pair, share: float) -> Pair:
    """Take a share of one pair's texts, and fill up with the other's."""
    count = len(pair[0].texts)
    size = round(share * count)
    first, second = (
        side.taken(range(size)).joined(rest.taken(range(count - size))) for side, rest in zip(pair, other, strict=True)
    )
    return first, second
