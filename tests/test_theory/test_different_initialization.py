"""Claim 5: the order of what the teacher's step adds, and the bilinear form that says how much."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, predictions, zoo
from theory.claim import Report
from theory.claims import different_initialization
from theory.claims.different_initialization import Transfer, aligned, changed
from theory.predictions import label_response, transfer_form
from theory.problem import Params, draw_instance
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 32
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS)
ROUNDING = 1e3 * np.finfo(float).eps

seeds = st.integers(0, 2**32 - 1)
factors = st.floats(-10, 10)


class Forms(NamedTuple):
    left_first: Any
    left_second: Any
    right_second: Any
    combined_left: Any
    combined_right: Any
    shared: Any
    shared_swapped: Any
    swapped: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def evaluate_forms(seed: jax.Array, first: jax.Array, second: jax.Array) -> Forms:
    """Evaluate B on random directions and their combination, and with the directions swapped."""
    key = jax.random.key(seed)
    instance = draw_instance(REFERENCE, key, shared=False)

    def random(index: int) -> Params:
        return optax.tree.random_like(jax.random.fold_in(key, index), instance.teacher, jax.random.normal)

    def combine(left: Params, right: Params) -> Params:
        return jax.tree.map(lambda one, other: first * one + second * other, left, right)

    v, w, u = random(1), random(2), random(3)
    arguments = [
        (instance.student, v, u),
        (instance.student, w, u),
        (instance.student, v, w),
        (instance.student, combine(v, w), u),
        (instance.student, v, combine(u, w)),
        (instance.teacher, v, u),
        (instance.teacher, u, v),
        (instance.student, u, v),
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)

    def form(student: Params, left: Params, right: Params) -> jax.Array:
        return transfer_form(REFERENCE, instance._replace(student=student), left, right)

    return Forms(*jax.vmap(form)(*stacked))


def forms(seed: int, first: float = 1.0, second: float = 1.0) -> Forms:
    return Forms(*map(float, evaluate_forms(jnp.uint32(seed), jnp.array(first), jnp.array(second))))


@pytest.fixture(scope="module")
def report() -> Report:
    return different_initialization.CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def transfer(report: Report) -> Transfer:
    return report.measurements["reference"]


def orders(values: np.ndarray) -> np.ndarray:
    logs = np.log(np.abs(values)).reshape(-1, len(STEPS))
    return np.polyfit(np.log(STEPS), logs.T, 1)[0].reshape(values.shape[:-1])


def test_what_the_teacher_adds_departs_from_the_form_at_second_order(transfer):
    assert np.median(orders(aligned(transfer).remainder)) == pytest.approx(2.0, abs=0.05)


def test_change_of_the_trait_loss_departs_at_second_order_for_every_learning_rate(transfer):
    np.testing.assert_allclose(np.median(orders(changed(transfer).remainder), axis=0), 2.0, atol=0.05)


def test_predictions_are_tight_at_a_small_step(transfer):
    for compared in (aligned(transfer), changed(transfer)):
        assert np.median(np.abs(compared.ratio - 1)) < 100 * STEPS[0]


def test_without_subtracting_the_idle_student_nothing_follows_the_prediction(transfer):
    remainder = transfer.alignment + transfer.idle_alignment[:, None]
    assert np.median(orders(remainder)) == pytest.approx(0.0, abs=0.05)
    remainder = transfer.change + transfer.idle_change[..., None]
    np.testing.assert_allclose(np.median(orders(remainder), axis=0), 0.0, atol=0.05)


def test_trait_loss_may_fall_though_the_teacher_learned_nothing(transfer):
    share = np.mean(np.asarray(transfer.idle_change) < 0, axis=0)
    assert share[0] > 0.5 > share[-1]


@given(seed=seeds, first=factors, second=factors)
def test_form_is_linear_in_the_students_direction(seed, first, second):
    form = forms(seed, first, second)
    size = abs(form.left_first) + abs(form.left_second)
    expected = first * form.left_first + second * form.left_second
    assert form.combined_left == pytest.approx(expected, rel=ROUNDING, abs=10 * ROUNDING * max(size, 1))


@given(seed=seeds, first=factors, second=factors)
def test_form_is_linear_in_the_teachers_direction(seed, first, second):
    form = forms(seed, first, second)
    size = abs(form.left_first) + abs(form.right_second)
    expected = first * form.left_first + second * form.right_second
    assert form.combined_right == pytest.approx(expected, rel=ROUNDING, abs=10 * ROUNDING * max(size, 1))


@given(seed=seeds)
def test_form_is_symmetric_for_a_shared_init(seed):
    form = forms(seed)
    assert form.shared == pytest.approx(form.shared_swapped, rel=ROUNDING, abs=ROUNDING)


def test_form_is_not_symmetric_between_different_inits():
    differences = [abs(form.left_first - form.swapped) for form in map(forms, range(NUM_SEEDS))]
    assert np.median(differences) > 0.1 * np.median([abs(forms(seed).left_first) for seed in range(NUM_SEEDS)])


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "holds", "holds", "reported"]


def test_claim_fails_for_a_wrong_factor_in_its_formula(report, judge_again):
    def wrong(result: Transfer) -> Transfer:
        changed = {name: 1.1 * getattr(result, name) for name in ("predicted_alignment", "predicted_change")}
        return result._replace(**changed)

    outcomes = judge_again(different_initialization.CLAIM, SAMPLING, report, wrong)
    assert outcomes == ["fails", "fails", "holds", "reported"]


def test_claim_fails_if_the_idle_student_is_not_subtracted(report, judge_again):
    def forgotten(result: Transfer) -> Transfer:
        alignment = result.alignment + result.idle_alignment[:, None]
        return result._replace(alignment=alignment, change=result.change + result.idle_change[..., None])

    outcomes = judge_again(different_initialization.CLAIM, SAMPLING, report, forgotten)
    assert outcomes == ["fails", "fails", "holds", "reported"]


def test_claim_fails_if_the_channels_say_nothing_of_one_layer(report, judge_again):
    def forgotten(result: Transfer) -> Transfer:
        return result._replace(gap=result.largest_channel)

    outcomes = judge_again(different_initialization.CLAIM, SAMPLING, report, forgotten)
    assert outcomes == ["holds", "holds", "fails", "reported"]


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: Transfer) -> Transfer:
        return result._replace(visible=np.zeros(NUM_SEEDS, bool))

    outcomes = judge_again(different_initialization.CLAIM, SAMPLING, report, invisible)
    assert outcomes == ["reported"] * 4


def test_claim_fails_if_the_softmax_is_the_students(softmax_regression, few, monkeypatch):
    def students(loss: Any, student: jax.Array, teacher: jax.Array, change: jax.Array) -> jax.Array:
        return label_response(loss, student, student, change)

    monkeypatch.setattr(predictions, "label_response", students)
    report = different_initialization.CLAIM.verify([softmax_regression], few)
    assert [verdict.outcome for verdict in report.verdicts] == ["fails", "fails", "holds"]
