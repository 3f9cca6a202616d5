"""Experiments: their small programs draw what an instance is drawn as alone, once for all who measure it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Problem, Sampling, losses, zoo
from theory.experiments import experiment, first_key, ignores_key
from theory.problem import Instance, draw_instance, split_key, take_key
from theory.runs import programs
from theory.runs.chunks import kept_in
from theory.runs.programs import Experiment
from theory.runs.sweeps import sweep

SHIFTS = jnp.arange(100.0) / 7


def initialize(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (4, 3))


def apply(params: jax.Array, inputs: jax.Array) -> jax.Array:
    return inputs @ params


PROBLEM = Problem(
    apply=apply,
    initialize=initialize,
    draw_inputs=partial(jax.random.normal, shape=(8, 4)),
    imitation_loss=losses.squared_error,
    trait_loss=lambda params, data: jnp.mean(apply(params, data)),
    draw_trait_data=partial(jax.random.uniform, shape=(2, 4)),
)
CONSTANT = replace(PROBLEM, draw_inputs=lambda key: jnp.ones((8, 4)))
OWN_DATA = replace(PROBLEM, trait_loss=lambda params, key: jnp.mean(params), draw_trait_data=take_key)


class Seen(NamedTuple):
    instance: Instance


def look(problem: Problem, instance: Instance) -> Seen:
    """Everything that was drawn, and a number of the problem's."""
    return Seen(jax.tree.map(numbers, instance._replace(inputs=problem.apply(instance.student, instance.inputs))))


def numbers(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_same(left: Any, right: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-15), left, right)


@pytest.mark.parametrize(
    ("problem", "shared", "key_of"),
    [
        (PROBLEM, True, None),
        (PROBLEM, False, None),
        (PROBLEM, False, first_key(3)),
        (CONSTANT, True, None),
        (OWN_DATA, True, first_key(2)),
    ],
    ids=["shared init", "another init", "first of three keys", "inputs that ignore their key", "data from the key"],
)
def test_an_experiment_measures_the_instances_that_are_drawn_alone(
    problem: Problem, shared: bool, key_of: Callable[[jax.Array], jax.Array] | None
):
    def alone(index: int) -> Seen:
        key = jax.random.fold_in(jax.random.key(3), index)
        instance = draw_instance(problem, key if key_of is None else key_of(key), shared=shared)
        return look(problem, instance._replace(key=key))

    swept = sweep(experiment(problem, look, shared=shared, key_of=key_of), 3, 5, chunk_size=2)
    assert_same(swept, jax.tree.map(lambda *leaves: np.stack(leaves), *map(alone, range(5))))


def test_keywords_are_for_what_measures():
    def scale(problem: Problem, instance: Instance, *, factor: float) -> Seen:
        return Seen(jax.tree.map(lambda leaf: factor * leaf, look(problem, instance).instance))

    one, other = (sweep(experiment(PROBLEM, scale, factor=factor), 0, 4, chunk_size=4) for factor in (1.0, -2.0))
    assert_same(other, jax.tree.map(lambda leaf: -2.0 * leaf, one))


@dataclass
class Around:
    """A function that is as good as another, and can't be hashed."""

    center: float

    def __call__(self, key: jax.Array) -> jax.Array:
        return self.center + jax.random.normal(key, (8, 4))


def test_a_function_that_can_not_be_hashed_draws_for_itself():
    draw = Around(1.0)
    near, again = (sweep(experiment(replace(PROBLEM, draw_inputs=draw), look), 0, 2, chunk_size=2) for _ in range(2))
    far = sweep(experiment(replace(PROBLEM, draw_inputs=Around(5.0)), look), 0, 2, chunk_size=2)
    assert_same(near, again)
    assert not np.any(near.instance.inputs == far.instance.inputs)


def test_what_is_drawn_in_single_precision_is_drawn_again_in_double():
    with jax.enable_x64(False):
        single = sweep(experiment(PROBLEM, look), 0, 2, chunk_size=2)
    double = sweep(experiment(PROBLEM, look), 0, 2, chunk_size=2)
    assert (single.instance.teacher.dtype, double.instance.teacher.dtype) == (np.float32, np.float64)


def drawn_by(one: Experiment) -> list[Callable[..., Any]]:
    """Functions that an experiment draws by, in their order."""
    called: list[Callable[..., Any]] = []

    def run(function: Callable[[jax.Array], Any], keys: Any) -> Any:
        called.append(function)
        return (keys,) * 4

    one.draw(None, run)
    return called


