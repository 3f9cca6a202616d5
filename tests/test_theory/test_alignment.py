"""Claim 1: the order of the remainder, the sign for any displacement of the teacher, and what takes them away."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.alignment import CLAIM, Alignment, aligned
from theory.one_step import ANOTHER_INIT, STRETCHED_LOSS
from theory.predictions import output_change, transfer_form
from theory.problem import draw_instance, inner_product, student_displacement
from theory.runs.checks import CONTROL, Comparison
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 32
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS)
EPSILON = np.finfo(float).eps

seeds = st.integers(0, 2**32 - 1)
small_steps = st.floats(1e-8, 1e-6)
group_weights = st.lists(st.floats(-1, 1), min_size=6, max_size=6)


class Moved(NamedTuple):
    curvature: Any
    alignment: Any
    rounding: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def follow_any_displacement(seed: jax.Array, weights: jax.Array, teacher_step: jax.Array) -> Moved:
    """Displace the teacher along a random vector, weighted in each array of parameters, and let a student follow."""
    key = jax.random.key(seed)
    instance = draw_instance(REFERENCE, key)
    leaves, tree = jax.tree.flatten(instance.teacher)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
    parts = [
        weight * jax.random.normal(key, leaf.shape) for key, leaf, weight in zip(keys, leaves, weights, strict=True)
    ]
    direction = jax.tree.unflatten(tree, parts)
    outputs, change = output_change(REFERENCE, instance.teacher, instance.inputs, direction)
    unit = jnp.mean(jnp.sum(jnp.abs(change), axis=-1)) * (1 + jnp.max(jnp.abs(outputs)))
    return Moved(
        curvature=transfer_form(REFERENCE, instance, direction, direction),
        alignment=inner_product(student_displacement(REFERENCE, instance, direction, teacher_step), direction),
        rounding=8 * EPSILON * unit,
    )


def follow(seed: int, weights: list[float], teacher_step: float) -> Moved:
    moved = follow_any_displacement(jnp.uint32(seed), jnp.array(weights), jnp.array(teacher_step))
    return Moved(*map(float, moved))


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def reference(report: Report) -> Comparison:
    return aligned(report.measurements["reference"])


@pytest.fixture(scope="module")
def stranger(report: Report) -> Comparison:
    return aligned(report.measurements[f"{CONTROL}{ANOTHER_INIT}"])


@pytest.fixture(scope="module")
def outside(report: Report) -> Comparison:
    return aligned(report.measurements[f"{CONTROL}{STRETCHED_LOSS}"])


def orders(values: np.ndarray) -> np.ndarray:
    return np.polyfit(np.log(STEPS), np.log(np.abs(values)).T, 1)[0]


def test_alignment_departs_from_its_prediction_at_second_order(reference):
    assert np.median(orders(reference.remainder)) == pytest.approx(2.0, abs=0.05)


def test_alignment_itself_is_of_first_order_and_positive_for_every_seed(reference):
    assert np.all(reference.measured > 0)
    np.testing.assert_allclose(orders(reference.measured), 1.0, atol=0.05)


def test_prediction_is_tight_at_a_small_step(reference):
    np.testing.assert_allclose(reference.measured[:, 0], reference.leading[:, 0], rtol=100 * STEPS[0])


def test_remainder_of_a_student_from_another_init_does_not_vanish(stranger):
    assert np.median(orders(stranger.remainder)) == pytest.approx(0.0, abs=0.05)


def test_another_init_gives_both_signs(stranger):
    assert 0 < np.mean(stranger.measured[:, 0] > 0) < 1


def test_a_loss_with_its_minimum_elsewhere_gives_the_wrong_sign_to_some(outside):
    assert np.min(outside.ratio) < 0


def test_any_displacement_of_the_teacher_departs_at_second_order():
    weights = [1.0, -0.5, 0.5, 1.0, -1.0, 1.0]
    moved = [[follow(seed, weights, step / 10) for step in STEPS] for seed in range(NUM_SEEDS)]
    curvature, measured, _ = np.moveaxis(np.array(moved), -1, 0)
    assert np.median(orders(measured - np.array(STEPS) / 10 * curvature)) == pytest.approx(2.0, abs=0.05)


@given(seed=seeds, weights=group_weights, step=small_steps)
def test_student_never_moves_away_from_a_nearby_teacher(seed, weights, step):
    moved = follow(seed, weights, step)
    assert moved.alignment >= -moved.rounding


@given(seed=seeds, weights=group_weights, step=small_steps)
def test_student_moves_as_far_as_predicted_for_any_displacement(seed, weights, step):
    moved = follow(seed, weights, step)
    assert moved.alignment == pytest.approx(step * moved.curvature, rel=1e4 * step, abs=moved.rounding)


@given(seed=seeds, weights=group_weights)
def test_curvature_is_never_negative(seed, weights):
    assert follow(seed, weights, 0.0).curvature >= 0


@given(seed=seeds, weights=group_weights)
def test_student_of_a_teacher_that_stands_still_does_too(seed, weights):
    moved = follow(seed, weights, 0.0)
    assert abs(moved.alignment) <= moved.rounding


@given(seed=seeds, weights=group_weights, factor=st.floats(-10, 10))
def test_curvature_is_quadratic_in_the_displacement(seed, weights, factor):
    scaled = follow(seed, [factor * weight for weight in weights], 0.0).curvature
    assert scaled == pytest.approx(factor**2 * follow(seed, weights, 0.0).curvature, rel=1e-9, abs=1e-300)


def test_linear_outputs_under_squared_error_leave_no_remainder_even_at_large_steps():
    linear = zoo.variant("linear, squared error", hidden=(), loss="squared error")
    further = replace(SAMPLING, teacher_steps=(*STEPS, 1.0, 100.0))
    result = CLAIM.verify([linear], further).measurements[linear.name]
    np.testing.assert_allclose(result.measured, result.predicted[:, None] * result.steps, rtol=1e-10)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "holds"]


@pytest.mark.parametrize(("factor", "expected"), [(1.1, ["fails", "holds"]), (-1.0, ["fails", "fails"])])
def test_claim_fails_for_a_wrong_factor_in_its_formula(factor, expected, report, judge_again):
    def wrong(result: Alignment) -> Alignment:
        return result._replace(predicted=factor * result.predicted)

    assert judge_again(CLAIM, SAMPLING, report, wrong) == expected


def test_claim_fails_if_an_instance_is_not_a_number(report, judge_again):
    def broken(result: Alignment) -> Alignment:
        return result._replace(measured=np.where(np.arange(NUM_SEEDS)[:, None] == 3, np.nan, result.measured))

    assert judge_again(CLAIM, SAMPLING, report, broken) == ["fails", "fails"]


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: Alignment) -> Alignment:
        return result._replace(visible=np.zeros(NUM_SEEDS, bool))

    assert judge_again(CLAIM, SAMPLING, report, invisible) == ["reported"]


def test_order_is_not_judged_with_too_few_visible_instances(report, judge_again):
    def mostly_invisible(result: Alignment) -> Alignment:
        return result._replace(visible=np.arange(NUM_SEEDS) > 0)

    assert judge_again(CLAIM, SAMPLING, report, mostly_invisible) == ["holds"]
