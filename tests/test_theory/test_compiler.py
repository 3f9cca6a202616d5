"""The compiler's numbers: a program that some versions get wrong, and two threads that compute at once."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import requires
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Problem, outside_losses, zoo
from theory.experiments import experiment
from theory.predictions import transfer_form
from theory.problem import Instance, draw_instance
from theory.runs import compiler
from theory.runs.command_line import InputError
from theory.runs.programs import COMPILER_OPTIONS, ChunkProgram

REFERENCE = replace(zoo.build(zoo.REFERENCE), imitation_loss=outside_losses.negative_inner_product)
draw = partial(draw_instance, REFERENCE)


def curvature(instance: Instance) -> jax.Array:
    """Products of a forward pass, multiplied with themselves and summed: what was fused and read unwritten memory."""
    scaling = jax.tree.map(jnp.zeros_like, instance.teacher) | {"head": instance.teacher["head"]}
    return transfer_form(REFERENCE, instance, scaling, scaling)


def expected(instance: Instance) -> jax.Array:
    """The same in words of the outputs, E[f^2]: along this direction they change by themselves."""
    return jnp.mean(jnp.sum(REFERENCE.apply(instance.teacher, instance.inputs) ** 2, axis=-1))


@pytest.fixture
def compiled_as_for_users() -> Iterator[None]:
    """Without what makes tests compile fast, with which nothing is fused."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def forgetful(monkeypatch, tmp_path) -> None:
    """A cache that remembers nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler.require_right_compiler.cache_clear()


@pytest.mark.usefixtures("compiled_as_for_users")
def test_a_program_compiled_again_and_again_gives_the_same_right_numbers():
    """Drawing is not compiled along: it takes most of the time, and jax 0.12 is as often wrong without."""
    keys = jax.random.split(jax.random.key(0), 64)
    instances = jax.jit(jax.vmap(draw), compiler_options=COMPILER_OPTIONS)(keys)
    wanted = np.asarray(jax.jit(jax.vmap(expected))(instances))
    for options in compiler.KINDS * 4:
        found = jax.jit(jax.vmap(lambda one: curvature(one))).lower(instances).compile(options)(instances)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.ptp(wanted) > 0.1


@pytest.mark.usefixtures("compiled_as_for_users", "forgetful")
def test_a_compiler_that_is_right_is_tried_once_for_its_version_options_and_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "COMPILATIONS", 3)
    compiler.require_right_compiler()
    monkeypatch.setattr(compiler, "is_right", lambda: pytest.fail("tried again"))
    compiler.require_right_compiler.cache_clear()
    compiler.require_right_compiler()
    tried = []
    monkeypatch.setattr(compiler, "is_right", lambda: tried.append(1) or True)
    for change in (
        lambda: monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false"),
        lambda: monkeypatch.setattr(compiler, "version", lambda _: "0.12.0"),
        lambda: monkeypatch.setattr(compiler, "processor", lambda: "another"),
    ):
        change()
        compiler.require_right_compiler.cache_clear()
        compiler.require_right_compiler()
    assert len(tried) == 3
    assert len(list((tmp_path / "subliminal-learning" / "compilers").iterdir())) == 4


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("wrong", [jnp.nan, 1 + 1e-6])
def test_a_compiler_that_is_wrong_once_is_refused_and_nothing_is_remembered(monkeypatch, tmp_path, wrong):
    """Here the program is wrong from its third compilation on, by as little as a millionth."""
    monkeypatch.setattr(compiler, "COMPILATIONS", 3)
    slope, calls = compiler.slope, []

    def miscompiled(weights: list[jax.Array], inputs: jax.Array) -> jax.Array:
        calls.append(1)
        return slope(weights, inputs) * (wrong if len(calls) == 3 else 1)

    monkeypatch.setattr(compiler, "slope", miscompiled)
    with pytest.raises(InputError, match=r"jaxlib .* computes wrong numbers .* install jax==0\.9\.2"):
        compiler.require_right_compiler()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("forgetful")
def test_a_cache_that_can_not_be_written_is_no_error(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr(compiler, "is_right", lambda: True)
    compiler.require_right_compiler()


def test_the_project_itself_asks_for_a_version_that_is_right():
    """Bounds that only uv's constraints have would not reach who installs with pip."""
    assert "jax<0.10,>=0.9.2" in (requires("subliminal-learning") or [])


class Inner(NamedTuple):
    """What a program of a sweep measures."""

    value: jax.Array


@pytest.mark.usefixtures("compiled_as_for_users")
def test_sweeps_of_two_threads_at_once_give_the_bits_of_one(at_once):
    def measure(problem: Problem, instance: Instance, *, power: int) -> Inner:
        return Inner(curvature(instance) ** power)

    programs = [ChunkProgram(experiment(REFERENCE, measure, power=power), 0, 64) for power in (1, 2)]
    alone = [program(0).measurement.value for program in programs]
    for _ in range(3):
        together = at_once(*[partial(program, 0) for program in programs])
        np.testing.assert_array_equal([found.measurement.value for found in together], alone)
