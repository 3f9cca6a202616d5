"""Claim 14: the formula against dense algebra and exact means, and the best step size against drawn data sets."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.label_noise_cost import CLAIM, FACTORS, SIZES, NoiseCost
from theory.problem import draw_instance, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

SMALL = zoo.variant("width 4", hidden=(4,))
SAMPLING = Sampling(num_seeds=64)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([SMALL], SAMPLING)


@pytest.fixture(scope="module")
def cost(report: Report) -> NoiseCost:
    return report.measurements["width 4"]


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> Any:
    """Jacobian, Hessian, probabilities and the teacher's displacement of the first instance, as plain arrays."""
    instance = draw_instance(SMALL, key)
    flat, unravel = ravel_pytree(instance.teacher)

    def outputs(flat: jax.Array) -> jax.Array:
        return SMALL.apply(unravel(flat), instance.inputs)

    hessian = jax.hessian(lambda flat: SMALL.trait_loss(unravel(flat), instance.trait_data))(flat)
    direction, _ = ravel_pytree(trait_descent(SMALL, instance.teacher, instance.trait_data))
    return jax.jacfwd(outputs)(flat), hessian, jax.nn.softmax(outputs(flat)), direction


def test_trace_and_climb_are_those_of_dense_matrices(cost):
    jacobian, hessian, probabilities, direction = map(np.asarray, dense(jax.random.fold_in(jax.random.key(0), 0)))
    kernel = np.zeros_like(hessian)
    for slopes, p in zip(jacobian, probabilities, strict=True):
        kernel += slopes.T @ (np.diag(p) - np.outer(p, p)) @ slopes / len(jacobian)
    moved = kernel @ direction
    assert cost.trace[0] == pytest.approx(np.trace(hessian @ kernel), rel=1e-9)
    assert cost.climb[0] == pytest.approx(moved @ hessian @ moved, rel=1e-9)


def test_exact_mean_departs_from_the_formula_at_third_order(cost):
    orders = np.polyfit(np.log(SIZES), np.log(np.abs(cost.measured - cost.predicted)).T, 1)[0]
    assert np.median(orders) == pytest.approx(3.0, abs=0.05)


def test_label_noise_is_all_that_tells_a_student_of_labels_from_one_of_outputs(cost):
    noise = cost.measured - cost.noiseless
    assert np.median(np.abs(noise[:, 0])) > 0
    ratio = noise[:, 1] / noise[:, 0]
    assert np.median(ratio) == pytest.approx((SIZES[1] / SIZES[0]) ** 2, rel=0.01)


def test_a_student_is_best_at_the_best_step_size_and_worse_than_before_past_twice_it(cost):
    means = cost.relative[cost.definite].mean(axis=(0, 1))
    assert FACTORS[np.argmin(means)] == 1.0
    assert means[0] < 0 < means[-1]


def test_without_noise_more_is_better(cost):
    assert np.all(np.diff(cost.noiseless_relative[cost.definite].mean(axis=0)) < 0)


def test_claim_holds_for_a_small_network(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda case: {"predicted": 1.1 * case.predicted}, ["fails", "holds", "holds"]),
        (lambda case: {"measured": case.noiseless}, ["fails", "holds", "holds"]),
        (lambda case: {"relative": 1.5 * case.relative}, ["holds", "fails", "holds"]),
        (lambda case: {"relative": -case.relative}, ["holds", "fails", "fails"]),
        (lambda case: {"visible": case.visible & False, "definite": case.definite & False}, ["reported"] * 3),
    ],
)
def test_claim_fails_for_a_wrong_formula_and_says_nothing_of_what_can_not_be_seen(
    change, expected, report, judge_again
):
    assert judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case))) == expected


def test_claim_says_nothing_of_other_losses():
    problem = zoo.variant("squared error", loss="squared error")
    assert [verdict.outcome for verdict in CLAIM.verify([problem], SAMPLING).verdicts] == ["reported"]
