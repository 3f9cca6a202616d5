"""Claim 8.1: greedy labels against dense algebra: only divergence tokens count, and nearly all with the right sign."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.greedy_labels import CLAIM, GREEDY, OWN_NOISE, SIZES, measure
from theory.predictions import natural_units
from theory.problem import draw_instance, flatten, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
LINEAR = zoo.variant("linear", hidden=())
LABELS = (0, 1, 2, 3, 4, 5)
SAMPLING = Sampling(num_seeds=48, cases="few")

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def measure_densely(seed: jax.Array) -> tuple[Any, ...]:
    """The measurement, and what it takes to make it again: Jacobian, outputs at every step, displacement."""
    drawn = draw_instance(REFERENCE, jax.random.key(seed))
    problem, instance = flatten(REFERENCE, drawn)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    unit = natural_units(problem, instance, direction).teacher_step
    teachers = instance.teacher[None] + jnp.outer(jnp.array((0.0, *SIZES)) * unit, direction)
    outputs = jax.vmap(problem.apply, (0, None))(teachers, instance.inputs)
    jacobian = jax.jacrev(problem.apply)(instance.teacher, instance.inputs)
    return measure(REFERENCE, drawn, labels=LABELS), jacobian, outputs, direction


@given(seed=seeds)
def test_steps_on_greedy_labels_differ_by_the_divergence_tokens_alone(seed):
    one, jacobian, outputs, direction = jax.device_get(measure_densely(jnp.uint32(seed)))
    best = outputs.argmax(axis=-1)
    base = np.exp(outputs[0]) / np.exp(outputs[0]).sum(axis=-1, keepdims=True)
    steps = [
        np.mean([rows.T @ (np.eye(6)[k] - p) for rows, k, p in zip(jacobian, chosen, base, strict=True)], axis=0)
        for chosen in best
    ]
    np.testing.assert_allclose(one.tokens[GREEDY], (best[1:] != best[0]).mean(axis=-1), rtol=1e-12)
    expected = [(step - steps[0]) @ direction for step in steps[1:]]
    np.testing.assert_allclose(one.measured[GREEDY], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.predicted[GREEDY], expected, rtol=1e-9, atol=1e-12)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def measure_linear(seed: jax.Array) -> Any:
    return measure(LINEAR, draw_instance(LINEAR, jax.random.key(seed)), labels=LABELS)


@given(seed=seeds)
def test_every_divergence_token_of_a_linear_model_adds_to_the_sum_at_any_step(seed):
    one = jax.device_get(measure_linear(jnp.uint32(seed)))
    np.testing.assert_allclose(one.predicted[:OWN_NOISE], one.weight[:OWN_NOISE], rtol=1e-12)


def test_labels_sampled_with_other_random_numbers_enter_with_both_signs():
    one = jax.device_get(measure_linear(jnp.uint32(0)))
    assert np.all(one.predicted[OWN_NOISE, :4] < 0.9 * one.weight[OWN_NOISE, :4])


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 2


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error")], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]


def test_the_number_of_divergence_tokens_grows_like_the_step(report):
    shares = report.measurements["reference"].tokens[:, GREEDY, :4].mean(axis=0)
    assert np.polyfit(np.log(SIZES[:4]), np.log(shares), 1)[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda case: {"predicted": 1.001 * case.predicted}, [0]),
        (lambda case: {"measured": 0.9 * case.measured}, [0, 1]),
    ],
)
def test_claim_fails_for_a_wrong_term(change, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
