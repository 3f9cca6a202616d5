"""Verification of problems of one's own: any tree of parameters, the same verdicts, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import CLAIMS, Problem, Sampling, losses, verify
from theory.networks import Params
from theory.verification import check_claims


def initialize(key: jax.Array) -> Params:
    one, two = jax.random.split(key)
    return [jax.random.normal(one, (2, 4)), (jax.random.normal(two, (4, 3)), {"scale": jnp.ones(())})]


def apply(params: Params, inputs: jax.Array) -> jax.Array:
    first, (second, rest) = params
    return rest["scale"] * jnp.sin(inputs @ first) @ second


def trait(params: Params, key: jax.Array) -> jax.Array:
    return jnp.mean(apply(params, jax.random.uniform(key, (4, 2)))[:, 0] ** 2)


def heads(params: Params, inputs: jax.Array) -> jax.Array:
    return apply(params[0], inputs)


YOURS = Problem(
    apply=apply,
    initialize=initialize,
    draw_inputs=partial(jax.random.uniform, shape=(5, 2)),
    imitation_loss=losses.squared_error,
    trait_loss=trait,
)


def test_any_tree_of_parameters_is_verified_and_recorded_under_its_names(few):
    outcome = verify(YOURS, claims=["alignment"], sampling=few)
    assert [verdict.outcome for verdict in outcome.verdicts] == ["holds", "holds"]
    assert outcome.results["alignment/yours/measured"].shape == (few.num_seeds, len(few.teacher_steps))
    assert outcome.table.count("holds") == 2
    assert all(isinstance(array, np.ndarray) for array in outcome.results.values())


def test_claims_run_once_each_in_the_order_of_the_theory():
    assert check_claims(["null-space", "alignment", "null-space"]) == ["alignment", "null-space"]
    assert check_claims(tuple(CLAIMS)) == list(CLAIMS)


def test_unknown_claims_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown claims.*astrology.*choose from alignment"):
        verify(YOURS, claims=["astrology", "alignment"])


def test_no_problem_is_refused():
    with pytest.raises(ValueError, match="at least one problem"):
        verify()


def test_single_precision_is_refused_before_anything_runs():
    with jax.enable_x64(False), pytest.raises(ValueError, match="needs float64"):
        verify(YOURS, sampling=Sampling())
