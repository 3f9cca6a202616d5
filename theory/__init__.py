"""Subliminal learning's theorem, verified numerically: closed-form predictions next to simulated steps, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

import theory.runs.startup  # noqa: F401

if TYPE_CHECKING:
    from theory import losses, networks, traits
    from theory.auditing import audit
    from theory.claim import Claim
    from theory.problem import Problem
    from theory.runs.sweeps import Sampling
    from theory.verification import verify

    CLAIMS: dict[str, Claim]

__all__ = ["CLAIMS", "Problem", "Sampling", "audit", "losses", "networks", "traits", "verify"]

WHERE = {
    "Problem": "theory.problem",
    "Sampling": "theory.runs.sweeps",
    "audit": "theory.auditing",
    "verify": "theory.verification",
}
"""Where the package's names are defined: each is imported when it is asked for."""


def __getattr__(name: str) -> Any:
    if name in ("losses", "networks", "traits"):
        return importlib.import_module(f"theory.{name}")
    if name == "CLAIMS":
        return importlib.import_module("theory.claim").all_claims()
    if name in WHERE:
        return getattr(importlib.import_module(WHERE[name]), name)
    raise AttributeError(f"module 'theory' has no attribute {name!r}")
