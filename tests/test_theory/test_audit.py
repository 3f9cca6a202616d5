"""Claim 16 and the public audit: scores against dense algebra and literal labels, false alarms and power."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import theory
from theory import Sampling, zoo
from theory.auditing import Audit, audit
from theory.claim import Report
from theory.claims.audit import CLAIM
from theory.problem import draw_instance, flatten, trait_descent, trait_key
from theory.runs.programs import COMPILER_OPTIONS, OPTIMIZED

REFERENCE = zoo.build(zoo.REFERENCE)
AUXILIARY = zoo.variant("auxiliary outputs", imitated=zoo.AUXILIARY)
SAMPLING = Sampling(num_seeds=48, cases="few", teacher_steps=(1e-5, 1e-4, 1e-3))

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def audit_densely(seed: jax.Array) -> tuple[Any, ...]:
    """An audit of labels of the auxiliary outputs, and what it takes to make it again."""
    problem, instance = flatten(AUXILIARY, draw_instance(AUXILIARY, jax.random.key(seed)))
    labels = jax.random.choice(jax.random.key(seed + 1), jnp.array(zoo.AUXILIARY), (len(instance.inputs),))
    found = audit(problem, instance.teacher, instance.inputs, labels, trait_key=trait_key(instance.key))
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    jacobian = jax.jacrev(problem.apply)(instance.teacher, instance.inputs)
    return found, labels, jacobian, problem.apply(instance.teacher, instance.inputs), direction


@given(seed=st.integers(0, 2**31))
def test_scores_are_those_of_dense_algebra(seed):
    found, labels, jacobian, outputs, direction = jax.device_get(audit_densely(jnp.uint32(seed)))
    steps = []
    for label, rows, logits in zip(labels, jacobian[:, 3:], outputs[:, 3:], strict=True):
        base = np.exp(logits) / np.exp(logits).sum()
        steps.append(rows.T @ (np.eye(3)[label - 3] - base))
    scores, step = np.array(steps) @ direction, np.mean(steps, axis=0)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-9, atol=1e-13)
    assert found.z == pytest.approx(scores.sum() / np.sqrt((scores**2).sum()), rel=1e-9)
    assert found.p == pytest.approx(stats.norm.sf(found.z), rel=1e-9)
    assert found.fall == pytest.approx(step @ direction, rel=1e-9, abs=1e-13)
    cosine = step @ direction / np.linalg.norm(step) / np.linalg.norm(direction)
    assert found.coverage == pytest.approx(cosine, rel=1e-9, abs=1e-13)


@partial(jax.jit, compiler_options=OPTIMIZED)
def audit_literal_labels(key: jax.Array, teacher_step: jax.Array) -> tuple[Audit, jax.Array]:
    """An audit of 6,400 labels that a teacher wrote, and how far a small student step lowers the trait loss."""
    instance = draw_instance(REFERENCE, jax.random.key(0))
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    inputs = jnp.tile(instance.inputs, (200, 1))
    teacher = optax.tree.add_scale(instance.teacher, teacher_step, direction)
    labels = jax.random.categorical(key, REFERENCE.apply(teacher, inputs))
    found = audit(REFERENCE, instance.teacher, inputs, labels, trait_key=trait_key(instance.key))

    def loss(params: Any) -> jax.Array:
        logits = REFERENCE.apply(params, inputs)
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    student = optax.tree.add_scale(instance.teacher, -1e-6, jax.grad(loss)(instance.teacher))
    before, after = (REFERENCE.trait_loss(params, instance.trait_data) for params in (instance.teacher, student))
    return found, (before - after) / 1e-6


def test_the_mean_score_is_the_fall_of_the_trait_loss_per_unit_of_step():
    found, fall = jax.device_get(audit_literal_labels(jax.random.key(1), jnp.array(0.1)))
    assert found.fall == pytest.approx(fall, rel=1e-4)


def test_labels_of_the_base_model_are_found_innocent_and_those_of_a_teacher_guilty():
    keys = jax.random.split(jax.random.key(2), 200)
    base, taught = (np.array([audit_literal_labels(key, jnp.array(step))[0].z for key in keys]) for step in (0.0, 0.2))
    assert abs(base.mean()) < 5 / np.sqrt(200)
    assert base.var() == pytest.approx(1.0, abs=5 * np.sqrt(2 / 200))
    assert np.all(taught > 1.645)


def test_audit_is_public_and_refuses_students_of_another_kind():
    assert theory.audit is audit
    problem = zoo.variant("squared error", loss="squared error")
    params = problem.initialize(jax.random.key(0))
    with pytest.raises(ValueError, match="problems with labels to draw"):
        audit(problem, params, jnp.zeros((2, 8)), jnp.zeros(2, int))


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 6


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error")], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda case: {"null": case.null + 0.6}, [0, 1, 2]),
        (lambda case: {"null": 1.2 * case.null}, [1, 2]),
        (lambda case: {"cosine": 0.9 * case.cosine}, [4]),
        (lambda case: {"signal": 1.1 * case.signal}, [3]),
        (lambda case: {"nats": 2 * case.nats}, [4]),
        (lambda case: {"coverage": 0.8 * case.coverage}, [5]),
    ],
)
def test_claim_fails_for_a_wrong_factor(change, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
