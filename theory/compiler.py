"""The compiler: a kind of program that it gets wrong on CPUs, and that it is told not to make."""

import os
from importlib.metadata import version

FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
"""XLA's option that says which operations of a CPU's program are fused for the library YNNPACK.

In jaxlib 0.10.2 and 0.11.2 a fusion of several matrix products with what follows them may give numbers as if it read
memory that nothing was written to: one such program, compiled 30 times, was wrong 1 to 9 times under 0.10.2, depending
on other options, and every time under 0.11.2. `tests/test_theory/test_compiler.py` has it.
"""

KNOWN = ("0.10.", "0.11.")
"""Versions of JAX that have this option; others end where they are told of one that they don't have."""


def leave_fusions_out() -> None:
    """Tell XLA to make no such fusions, unless the user has said which.

    Once XLA has compiled something it is too late: so it is done when the package is imported, and sweeps say it again.
    """
    told = os.environ.get("XLA_FLAGS", "")
    if FUSIONS not in told and version("jaxlib").startswith(KNOWN):
        os.environ["XLA_FLAGS"] = f"{told} --{FUSIONS}=".strip()


leave_fusions_out()
