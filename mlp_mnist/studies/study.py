"""What a study is: a sweep with a question, and what others found there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SEEDS = 16
"""Seeds of a study that nobody disputes."""

LOWER, HIGHER = (-1.0, 0.0), (0.0, 1.0)
"""Ranges of a difference that has one sign."""


class Finding(NamedTuple):
    """What others reported: an accuracy at a point, or how it compares with that at another."""

    claim: str
    """In words."""
    point: str
    """Label of the point."""
    low: float
    """Least value of what is compared that agrees with the report."""
    high: float
    """Largest."""
    than: str | None = None
    """Label of the point whose accuracy is subtracted; None where the accuracy itself is meant."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A sweep with a question."""

    question: str
    """What it answers."""
    axis: str
    """What is changed, as the figure's axis says it."""
    points: Mapping[str, Mapping[str, Any]]
    """Changes of the protocol, by label."""
    places: Sequence[float] = ()
    """Where the first points stand on a logarithmic axis, one line of them after the other; without places the points
    stand below each other."""
    findings: Sequence[Finding] = field(default_factory=tuple)
    """What others found."""
    num_seeds: int = SEEDS
    """Seeds of the default preset."""
    equal: tuple[str, str] | None = None
    """Two points whose accuracies must be the same, seed by seed, to ±0.02 on average."""


def along(name: str, values: Sequence[Any], **common: Any) -> dict[str, dict[str, Any]]:
    """Vary one field.

    Args:
        name: The field.
        values: Its values.
        **common: What else is changed at every point.

    Returns:
        Points by label.
    """
    return {f"{value:g}": {name: value, **common} for value in values}


def about(value: float) -> tuple[float, float]:
    """Accept what lies within 0.05 of a reported accuracy.

    Args:
        value: The accuracy.

    Returns:
        The range.
    """
    return value - 0.05, value + 0.05
