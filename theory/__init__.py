"""Subliminal learning's theorem, verified numerically: closed-form predictions next to simulated steps, in JAX."""

import theory.startup  # noqa: F401
from theory import losses, networks
from theory.claims import CLAIMS
from theory.problems import Problem
from theory.sweeps import Sampling
from theory.verification import verify

__all__ = ["CLAIMS", "Problem", "Sampling", "losses", "networks", "verify"]
