"""Claim 4: one order inside the class, others outside; and the table's measurements against a student's own step."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims import imitation_losses
from theory.claims.imitation_losses import LossSteps, aligned
from theory.loss_table import COSINE, INSIDE, NAMES, POWERS, SHIFTED, STRETCHED
from theory.predictions import transfer_form
from theory.problem import draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
STEPS = (1e-5, 1e-4, 1e-3)
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS, learning_rates=(0.1, 10.0))


@pytest.fixture(scope="module")
def report() -> Report:
    return imitation_losses.CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def result(report: Report) -> LossSteps:
    return report.measurements["reference"]


@pytest.mark.parametrize("name", [*INSIDE, *COSINE])
def test_remainder_is_of_second_order_under_every_loss_of_the_class(name, result):
    case = aligned(result, name)
    orders = np.polyfit(np.log(STEPS), np.log(np.abs(case.remainder)).T, 1)[0]
    assert np.median(orders) == pytest.approx(2.0, abs=0.05)
    np.testing.assert_allclose(case.measured[:, 0], case.leading[:, 0], rtol=1e3 * STEPS[0])


@pytest.mark.parametrize("name", POWERS)
def test_alignment_under_a_power_of_the_error_has_that_order_less_one_and_the_right_sign(name, result):
    case = aligned(result, name)
    assert np.all(case.measured > 0)
    orders = np.polyfit(np.log(STEPS), np.log(case.measured).T, 1)[0]
    np.testing.assert_allclose(orders, POWERS[name] - 1, atol=0.05)


def test_student_of_a_loss_with_its_minimum_elsewhere_moves_though_its_teacher_stands_still(result):
    case = aligned(result, SHIFTED)
    np.testing.assert_allclose(case.measured[:, 0], case.measured[:, 1], rtol=0.1)
    assert 0 < np.sum(case.measured[:, 0] > 0) < len(case.measured)


@pytest.mark.parametrize("name", ["cross-entropy", "cosine distance"])
def test_shared_pull_back_equals_a_students_own_step_and_closed_form_equals_autodiff(name, result):
    problem = replace(REFERENCE, imitation_loss={**INSIDE, **COSINE}[name].loss)

    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def simulate(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)
        instance = draw_instance(problem, key)
        direction = trait_descent(problem, instance.teacher, instance.trait_data)
        change = jax.jvp(lambda params: problem.apply(params, instance.inputs), (instance.teacher,), (direction,))[1]
        step = step / jnp.sqrt(jnp.mean(change**2))
        displacement = student_displacement(problem, instance, direction, step)
        return inner_product(displacement, direction), step * transfer_form(problem, instance, direction, direction)

    row = NAMES.index(name)
    measured, leading = simulate(jnp.array(STEPS[-1]))
    np.testing.assert_allclose(result.measured[0, row, -1], measured, rtol=1e-9)
    np.testing.assert_allclose(aligned(result, name).leading[0, -1], leading, rtol=1e-9)


def test_claim_holds_for_the_reference(report):
    outcomes = [verdict.outcome for verdict in report.verdicts]
    assert outcomes == ["holds"] * 8 + ["reported"] * 2 + ["holds"] + ["reported"] * 2
    assert all(verdict.control_flips for verdict in report.verdicts if verdict.accepted)


def test_claim_holds_where_remainders_are_of_third_order(softmax_regression):
    outcomes = [verdict.outcome for verdict in imitation_losses.CLAIM.verify([softmax_regression], SAMPLING).verdicts]
    assert "fails" not in outcomes
    assert outcomes[0] == "holds"


@pytest.mark.parametrize("factor", [1.2, 0.5, -1.0])
def test_claim_fails_for_a_wrong_factor_in_its_formula(factor, report, judge_again):
    def wrong(result: LossSteps) -> LossSteps:
        return result._replace(leading=factor * result.leading, predicted_fall=factor * result.predicted_fall)

    outcomes = judge_again(imitation_losses.CLAIM, SAMPLING, report, wrong)
    assert outcomes[:4] == ["fails"] * 4
    assert outcomes[7] == "fails"


@pytest.mark.parametrize("name", [*INSIDE, *COSINE])
def test_claim_fails_if_a_single_loss_of_the_class_has_another_m(name, report, judge_again):
    def wrong(result: LossSteps) -> LossSteps:
        factors = np.where(np.arange(len(NAMES)) == NAMES.index(name), 1.2, 1.0)
        return result._replace(leading=factors * result.leading)

    assert judge_again(imitation_losses.CLAIM, SAMPLING, report, wrong)[1 if name in COSINE else 0] == "fails"


def test_claim_fails_if_a_loss_of_the_class_behaves_as_one_outside(report, judge_again):
    def wrong(result: LossSteps) -> LossSteps:
        measured = result.measured.copy()
        measured[:, NAMES.index("Huber")] = measured[:, NAMES.index(STRETCHED)]
        return result._replace(measured=measured)

    outcomes = judge_again(imitation_losses.CLAIM, SAMPLING, report, wrong)
    assert (outcomes[0], outcomes[2]) == ("fails", "fails")


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: LossSteps) -> LossSteps:
        return result._replace(visible=np.zeros_like(result.visible))

    assert set(judge_again(imitation_losses.CLAIM, SAMPLING, report, invisible)) == {"reported"}
