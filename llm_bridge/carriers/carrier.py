"""A carrier: what a model is asked to write, and which of it a student may learn from."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Carrier(NamedTuple):
    """What a trait may travel on."""

    noun: str
    """What it is called, as in "learns the teacher's numbers"."""
    prompts: Callable[[int, int], list[str]]
    """Draws prompts from a seed, as many as are asked for, or all if there are fewer; a longer list starts with the
    shorter one."""
    rejects: Callable[[str, str], StrEnum | None]
    """Says why a completion, the second, of a prompt, the first, is rejected; None if it is kept. Where several reasons
    hold, the first of `reasons` counts."""
    reasons: type[StrEnum]
    """All reasons in their order."""
    rules: Mapping[str, Any]
    """What the filter was told, for the record; what JSON can hold."""


def count_rejections(carrier: Carrier, verdicts: Iterable[StrEnum | None]) -> dict[str, int]:
    """Count what the filter keeps, and then what it rejects for each reason in order, also those that never hold."""
    counts = Counter(verdicts)
    return {"kept": counts[None]} | {reason.value: counts[reason] for reason in carrier.reasons}