def test_only_what_depends_on_a_key_is_drawn():
    draw, data = PROBLEM.draw_inputs, PROBLEM.draw_trait_data
    assert drawn_by(experiment(PROBLEM, look)) == [split_key, initialize, draw, data]
    assert drawn_by(experiment(PROBLEM, look, shared=False)) == [split_key, initialize, initialize, draw, data]
    assert drawn_by(experiment(CONSTANT, look)) == [split_key, initialize, take_key, data]
    assert drawn_by(experiment(CONSTANT, look, key_of=first_key(3)))[:2] == [first_key(3), split_key]


def test_experiments_with_the_same_parts_draw_by_the_same_programs():
    def new_programs(*experiments: Experiment) -> int:
        before = programs._drawing.cache_info().misses
        Sampling(num_seeds=3).sweep_all(dict(enumerate(experiments)), "test")
        return programs._drawing.cache_info().misses - before

    own = replace(PROBLEM, initialize=lambda key: initialize(key))
    assert new_programs(experiment(own, look), experiment(own, look, shared=False)) <= len(
        drawn_by(experiment(own, look))
    )
    again = replace(own, imitation_loss=losses.cross_entropy, trait_loss=lambda params, data: jnp.sum(params))
    assert new_programs(experiment(own, look), experiment(again, look, shared=False)) == 0
    assert new_programs(experiment(replace(own, draw_inputs=lambda key: 2 * own.draw_inputs(key)), look)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"initialize": lambda key: 2 * initialize(key)},
        {"draw_inputs": lambda key: PROBLEM.draw_inputs(key) + SHIFTS[:32].reshape(8, 4)},
        {"draw_inputs": lambda key: jnp.ones((8, 4))},
        {"draw_trait_data": lambda key: PROBLEM.draw_trait_data(jax.random.fold_in(key, 1))},
    ],
    ids=["init", "inputs by an array", "inputs by ignoring the key", "data of the trait"],
)
def test_kept_chunks_are_not_taken_once_something_else_is_drawn(changes: dict[str, Any], tmp_path: Path):
    other = experiment(replace(PROBLEM, **changes), look)
    with kept_in(tmp_path / "chunks"):
        first = sweep(experiment(PROBLEM, look), 0, 4, chunk_size=4)
        found = sweep(other, 0, 4, chunk_size=4)
    assert_same(found, sweep(other, 0, 4, chunk_size=4))
    assert not all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(found)))


def test_kept_chunks_are_not_taken_if_the_same_programs_drew_something_else(tmp_path: Path):
    normal, uniform = (partial(draw, shape=(4, 4)) for draw in (jax.random.normal, jax.random.uniform))
    parts = replace(PROBLEM, initialize=normal, draw_inputs=uniform)
    like_init, like_inputs = (experiment(replace(parts, draw_trait_data=draw), look) for draw in (normal, uniform))
    with kept_in(tmp_path / "chunks"):
        first, found = (sweep(one, 0, 4, chunk_size=4) for one in (like_init, like_inputs))
    assert np.all(found.instance.trait_data > 0)
    assert not np.all(first.instance.trait_data > 0)


@pytest.mark.parametrize("other", [SHIFTS, SHIFTS + (np.arange(100) == 50)], ids=["the same", "another"])
def test_kept_chunks_are_taken_if_an_array_that_is_drawn_from_is_the_same(other: Any, tmp_path: Path):
    def shifted(shifts: Any) -> Experiment:
        return experiment(replace(PROBLEM, initialize=lambda key: initialize(key) + shifts[44:56].reshape(4, 3)), look)

    folder = tmp_path / "chunks"
    with kept_in(folder):
        for shifts in (SHIFTS, other):
            sweep(shifted(shifts), 0, 4, chunk_size=4)
        assert len(list(folder.glob("*.npz"))) == (1 if other is SHIFTS else 2)


def test_of_the_zoo_s_inputs_the_constant_ones_alone_ignore_their_key():
    assert [name for name, draw in zoo.INPUTS.items() if ignores_key(draw)] == ["constant"]


@pytest.mark.parametrize(
    ("draw", "ignores"),
    [
        (lambda key: np.ones(3), True),
        (lambda key: {"tokens": jnp.arange(3), "mask": jnp.sin(jnp.ones(3))}, True),
        (lambda key: (jnp.ones(3), key), False),
        (lambda key: jnp.ones(3) + jax.random.normal(key), False),
    ],
    ids=["an array", "a tree that is computed", "the key itself", "added noise"],
)
def test_what_makes_nothing_of_its_key_ignores_it(draw: Callable[[jax.Array], Any], ignores: bool):
    assert ignores_key(draw) == ignores
