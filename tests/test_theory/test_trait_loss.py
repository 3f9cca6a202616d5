"""Claim 2: the order of the remainder, the decrease at every step size of the student, and what takes it away."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.trait_loss import CLAIM, TraitChange, changed
from theory.one_step import ANOTHER_INIT
from theory.predictions import transfer_form
from theory.problem import draw_instance, stack_trees, student_displacement, trait_descent
from theory.runs.checks import CONTROL, Comparison
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
STEPS = (*(float(step) for step in np.geomspace(1e-5, 1e-3, 5)), 10.0)
RATES = (0.1, 1.0, 10.0)
NUM_SEEDS = 32
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS, learning_rates=RATES)
SMALL = slice(5)

seeds = st.integers(0, 2**32 - 1)
small_steps = st.floats(1e-7, 1e-6)
learning_rates = st.floats(0.01, 10)


class Change(NamedTuple):
    predicted: Any
    own: Any
    slope: Any
    unrelated: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def take_both_steps(seed: jax.Array, teacher_step: jax.Array, learning_rate: jax.Array) -> Change:
    """Change the teacher's own trait loss and another trait's; the slope is a derivative through the simulation."""
    key = jax.random.key(seed)
    instance = draw_instance(REFERENCE, key)
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    data = stack_trees(instance.trait_data, REFERENCE.draw_trait_data(jax.random.fold_in(key, 1)))

    def change(step: jax.Array) -> jax.Array:
        displacement = student_displacement(REFERENCE, instance, direction, step)
        student = optax.tree.add_scale(instance.student, learning_rate, displacement)
        after, before = (
            jax.vmap(REFERENCE.trait_loss, in_axes=(None, 0))(params, data) for params in (student, instance.student)
        )
        return after - before

    own, unrelated = change(teacher_step)
    _, (slope, _) = jax.jvp(change, (0.0,), (1.0,))
    predicted = -learning_rate * transfer_form(REFERENCE, instance, direction, direction)
    return Change(predicted, own, slope, unrelated)


def learn(seed: int, teacher_step: float, learning_rate: float) -> Change:
    change = take_both_steps(jnp.uint32(seed), jnp.array(teacher_step), jnp.array(learning_rate))
    return Change(*map(float, change))


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def reference(report: Report) -> Comparison:
    return changed(report.measurements["reference"])


@pytest.fixture(scope="module")
def stranger(report: Report) -> Comparison:
    return changed(report.measurements[f"{CONTROL}{ANOTHER_INIT}"])


def orders(values: np.ndarray) -> np.ndarray:
    logs = np.log(np.abs(values[..., SMALL])).reshape(-1, len(STEPS[SMALL]))
    return np.polyfit(np.log(STEPS[SMALL]), logs.T, 1)[0].reshape(values.shape[:-1])


def test_change_departs_from_its_prediction_at_second_order_for_every_learning_rate(reference):
    np.testing.assert_allclose(np.median(orders(reference.remainder), axis=0), 2.0, atol=0.05)


def test_prediction_is_tight_at_a_small_step(reference):
    np.testing.assert_allclose(reference.measured[..., 0], reference.leading[..., 0], rtol=100 * STEPS[0])


def test_decrease_is_not_promised_for_large_steps(reference):
    assert np.all(reference.measured[..., 0] < 0)
    assert np.any(reference.measured[..., -1] > 0)


def test_remainder_of_a_student_from_another_init_does_not_vanish(stranger):
    np.testing.assert_allclose(np.median(orders(stranger.remainder), axis=0), 0.0, atol=0.05)


@given(seed=seeds, step=small_steps, rate=learning_rates)
def test_student_lowers_the_trait_loss_of_a_nearby_teacher(seed, step, rate):
    assert learn(seed, step, rate).own < 0


@given(seed=seeds, step=small_steps, rate=learning_rates)
def test_trait_loss_falls_as_far_as_predicted(seed, step, rate):
    change = learn(seed, step, rate)
    rounding = 100 * np.finfo(float).eps
    assert change.own == pytest.approx(step * change.predicted, rel=1e3 * step, abs=rounding)


@given(seed=seeds, rate=learning_rates)
def test_slope_through_the_simulated_steps_is_the_closed_form(seed, rate):
    change = learn(seed, 0.0, rate)
    assert change.slope == pytest.approx(change.predicted, rel=1e-10)


@given(seed=seeds, rate=learning_rates)
def test_trait_loss_stays_where_it_is_if_the_teacher_stands_still(seed, rate):
    assert abs(learn(seed, 0.0, rate).own) <= 100 * np.finfo(float).eps * max(1.0, rate)


def test_only_the_teachers_own_trait_is_sure_to_fall():
    changes = [learn(seed, 1e-5, 1.0) for seed in range(NUM_SEEDS)]
    assert all(change.own < 0 for change in changes)
    assert any(change.unrelated > 0 for change in changes)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "holds"]


@pytest.mark.parametrize(("factor", "expected"), [(1.1, ["fails", "holds"]), (-1.0, ["fails", "fails"])])
def test_claim_fails_for_a_wrong_factor_in_its_formula(factor, expected, report, judge_again):
    def wrong(result: TraitChange) -> TraitChange:
        return result._replace(predicted=factor * result.predicted)

    assert judge_again(CLAIM, SAMPLING, report, wrong) == expected


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: TraitChange) -> TraitChange:
        return result._replace(visible=np.zeros(NUM_SEEDS, bool))

    assert judge_again(CLAIM, SAMPLING, report, invisible) == ["reported"]
