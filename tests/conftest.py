"""Settings of all tests: nothing is ever broadcast by accident, and property tests are repeatable.

Tests mostly compile, which the older code generator of JAX 0.10 does in half of the time, to the same numbers but for
rounding, and in less if a program stays in one piece; JAX 0.11 ends where it is asked for what it has no more.
"""

import os
from importlib.metadata import version

if version("jax").startswith("0.10."):
    quickly = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quickly}".strip()

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the fuzzer run longer, or elsewhere."""
    parser.addoption("--fuzz-seconds", type=float, default=10, help="how long hostile input is tried")
    parser.addoption("--fuzz-seed", type=int, default=0, help="which hostile input is tried")
