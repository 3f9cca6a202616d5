"""What `compare` has measured, by name: the axes of its arrays, and how verdicts, tables and pictures read them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from theory.runs.checks import Check, Figure, Select, mean
from theory.runs.verdicts import Accepted

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


Quantity = Callable[[Results], np.ndarray]
"""From all measurements to numbers with a leading axis of seeds."""

OVER_SEEDS = mean(confidence=0.95)
"""The figure of what is only reported."""


def read(record: Any, prefix: str, results: Results) -> Any:
    """Put a record together again, with a leading axis of seeds."""
    return record(*(results[f"{prefix}/{name}"] for name in record._fields))


def of(quantity: Quantity) -> Select:
    """Take a quantity of all base models."""
    return lambda evidence: [quantity(evidence.cases)]


def check(
    predicted: str,
    quantity: Quantity,
    by: Figure = OVER_SEEDS,
    accepted: Accepted | None = None,
    *,
    control: str = "",
    broken: Quantity | None = None,
) -> Check:
    """Check a quantity of all base models, and what it is with an assumption broken; `stated` says what it is."""
    against = None if broken is None else of(broken)
    return Check(
        says="", predicted=predicted, of=of(quantity), by=by, accepted=accepted, control=control, broken=against
    )


def check_init(
    predicted: str,
    quantity: Callable[[Results, int], np.ndarray],
    by: Figure = OVER_SEEDS,
    accepted: Accepted | None = None,
    *,
    init: int = SHARED,
) -> Check:
    """Check a quantity of students of one init, with those of a stranger as the control."""
    own, strange = (lambda results, place=place: quantity(results, place) for place in (init, STRANGER))
    return check(predicted, own, by, accepted, control="stranger", broken=strange)


def stated(checks: Mapping[str, Check]) -> tuple[Check, ...]:
    """Say of each check what is checked."""
    return tuple(replace(check, says=says) for says, check in checks.items())
