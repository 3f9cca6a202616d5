"""Claim 10.4: training with momentum and decay against dense algebra, its limit, and the edge of the learning rate."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.momentum import CLAIM, DECAY, EDGES, MOMENTUM, SIZES, TIMES, predicted_rest
from theory.predictions import natural_units
from theory.problem import draw_instance, flatten, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
SAMPLING = Sampling(num_seeds=32, cases="few")


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> tuple[Any, ...]:
    """Jacobians and logits of init and teacher as a function of parameters, at one point; and what there is besides."""
    problem, instance = flatten(REFERENCE, draw_instance(REFERENCE, key))
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    unit = natural_units(problem, instance, direction).teacher_step

    def logits(params: jax.Array) -> jax.Array:
        return problem.apply(params, instance.inputs)

    return jax.jacrev(logits)(instance.teacher), logits(instance.teacher), direction, unit, instance


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def kernel() -> tuple[np.ndarray, np.ndarray, float, Any]:
    """The first instance's kernel, what its teacher learned, the unit of its step, and itself."""
    jacobian, logits, direction, unit, instance = dense(jax.random.fold_in(jax.random.key(SAMPLING.seed), 0))
    spread = np.stack([np.diag(p) - np.outer(p, p) for p in softmax(np.asarray(logits))])
    matrix = np.einsum("xkp,xkl,xlq->pq", jacobian, spread, jacobian, optimize=True) / len(logits)
    return matrix, np.asarray(direction), float(unit), instance


@pytest.mark.parametrize(("decay", "field"), [(DECAY, "predicted"), (0.0, "predicted_plain")])
def test_share_of_the_teacher_is_that_of_the_eigenbasis(report, kernel, decay, field):
    values, vectors = np.linalg.eigh(kernel[0])
    squares, values = (vectors.T @ kernel[1]) ** 2, values / values[-1]
    now, before, shares = np.zeros_like(values), np.zeros_like(values), []
    for _ in range(TIMES[-1]):
        now, before = now + values * (1 - now) - decay * now + MOMENTUM * (now - before), now
        shares.append(np.sum(squares * now) / np.sum(squares))
    predicted = getattr(report.measurements["reference"], field)[0]
    np.testing.assert_allclose(predicted, np.array(shares)[np.array(TIMES) - 1], rtol=1e-6)
    if decay:
        limit = np.sum(squares * values / (values + decay)) / np.sum(squares)
        assert report.measurements["reference"].limit[0] == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize(("attached", "field"), [(True, "trained"), (False, "trained_zero")])
def test_students_are_trained_as_by_hand(report, kernel, attached, field):
    matrix, direction, unit, instance = kernel
    problem, _ = flatten(REFERENCE, draw_instance(REFERENCE, jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)))
    init, largest, step = np.asarray(instance.teacher), np.linalg.eigvalsh(matrix)[-1], SIZES[0] * unit
    outputs = jax.jit(lambda params: problem.apply(params, instance.inputs))
    backward = jax.jit(lambda params, errors: jax.vjp(outputs, params)[1](errors)[0])

    def train(teacher: np.ndarray, times: int) -> np.ndarray:
        labels, student, speed = softmax(np.asarray(outputs(teacher))), init, np.zeros_like(init)
        for _ in range(times):
            errors = (softmax(np.asarray(outputs(student))) - labels) / len(labels)
            gradient = np.asarray(backward(student, errors)) + DECAY * largest * (student - attached * init)
            speed = MOMENTUM * speed + gradient
            student = student - speed / largest
        return student

    for place, time in enumerate(TIMES[:3]):
        moved = train(init + step * direction, time) - train(init, time)
        share = moved @ direction / (step * direction @ direction)
        assert getattr(report.measurements["reference"], field)[0, place] == pytest.approx(share, rel=1e-4)


@given(momentum=st.floats(0.0, 0.99), edge=st.floats(0.01, 1.99))
def test_a_component_converges_below_the_edge_and_only_there(momentum, edge):
    roots = np.roots([1.0, -(1 + momentum - edge * (1 + momentum)), momentum])
    if abs(edge - 2) > 1e-3:
        assert (np.abs(roots).max() < 1) == (edge < 2)
    past = np.roots([1.0, -(1 + momentum - (4 - edge) * (1 + momentum)), momentum])
    assert np.abs(past).max() > 1


def test_momentum_leaves_the_edge_where_the_recursion_has_it(report):
    measured = np.median(report.measurements["reference"].rest, axis=0)
    np.testing.assert_allclose(measured, [predicted_rest(edge) for edge in EDGES], rtol=0.01)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 5 + ["reported"]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda one: {"error": one.error + 1e-3 * np.array(SIZES)}, [0]),
        (lambda one: {"small_error": one.small_raw}, [1]),
        (lambda one: {"predicted": 1.2 * one.predicted}, [2]),
        (lambda one: {"trained": one.trained_plain}, [2, 3]),
        (lambda one: {"limit": one.limit / 1.2}, [3]),
        (lambda one: {"rest": one.rest[:, ::-1]}, [4]),
    ],
)
def test_claim_fails_for_a_wrong_formula(change: Any, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda one: one._replace(**change(one)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(one: Any) -> Any:
        return one._replace(visible=np.zeros(SAMPLING.num_seeds, bool))

    assert set(judge_again(CLAIM, SAMPLING, report, invisible)) == {"reported"}
