"""The compiler's numbers: a program that it got wrong in some compilations, and how it is told not to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import compiler, outside_losses, zoo
from theory.predictions import transfer_form
from theory.problems import draw_instance
from theory.programs import COMPILER_OPTIONS

REFERENCE = replace(zoo.build(zoo.REFERENCE), imitation_loss=outside_losses.negative_inner_product)


def curvature(key: jax.Array) -> jax.Array:
    """Products of a forward pass, multiplied with themselves and summed: what was fused and read unwritten memory."""
    instance = draw_instance(REFERENCE, key)
    scaling = jax.tree.map(jnp.zeros_like, instance.teacher) | {"head": instance.teacher["head"]}
    return transfer_form(REFERENCE, instance, scaling, scaling)


def expected(key: jax.Array) -> jax.Array:
    """The same in words of the outputs, E[f^2]: along this direction they change by themselves."""
    instance = draw_instance(REFERENCE, key)
    return jnp.mean(jnp.sum(REFERENCE.apply(instance.teacher, instance.inputs) ** 2, axis=-1))


@pytest.fixture
def compiled_as_for_users() -> Iterator[None]:
    """Without what makes tests compile fast, with which nothing is fused."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.usefixtures("compiled_as_for_users")
def test_a_program_compiled_again_and_again_gives_the_same_right_numbers():
    keys = jax.random.split(jax.random.key(0), 64)
    wanted = np.asarray(jax.jit(jax.vmap(expected))(keys))
    for _ in range(10):
        found = jax.jit(jax.vmap(lambda key: curvature(key))).lower(keys).compile(COMPILER_OPTIONS)(keys)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.ptp(wanted) > 0.1


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ("", f"--{compiler.FUSIONS}="),
        ("--xla_cpu_enable_fast_math=false", f"--xla_cpu_enable_fast_math=false --{compiler.FUSIONS}="),
        (f"--{compiler.FUSIONS}=LIBRARY_FUSION_TYPE_DOT", f"--{compiler.FUSIONS}=LIBRARY_FUSION_TYPE_DOT"),
    ],
)
def test_fusions_are_left_out_unless_the_user_has_said_which(monkeypatch, told, flags):
    monkeypatch.setenv("XLA_FLAGS", told)
    compiler.leave_fusions_out()
    assert os.environ["XLA_FLAGS"] == flags


def test_versions_that_may_not_have_the_option_are_told_nothing(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(compiler, "version", lambda _: "0.12.0")
    compiler.leave_fusions_out()
    assert not os.environ["XLA_FLAGS"]


@pytest.mark.parametrize("package", ["mlp_mnist", "llm_bridge"])
def test_experiments_tell_xla_when_they_are_started(package):
    command = f"import os, {package}.__main__; print(os.environ['XLA_FLAGS'])"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    said = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"--{compiler.FUSIONS}="
