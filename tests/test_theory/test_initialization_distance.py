"""Claim 6: the order of the remainder off the teacher's init, the sign change, and noise."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy import stats

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims import initialization_distance
from theory.claims.initialization_distance import DRAWS, LEVELS, Distance
from theory.displaced_inits import displaced_alignment, draw_noise, measure_neighborhood, with_height
from theory.problem import Problem, draw_instance
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
SMALL = zoo.variant("softmax regression", hidden=())
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 32
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS)

seeds = st.integers(0, 2**32 - 1)
steps = st.floats(1e-7, 1e-6)
heights = st.floats(-2, 2)


class Side(NamedTuple):
    measured: Any
    predicted: Any
    reference: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def start_aside(seed: jax.Array, step: jax.Array, height: jax.Array) -> Side:
    """Displace a student by as much as the teacher moves, in a direction of which a component is chosen."""
    key = jax.random.key(seed)
    around = measure_neighborhood(REFERENCE, draw_instance(REFERENCE, key, shared=False))
    noise = with_height(around, draw_noise(around, jax.random.fold_in(key, 4)), height)
    student = optax.tree.add_scale(around.instance.teacher, step * around.noise_unit, noise)
    moved = step * around.teacher_unit
    measured = displaced_alignment(REFERENCE, around, moved, student)
    predicted = moved * around.curvature - step * around.noise_unit * height * around.slope
    return Side(measured, predicted, moved * around.curvature)


def aside(seed: int, step: float, height: float) -> Side:
    return Side(*map(float, start_aside(jnp.uint32(seed), jnp.array(step), jnp.array(height))))


@partial(jax.jit, compiler_options=COMPILER_OPTIONS, static_argnames="problem")
def move_dense(problem: Problem, seed: jax.Array) -> tuple[jax.Array, ...]:
    """Hold the alignment of a random displacement against a dense matrix K."""
    key = jax.random.key(seed)
    around = measure_neighborhood(problem, draw_instance(problem, key, shared=False))
    teacher, inputs = around.instance.teacher, around.instance.inputs
    flat, unravel = ravel_pytree(teacher)

    def outputs(params: jax.Array) -> jax.Array:
        return problem.apply(unravel(params), inputs)

    jacobian, logits = jax.jacfwd(outputs)(flat), outputs(flat)
    probabilities = jax.nn.softmax(logits)
    noise = jax.random.normal(jax.random.fold_in(key, 4), flat.shape)
    step = 1e-6 * around.teacher_unit
    size = 1e-6 * around.noise_unit
    measured = displaced_alignment(problem, around, step, unravel(flat + size * noise))
    direction, _ = ravel_pytree(around.direction)
    return measured, jacobian, probabilities, direction, noise, step, size


@pytest.fixture(scope="module")
def report() -> Report:
    return initialization_distance.CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def distance(report: Report) -> Distance:
    return report.measurements["reference"]


def orders(values: np.ndarray) -> np.ndarray:
    logs = np.log(np.abs(values)).reshape(-1, len(STEPS))
    return np.polyfit(np.log(STEPS), logs.T, 1)[0].reshape(values.shape[:-1])


def test_alignment_departs_from_its_prediction_at_second_order_along_every_ray(distance):
    remainder = distance.alignment - distance.predicted
    np.testing.assert_allclose(np.median(orders(remainder), axis=0), 2.0, atol=0.05)


def test_without_the_displacement_s_term_the_remainder_is_of_first_order(distance):
    remainder = distance.alignment - distance.shared[:, None, :]
    np.testing.assert_allclose(np.median(orders(remainder), axis=0), 1.0, atol=0.05)


def test_sign_changes_where_predicted_up_to_second_order(distance):
    assert np.median(orders(distance.boundary - distance.predicted_boundary)) == pytest.approx(2.0, abs=0.05)
    np.testing.assert_allclose(distance.boundary[:, 0], distance.predicted_boundary[:, 0], rtol=1e3 * STEPS[0])


@given(seed=seeds, step=steps, height=heights)
def test_alignment_off_the_teachers_init_is_as_predicted(seed, step, height):
    side = aside(seed, step, height)
    assert side.measured == pytest.approx(side.predicted, abs=1e3 * step * side.reference)


@given(seed=seeds, step=steps, height=st.floats(1.05, 2))
def test_student_beyond_the_boundary_goes_back_and_one_before_it_goes_on(seed, step, height):
    assert aside(seed, step, height).measured < 0 < aside(seed, step, 2 - height).measured


def test_alignment_agrees_with_a_dense_matrix():
    for seed in range(4):
        measured, *arrays, step, size = move_dense(SMALL, jnp.uint32(seed))
        jacobian, probabilities, direction, noise = map(np.asarray, arrays)
        kernel = np.zeros((len(noise), len(noise)))
        for slopes, chances in zip(jacobian, probabilities, strict=True):
            kernel += slopes.T @ (np.diag(chances) - np.outer(chances, chances)) @ slopes / len(jacobian)
        expected = float(direction @ kernel @ (step * direction - size * noise))
        assert measured == pytest.approx(expected, abs=1e-4 * float(step * direction @ kernel @ direction))


def test_noise_leaves_the_sign_as_often_as_the_normal_distribution_says(distance):
    shares = np.mean(distance.positive, axis=(0, 1))
    probabilities = stats.norm.cdf(LEVELS)
    errors = np.sqrt(probabilities * (1 - probabilities) / (NUM_SEEDS * DRAWS))
    np.testing.assert_array_less(np.abs(shares - probabilities), 4 * errors)


def test_noise_across_the_only_direction_that_matters_changes_no_sign(distance):
    assert distance.positive_level.all()


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 7


def wrong_sign(result: Distance) -> Distance:
    return result._replace(predicted=2 * result.shared[:, None, :] - result.predicted)


def wrong_factor(result: Distance) -> Distance:
    return result._replace(
        predicted=1.1 * result.predicted - 0.1 * result.shared[:, None, :],
        predicted_boundary=1.2 * result.predicted_boundary,
    )


def half_the_noise(result: Distance) -> Distance:
    return result._replace(positive=result.positive | np.roll(result.positive, 1, axis=1))


def orthogonal_control_flips_signs(result: Distance) -> Distance:
    return result._replace(positive_level=result.positive)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (wrong_sign, [0]),
        (wrong_factor, [0, 1, 2]),
        (half_the_noise, [3, 4, 5, 6]),
        (orthogonal_control_flips_signs, [3, 4, 5, 6]),
    ],
)
def test_claim_fails_for_a_wrong_formula(change, failing, report, judge_again):
    outcomes = judge_again(initialization_distance.CLAIM, SAMPLING, report, change)
    assert outcomes == ["fails" if index in failing else "holds" for index in range(7)]


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: Distance) -> Distance:
        return result._replace(visible=np.zeros(NUM_SEEDS, bool))

    outcomes = judge_again(initialization_distance.CLAIM, SAMPLING, report, invisible)
    assert set(outcomes) == {"reported"}
