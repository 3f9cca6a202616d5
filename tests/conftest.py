"""Settings of all tests: nothing is ever broadcast by accident, and property tests are repeatable.

Tests mostly compile, which the older code generator of JAX 0.10 does in half of the time, to the same numbers but for
rounding; JAX 0.11 has it no more, and ends where it is asked for.
"""

import os
from importlib.metadata import version

if version("jax").startswith("0.10."):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

import jax
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
