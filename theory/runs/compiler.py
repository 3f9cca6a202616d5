r"""The compiler: some versions of XLA compute wrong numbers on CPUs, so it is tried before anything is measured.

jaxlib 0.10 to 0.12 were found wrong in two ways. Where a product with zeros is added to another product and the sum is
squared and summed, all is fused for the library YNNPACK, and the zeros are read from memory that nothing was written
to: NaN, infinity or anything, in nearly every compilation under 0.12 and in one of five under 0.10. Without such
fusions (XLA's option `xla_cpu_experimental_ynn_fusion_type`, left empty) two threads that sample from a model of 30
layers at once get other logits than one alone: the first 288 columns, from the second token on. Version 0.9.2 is right
in both, which is why `pyproject.toml` asks for it; who installs another one, or sets other options, is told by the
check below.
"""

import functools
import hashlib
import itertools
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from theory.runs.command_line import InputError
from theory.runs.files import cache_folder
from theory.runs.programs import COMPILER_OPTIONS, OPTIMIZED

COMPILATIONS = 60
"""How often the program is compiled, by default and as sweeps are, in turn: what is wrong in one of five compilations
of any kind escapes in 1.2 % of the checks."""

KINDS = (None, COMPILER_OPTIONS, OPTIMIZED)
"""The options with which measurements are compiled."""

SIZES = (8, 16, 16, 16, 6)
"""Inputs, units and outputs of the network in it: with three hidden layers it was wrong most often."""


def slope(weights: list[jax.Array], inputs: jax.Array) -> jax.Array:
    """Square the outputs' derivative along the last layer's weights, zeros elsewhere: the outputs themselves."""
    *body, head = weights

    def apply(weights: list[jax.Array]) -> jax.Array:
        *body, head = weights
        return functools.reduce(lambda units, layer: jnp.tanh(units @ layer), body, inputs) @ head

    _, change = jax.jvp(apply, (weights,), ([*map(jnp.zeros_like, body), head],))
    return jnp.sum(change**2)


def is_right() -> bool:
    """Compile a program that is known to be miscompiled again and again; whether it agrees with NumPy each time."""
    draws, networks = np.random.default_rng(0), 64
    weights = [draws.normal(size=(networks, *pair)) / pair[0] ** 0.5 for pair in itertools.pairwise(SIZES)]
    inputs = draws.normal(size=(networks, 32, SIZES[0]))
    units = functools.reduce(lambda units, layer: np.tanh(units @ layer), weights[:-1], inputs)
    expected = np.sum((units @ weights[-1]) ** 2, axis=(1, 2))

    def agrees(options: dict[str, str | bool] | None) -> bool:
        with jax.enable_x64(True):
            compiled = jax.jit(jax.vmap(lambda *arguments: slope(*arguments)), compiler_options=options)
            return np.allclose(compiled(weights, inputs), expected, rtol=1e-9)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return all(pool.map(agrees, itertools.islice(itertools.cycle(KINDS), COMPILATIONS)))


def processor() -> str:
    """Describe the processor, whose instructions decide what is compiled."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return f"{platform.machine()} {platform.processor()}"


@functools.cache
def require_right_compiler() -> None:
    """Refuse to measure with a compiler that gets a known program wrong; on CPUs, a few seconds.

    That it was right is remembered in the user's cache, for this version, these options and this processor.
    """
    if jax.default_backend() != "cpu":
        return
    told = "\n".join([version("jaxlib"), os.environ.get("XLA_FLAGS", ""), str(KINDS), processor()])
    remembered = cache_folder() / "compilers" / hashlib.sha256(told.encode()).hexdigest()[:16]
    if remembered.exists():
        return
    if not is_right():
        raise InputError(
            f"jaxlib {version('jaxlib')} computes wrong numbers on this processor with XLA_FLAGS="
            f"{os.environ.get('XLA_FLAGS', '')!r}: install jax==0.9.2 (uv sync does), or unset XLA_FLAGS"
        )
    with suppress(OSError):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.touch()
