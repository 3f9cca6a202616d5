"""Subliminal learning's theorem, verified numerically: closed-form predictions next to simulated steps, in JAX.

Bring a `Problem` and `verify` it. What the theorem speaks of is in `theory.problem`, `theory.losses` and
`theory.traits`, its closed forms in `theory.predictions`, and `theory.claims` has each claim with its derivation.
"""

import importlib
from typing import TYPE_CHECKING, Any

import theory.runs.startup  # noqa: F401

if TYPE_CHECKING:
    from theory import (
        claim,
        claims,
        combinations,
        curvature,
        decrease,
        displaced_inits,
        finite_step,
        labels,
        losses,
        networks,
        one_step,
        optimizers,
        outside_losses,
        predictions,
        problem,
        requirements,
        runs,
        step_limits,
        symmetries,
        tangent_kernel,
        traits,
        verification,
        zoo,
    )
    from theory.auditing import audit
    from theory.claim import Claim
    from theory.problem import Problem
    from theory.runs.sweeps import Sampling
    from theory.verification import verify

__all__ = [
    "CLAIMS",
    "Problem",
    "Sampling",
    "audit",
    "claim",
    "claims",
    "combinations",
    "curvature",
    "decrease",
    "displaced_inits",
    "finite_step",
    "labels",
    "losses",
    "networks",
    "one_step",
    "optimizers",
    "outside_losses",
    "predictions",
    "problem",
    "requirements",
    "runs",
    "step_limits",
    "symmetries",
    "tangent_kernel",
    "traits",
    "verification",
    "verify",
    "zoo",
]

CLAIMS: dict[str, "Claim"]
"""Every claim by its name, in the order of their numbers."""

WHERE = {
    "Problem": "theory.problem",
    "Sampling": "theory.runs.sweeps",
    "audit": "theory.auditing",
    "verify": "theory.verification",
}
"""Where the package's names are defined: each is imported when it is asked for, and so are its modules."""


def __getattr__(name: str) -> Any:
    if name == "CLAIMS":
        return importlib.import_module("theory.claim").all_claims()
    if name in WHERE:
        globals()[name] = getattr(importlib.import_module(WHERE[name]), name)
        return globals()[name]
    if name in __all__:
        return importlib.import_module(f"theory.{name}")
    raise AttributeError(f"module 'theory' has no attribute {name!r}")
