"""Settings of all tests: nothing is broadcast by accident, property tests are repeatable, and no progress is shown.

Tests mostly compile, which the older code generator of JAX 0.10 does in half of the time, to the same numbers but for
rounding, and in less if a program stays in one piece; JAX 0.11 ends where it is asked for what it has no more.
"""

import os
from importlib.metadata import version

os.environ["TQDM_DISABLE"] = "1"
if version("jax").startswith("0.10."):
    quickly = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quickly}".strip()

import jax
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
