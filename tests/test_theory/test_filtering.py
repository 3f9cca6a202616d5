"""Claim 11: bias and slope under filters and temperatures, and what takes the guarantee away."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.filtering import CLAIM, SELECTIONS, TEMPERATURES, Filtering, draw_filters, measure, select
from theory.predictions import natural_units
from theory.problem import Params, draw_instance, inner_product, own_key, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
LABELS = (0, 1, 2, 3, 4, 5)
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS)

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def filter_labels(seed: jax.Array) -> Filtering:
    instance = draw_instance(REFERENCE, jax.random.key(seed))
    return measure(REFERENCE, instance, labels=LABELS, teacher_steps=(0.0, 1e-6, 1e-4))


def filtered(seed: int) -> Any:
    return jax.device_get(filter_labels(jnp.uint32(seed)))


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def reference(report: Report) -> Filtering:
    return report.measurements["reference"]


def test_alignment_departs_from_bias_and_slope_at_second_order_under_every_selection(reference):
    leading = reference.bias[..., None] + reference.slope[..., None] * reference.steps[:, None]
    logs = np.log(np.abs(reference.measured - leading)).reshape(-1, len(STEPS))
    orders = np.polyfit(np.log(STEPS), logs.T, 1)[0].reshape(-1, len(SELECTIONS))
    np.testing.assert_allclose(np.median(orders, axis=0), 2.0, atol=0.05)


@given(seed=seeds)
def test_control_under_the_same_filter_has_the_bias(seed):
    result = filtered(seed)
    rounding = 100 * np.finfo(float).eps * np.sqrt(result.slope.max())
    np.testing.assert_allclose(result.idle, result.bias, rtol=1e-10, atol=rounding)
    np.testing.assert_allclose(result.measured[:, 0], result.idle, rtol=1e-10, atol=rounding)


@given(seed=seeds)
def test_what_the_teacher_learned_comes_through_every_filter_and_as_far_as_predicted(seed):
    result = filtered(seed)
    added = (result.measured - result.idle[:, None])[:, 2] / result.steps[2]
    assert np.all(added > 0)
    np.testing.assert_allclose(added, result.slope, rtol=1e-1)


@given(seed=seeds)
def test_a_filter_of_inputs_alone_has_no_bias(seed):
    result = filtered(seed)
    assert abs(result.bias[SELECTIONS.index("inputs dropped")]) <= 100 * np.finfo(float).eps * np.sqrt(
        result.slope.max()
    )


@given(seed=seeds)
def test_a_filter_that_knows_what_the_teacher_learned_turns_it_around(seed):
    result = filtered(seed)
    assert (result.informed[2] - result.idle[0]) / result.steps[2] == pytest.approx(-result.slope[0], rel=0.1)


def test_selections_are_what_ten_lines_of_numpy_say():
    base = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=4))
    filters = np.asarray(draw_filters(jax.random.key(0), jnp.asarray(base)))
    assert np.all(filters <= 0)
    shares = np.asarray(select(jnp.asarray(filters), jnp.asarray(base)))
    for keep, share in zip(np.exp(filters), shares[:3], strict=True):
        kept = np.array([[np.exp(base[x, k]) * keep[x, k] for k in range(3)] for x in range(4)])
        np.testing.assert_allclose(share, kept / kept.sum(), rtol=1e-12)
    for tau, share in zip(TEMPERATURES, shares[3:], strict=True):
        tempered = np.exp(base) ** (1 / tau)
        np.testing.assert_allclose(share, tempered / tempered.sum(axis=1, keepdims=True) / 4, rtol=1e-12)
    assert np.all(shares[1, :, 0] == 0)
    assert np.count_nonzero(shares[2].sum(axis=1)) == 2


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def learn_from_what_is_kept(seed: jax.Array) -> jax.Array:
    """The random judge's alignment at the largest step, by one gradient step on a mean loss with weights."""
    key = jax.random.key(seed)
    instance = draw_instance(REFERENCE, key)
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    step = 1e-4 * natural_units(REFERENCE, instance, direction).teacher_step
    teacher = optax.tree.add_scale(instance.teacher, step, direction)
    base, learned = (
        jax.nn.log_softmax(REFERENCE.apply(params, instance.inputs)) for params in (instance.student, teacher)
    )
    weights = jnp.exp(learned + draw_filters(own_key(key), base)[0])

    def loss(student: Params) -> jax.Array:
        return -jnp.sum(weights * jax.nn.log_softmax(REFERENCE.apply(student, instance.inputs))) / jnp.sum(weights)

    return -inner_product(jax.grad(loss)(instance.student), direction)


def test_step_on_what_is_kept_is_the_gradient_of_its_mean_loss():
    assert float(learn_from_what_is_kept(jnp.uint32(0))) == pytest.approx(float(filtered(0).measured[0, 2]), rel=1e-10)


def test_raw_sign_is_not_guaranteed(reference):
    judged = reference.measured[:, SELECTIONS.index("random judge"), 0]
    assert np.any(judged > 0)
    assert np.any(judged < 0)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "holds", *["reported"] * len(SELECTIONS)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda case: {"slope": 1.2 * case.slope}, ["fails", "fails"]),
        (lambda case: {"slope": -case.slope}, ["fails", "fails"]),
        (lambda case: {"slope": case.slope * np.array([1, 1, 1, *TEMPERATURES])}, ["fails", "fails"]),
        (lambda case: {"slope": case.slope + case.bias**2}, ["fails", "holds"]),
        (lambda case: {"bias": 1.1 * case.bias}, ["fails", "holds"]),
        (lambda case: {"idle": 1.1 * case.idle}, ["holds", "fails"]),
    ],
)
def test_claim_fails_for_a_wrong_factor_in_its_formula(change, expected, report, judge_again):
    assert judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))[:2] == expected


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    unseen = np.zeros(SAMPLING.num_seeds, bool)
    assert set(judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(visible=unseen))) == {"reported"}


def test_claim_says_nothing_of_other_losses():
    problem = zoo.variant("squared error", loss="squared error")
    assert [verdict.outcome for verdict in CLAIM.verify([problem], SAMPLING).verdicts] == ["reported"]
