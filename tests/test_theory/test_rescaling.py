"""Claim 7.1: students with rescaled units learn as if their steps were preconditioned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.rescaling import CLAIM, SPREADS, Rescaled, preconditioned
from theory.claims.symmetry import change_trait
from theory.predictions import predicted_displacement
from theory.problem import Params, draw_instance, student_displacement, trait_descent, trait_key
from theory.runs.programs import COMPILER_OPTIONS
from theory.symmetries import hidden_sizes, random_rescaling

RELU = zoo.variant("ReLU", activation="relu")
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 64
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS, cases="few")
ROUNDING = 1e3 * np.finfo(float).eps

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def learn_rescaled(seed: jax.Array, step: jax.Array, spread: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Change the trait loss of a rescaled student, and of one of a shared init with a preconditioned step."""
    key = jax.random.key(seed)
    instance = draw_instance(RELU, key)
    teacher = instance.teacher
    direction = trait_descent(RELU, teacher, instance.trait_data)
    rescale = random_rescaling(jax.random.fold_in(key, 4), hidden_sizes(teacher), spread)
    scales = rescale(jax.tree.map(jnp.ones_like, teacher))
    student = instance._replace(student=rescale(teacher))
    change = change_trait(RELU, student, direction, jnp.ones(1), step[None])
    displacement = student_displacement(RELU, instance, direction, step)
    preconditioned = jax.tree.map(lambda leaf, scale: leaf / scale**2, displacement, scales)
    before, after = (
        RELU.trait_loss(params, instance.trait_data) for params in (teacher, optax.tree.add(teacher, preconditioned))
    )
    return change[0, 0], after - before, jnp.abs(after) + jnp.abs(before)


@given(seed=seeds, step=st.floats(1e-3, 1), spread=st.floats(0, 1))
def test_rescaled_student_learns_as_one_of_a_shared_init_with_a_preconditioned_step(seed, step, spread):
    rescaled, preconditioned, scale = map(float, learn_rescaled(jnp.uint32(seed), jnp.array(step), jnp.array(spread)))
    assert rescaled == pytest.approx(preconditioned, rel=1e-8, abs=ROUNDING * (1 + scale))


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def form_dense(seed: jax.Array) -> tuple[jax.Array, ...]:
    """Jacobian, probabilities, direction and scales as dense arrays, beside the matrix-free KΔ_T."""
    problem = zoo.variant("small", activation="relu", hidden=(4,))
    instance = draw_instance(problem, jax.random.key(seed))
    flat, unravel = ravel_pytree(instance.teacher)
    rescale = random_rescaling(trait_key(instance.key), hidden_sizes(instance.teacher), 1.0)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    kernel = predicted_displacement(problem, instance, direction)

    def outputs(params: jax.Array) -> jax.Array:
        return problem.apply(unravel(params), instance.inputs)

    def through(params: jax.Array) -> jax.Array:
        return ravel_pytree(rescale(unravel(params)))[0]

    trees: list[Params] = [direction, rescale(jax.tree.map(jnp.ones_like, instance.teacher)), kernel]
    arrays = [ravel_pytree(tree)[0] for tree in trees]
    return jax.jacfwd(outputs)(flat), jax.nn.softmax(outputs(flat)), jax.jacfwd(through)(flat), *arrays


def test_prediction_agrees_with_dense_matrices():
    jacobian, probabilities, symmetric, direction, scales, product = map(np.asarray, form_dense(jnp.uint32(0)))
    np.testing.assert_allclose(symmetric, np.diag(scales))
    kernel = np.zeros(symmetric.shape)
    for slopes, chances in zip(jacobian, probabilities, strict=True):
        kernel += slopes.T @ (np.diag(chances) - np.outer(chances, chances)) @ slopes / len(jacobian)
    dense = direction @ np.linalg.inv(symmetric.T @ symmetric) @ kernel @ direction
    assert np.sum(direction / scales**2 * product) == pytest.approx(dense, rel=1e-10)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify(None, SAMPLING)


@pytest.fixture(scope="module")
def rescaled(report: Report) -> Rescaled:
    return report.measurements["rescaled: ReLU"]


def test_change_departs_from_its_prediction_at_second_order_at_every_spread(rescaled):
    remainder = preconditioned(rescaled).remainder.reshape(-1, len(STEPS))
    orders = np.polyfit(np.log(STEPS), np.log(np.abs(remainder)).T, 1)[0].reshape(NUM_SEEDS, -1)
    np.testing.assert_allclose(np.median(orders, axis=0), 2.0, atol=0.05)


def test_no_step_exceeds_the_largest_change_of_its_length_and_none_of_a_shared_init_leads_the_wrong_way(rescaled):
    assert np.all(np.abs(rescaled.predicted) <= rescaled.largest * (1 + ROUNDING))
    assert np.all(rescaled.shared < 0)
    assert np.all(rescaled.shared_cosine > 0)


def test_wrong_ways_appear_as_the_scales_spread(rescaled):
    rises = np.mean(rescaled.change[:, :, 0, 0] > 0, axis=0)
    assert rises[0] == 0.0
    assert rises[SPREADS.index(3.0)] > 0.0


def test_claim_holds(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 2 + ["reported"] * 3


@pytest.mark.parametrize("factor", [1.2, -1.0])
def test_claim_fails_for_a_wrong_factor_in_its_formula(factor, report, judge_again):
    def wrong(result: Rescaled) -> Rescaled:
        return result._replace(predicted=factor * result.predicted)

    assert judge_again(CLAIM, SAMPLING, report, wrong)[:2] == ["fails", "fails"]


def test_claim_fails_if_the_scales_are_left_out(report, judge_again):
    def ignorant(result: Rescaled) -> Rescaled:
        return result._replace(predicted=result.shared)

    assert judge_again(CLAIM, SAMPLING, report, ignorant)[:2] == ["fails", "fails"]
