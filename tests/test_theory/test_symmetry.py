"""Claim 7: symmetries keep the function, and reordered units learn alike."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Problem, Sampling, zoo
from theory.claim import Report
from theory.claims.symmetry import CLAIM, Permuted
from theory.problem import draw_instance, trait_key
from theory.runs.programs import COMPILER_OPTIONS
from theory.symmetries import (
    UnitMap,
    enter_first,
    hidden_sizes,
    random_permutation,
    random_rescaling,
    random_signs,
)

RELU = zoo.variant("ReLU", activation="relu")
TANH = zoo.build(zoo.REFERENCE)
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 64
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS, cases="few")
ROUNDING = 1e3 * np.finfo(float).eps

seeds = st.integers(0, 2**32 - 1)


def rescaling(key: jax.Array, hidden: list[int]) -> UnitMap:
    return random_rescaling(key, hidden, 1.0)


MAPS = {"permutation": random_permutation, "signs": random_signs, "rescaling": rescaling}


class Outputs(NamedTuple):
    before: Any
    after: Any
    restored: Any
    half: Any


def compiled(problem: Problem) -> Callable[[int], dict[str, Outputs]]:
    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def move(seed: jax.Array) -> dict[str, Outputs]:
        instance = draw_instance(problem, jax.random.key(seed))
        shifted = jax.tree.map(lambda leaf: leaf + 0.1, instance.teacher)
        maps = [draw(trait_key(instance.key), hidden_sizes(shifted)) for draw in MAPS.values()]
        students = [
            (shifted, unit_map(shifted), unit_map.inverse()(unit_map(shifted)), enter_first(unit_map, shifted))
            for unit_map in maps
        ]
        flat = [student for group in students for student in group]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *flat)
        outputs = jax.vmap(problem.apply, in_axes=(0, None))(stacked, instance.inputs)
        groups = outputs.reshape(len(maps), len(Outputs._fields), *outputs.shape[1:])
        return {name: Outputs(*group) for name, group in zip(MAPS, groups, strict=True)}

    return lambda seed: jax.device_get(move(jnp.uint32(seed)))


MOVES = {"relu": compiled(RELU), "tanh": compiled(TANH)}


@pytest.mark.parametrize(
    ("activation", "names"), [("relu", ("permutation", "rescaling")), ("tanh", ("permutation", "signs"))]
)
@given(seed=seeds)
def test_symmetries_keep_the_function_and_their_inverse_leads_back(activation, names, seed):
    moved = MOVES[activation](seed)
    for outputs in (moved[name] for name in names):
        scale = np.max(np.abs(outputs.before))
        np.testing.assert_allclose(outputs.after, outputs.before, atol=ROUNDING * scale)
        np.testing.assert_allclose(outputs.restored, outputs.before, atol=ROUNDING * scale)
        assert np.max(np.abs(outputs.half - outputs.before)) > 1e-3 * scale


@pytest.mark.parametrize(("activation", "name"), [("relu", "signs"), ("tanh", "rescaling")])
def test_map_that_the_activation_does_not_commute_with_is_no_symmetry(activation, name):
    for outputs in (MOVES[activation](seed)[name] for seed in range(8)):
        assert np.max(np.abs(outputs.after - outputs.before)) > 1e-2 * np.max(np.abs(outputs.before))


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify(None, SAMPLING)


def test_claim_holds(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"]


def test_claim_fails_if_half_of_the_symmetry_is_forgotten_or_the_control_is_a_symmetry(report, judge_again):
    def forgotten(result: Permuted) -> Permuted:
        return result._replace(matched=result.broken)

    def uncontrolled(result: Permuted) -> Permuted:
        return result._replace(broken=result.matched)

    assert judge_again(CLAIM, SAMPLING, report, forgotten) == ["fails"]
    assert judge_again(CLAIM, SAMPLING, report, uncontrolled) == ["fails"]
