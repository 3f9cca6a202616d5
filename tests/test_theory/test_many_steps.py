"""Claim 10: training against the closed form, and the edges of the learning rate."""

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
from theory.claims import many_steps
from theory.claims.many_steps import CLAIM, EDGES, ManySteps
from theory.problem import draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.programs import COMPILER_OPTIONS
from theory.tangent_kernel import train_student, transfer_fraction, transfer_spectrum, transferred_displacement

REFERENCE = zoo.variant("reference", hidden=(16,))
STEPS = (1e-5, 1e-4, 1e-3)
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS, cases="few")
TIMES = (1, 2, 3, 30)

seeds = st.integers(0, 2**32 - 1)
small_steps = st.floats(1e-7, 1e-6)


class Course(NamedTuple):
    aligned: Any
    fraction: Any
    expected: Any
    first_step: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def train(seed: jax.Array, teacher_step: jax.Array, relative_rate: jax.Array) -> Course:
    """Alignment of a trained student, per unit of the teacher's, by simulation, quadrature and the tangent's steps."""
    instance = draw_instance(REFERENCE, jax.random.key(seed))
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    direction = optax.tree.scale(1 / optax.tree.norm(direction), direction)
    spectrum = transfer_spectrum(REFERENCE, instance, direction, 24)
    rate = relative_rate / spectrum.largest
    labels = REFERENCE.apply(optax.tree.add_scale(instance.teacher, teacher_step, direction), instance.inputs)

    def along(trees: Any) -> jax.Array:
        return jax.vmap(inner_product, (0, None))(trees, direction)

    one = student_displacement(REFERENCE, instance, direction, teacher_step)
    return Course(
        along(train_student(REFERENCE, instance, labels, rate, TIMES)) / teacher_step,
        transfer_fraction(spectrum, rate, jnp.array(TIMES)),
        along(transferred_displacement(REFERENCE, instance, direction, rate, TIMES)),
        rate * inner_product(one, direction) / teacher_step,
    )


def follow(seed: int, teacher_step: float, relative_rate: float) -> Course:
    return jax.device_get(train(jnp.uint32(seed), jnp.array(teacher_step), jnp.array(relative_rate)))


@given(seed=seeds, step=small_steps, rate=st.floats(0.01, 1.9))
def test_trained_student_has_the_predicted_share_of_its_teacher(seed, step, rate):
    course = follow(seed, step, rate)
    np.testing.assert_allclose(course.aligned, course.fraction, rtol=1e-3)
    np.testing.assert_allclose(course.expected, course.fraction, rtol=1e-9)


@given(seed=seeds, step=small_steps, rate=st.floats(0.01, 1.0))
def test_alignment_grows_with_every_step_up_to_the_first_edge(seed, step, rate):
    course = follow(seed, step, rate)
    assert np.all(np.diff(course.aligned, prepend=0.0) > 0)


@given(seed=seeds, step=small_steps, rate=st.floats(0.01, 1.9))
def test_first_of_many_steps_is_the_step_of_claim_one(seed, step, rate):
    course = follow(seed, step, rate)
    assert course.aligned[0] == pytest.approx(course.first_step, rel=1e-6)


def test_student_stays_put_at_a_vanishing_rate():
    np.testing.assert_allclose(follow(0, 1e-6, 1e-9).aligned, 0.0, atol=1e-7)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


def orders(values: np.ndarray) -> np.ndarray:
    return np.polyfit(np.log(STEPS), np.log(np.abs(values)).reshape(-1, len(STEPS)).T, 1)[0].reshape(values.shape[:-1])


def test_trained_parameters_depart_from_the_closed_form_at_second_order_after_any_number_of_steps(report):
    error = report.measurements["reference"].error
    np.testing.assert_allclose(np.median(orders(error), axis=0), 2.0, atol=0.05)


def test_student_from_another_init_does_not_approach_the_closed_form(report):
    error = report.measurements["control: another init"].error
    np.testing.assert_allclose(np.median(orders(error), axis=0), 0.0, atol=0.05)


def test_second_step_along_the_top_eigenvector_gives_two_minus_the_rate(report):
    measured = report.measurements["reference"].second_step
    np.testing.assert_allclose(measured, np.tile(2 - np.array(EDGES), (len(measured), 1)), atol=1e-3)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 4


def wrong_distance(result: ManySteps) -> ManySteps:
    """As if the prediction had been wrong by ten percent in length."""
    return result._replace(error=result.error + 0.1 * result.distance[..., None] * result.steps[:, None])


def wrong_fraction(result: ManySteps) -> ManySteps:
    """As if the steps' effects had simply added up."""
    return result._replace(predicted=result.predicted[:, :1] * np.array(many_steps.TIMES))


def wrong_edges(result: ManySteps) -> ManySteps:
    """As if the largest eigenvalue had been ten percent too small."""
    return result._replace(second_step=result.second_step - 0.1)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (wrong_distance, ["fails", "holds", "holds", "holds"]),
        (wrong_fraction, ["holds", "fails", "holds", "holds"]),
        (wrong_edges, ["holds", "holds", "fails", "fails"]),
    ],
)
def test_claim_fails_for_a_wrong_formula(wrong, expected, report, judge_again):
    assert judge_again(CLAIM, SAMPLING, report, wrong) == expected


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: ManySteps) -> ManySteps:
        return result._replace(visible=np.zeros(SAMPLING.num_seeds, bool))

    assert set(judge_again(CLAIM, SAMPLING, report, invisible)) == {"reported"}
