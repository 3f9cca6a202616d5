"""Subliminal learning's theorem, verified numerically: closed-form predictions next to simulated steps, in JAX."""

import theory.runs.startup  # noqa: F401
from theory import losses, networks
from theory.claims import CLAIMS
from theory.problem import Problem
from theory.runs.sweeps import Sampling
from theory.verification import verify

__all__ = ["CLAIMS", "Problem", "Sampling", "losses", "networks", "verify"]
