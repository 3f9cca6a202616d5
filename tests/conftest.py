"""Settings of all tests: nothing is ever broadcast by accident, and property tests are repeatable.

Tests mostly compile, which the older code generator does in half of the time, to the same numbers but for rounding.
"""

import os

QUICKLY = "--xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '').replace(QUICKLY, '')} {QUICKLY}".strip()

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
