"""What `compare` has measured, by name: the axes of its arrays, and how verdicts, tables and pictures read them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from theory.runs.checks import Select

INITS: tuple[str, ...] = ("shared", "matched", "stranger")
"""Where students start: at the teachers' base, at a model of the same function (units rescaled), or at another base."""

SHARED, MATCHED, STRANGER = range(len(INITS))
"""Their places on the axis of inits."""

TARGETS: tuple[str, ...] = ("number tokens", "all tokens", "sampled tokens")
"""What a student imitates: the teacher's distribution over number tokens or over all tokens, or what it has written."""

IMITATED: tuple[str, ...] = ("number tokens", "all tokens", "all logits")
"""What channels are for: two cross-entropies, and the squared error of logits, which weighs rare tokens as others."""

TEACHERS: tuple[str, ...] = ("layers", "everything")
"""What the first trait's two teachers have moved."""

GROUPS: tuple[str, ...] = ("embedding", "head", "layers", "norm")
"""Groups of parameters, in the theory's order."""

Results = Mapping[str, np.ndarray]
"""Measurements by name; those of several base models have a leading axis of seeds."""


def read(record: Any, prefix: str, results: Results) -> Any:
    """Put a record together again, with a leading axis of seeds."""
    return record(*(results[f"{prefix}/{name}"] for name in record._fields))


def of(quantity: Callable[[Results], np.ndarray]) -> Select:
    """Take a quantity of all base models."""
    return lambda evidence: [quantity(evidence.cases)]


def at(place: int, quantity: Callable[[Results], np.ndarray]) -> Select:
    """Take a quantity of all base models at one place on its second axis, that of inits."""
    return of(lambda results: quantity(results)[:, place])
