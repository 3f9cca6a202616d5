"""A carrier: what a model is asked to write, and which of it a student may learn from."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Filter(Protocol):
    """Says why a completion of a prompt is rejected."""

    def __call__(self, prompt: str, completion: str, prefill: str = "") -> StrEnum | None:
        """Give the reason; None if it is kept. Where several hold, the first of the carrier's `reasons` counts.

        What is judged is the whole answer, which begins with the prefill.
        """
        ...


class Carrier(NamedTuple):
    """What a trait may travel on."""

    noun: str
    """What it is called, as in "learns the teacher's numbers"."""
    prompts: Callable[[int, int], list[str]]
    """Draws prompts from a seed, as many as are asked for, or all if there are fewer; a longer list starts with the
    shorter one."""
    rejects: Filter
    """Says why a completion is rejected."""
    reasons: type[StrEnum]
    """All reasons in their order."""
    rules: Mapping[str, Any]
    """What the filter was told, for the record; what JSON can hold."""
    prefill: Callable[[str], str] | None = None
    """Says what the answer to a prompt begins with, if it isn't left to the model; the model goes on from there."""

    def prefills(self, prompts: Sequence[str]) -> list[str]:
        """Say what the answers to some prompts begin with; an empty list if that is left to the model."""
        return list(map(self.prefill, prompts)) if self.prefill else []


def count_rejections(carrier: Carrier, verdicts: Iterable[StrEnum | None]) -> dict[str, int]:
    """Count what the filter keeps, and then what it rejects for each reason in order, also those that never hold."""
    counts = Counter(verdicts)
    return {"kept": counts[None]} | {reason.value: counts[reason] for reason in carrier.reasons}
