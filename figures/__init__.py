"""Rebuild every figure: verify the theorem, run the digit experiments, draw, and print the verdicts."""

import theory  # noqa: F401
