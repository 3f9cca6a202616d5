"""Claim 9.1: Adam on linearized gradients and on a network's, each against Adam by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.adam import ADDED, CLAIM, RATE, SIZES, TIMES
from theory.predictions import natural_units
from theory.problem import draw_instance, flatten, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
SAMPLING = Sampling(num_seeds=32, cases="few")


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> tuple[jax.Array, ...]:
    """Jacobian of the logits, logits, what the teacher learned, the unit of its step, init and inputs."""
    problem, instance = flatten(REFERENCE, draw_instance(REFERENCE, key))
    init, direction = instance.teacher, trait_descent(problem, instance.teacher, instance.trait_data)
    unit = natural_units(problem, instance, direction).teacher_step

    def logits(params: jax.Array) -> jax.Array:
        return problem.apply(params, instance.inputs)

    return jax.jacrev(logits)(init), logits(init), direction, unit, init, instance.inputs


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def first() -> list[np.ndarray]:
    """The first instance."""
    return list(map(np.asarray, dense(jax.random.fold_in(jax.random.key(SAMPLING.seed), 0))))


def kernel(jacobian: np.ndarray, logits: np.ndarray) -> np.ndarray:
    spread = np.stack([np.diag(p) - np.outer(p, p) for p in softmax(logits)])
    return np.einsum("xkp,xkl,xlq->pq", jacobian, spread, jacobian, optimize=True) / len(logits)


def adam(gradient: Callable[[np.ndarray], np.ndarray], size: int, rate: float, added: float, steps: int) -> np.ndarray:
    moved, mean, square = np.zeros((3, size))
    for step in range(1, steps + 1):
        slope = gradient(moved)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        moved = moved - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + added)
    return moved


def test_linearized_student_is_adam_on_the_dense_kernel(report, first):
    jacobian, logits, direction, unit, *_ = first
    matrix = kernel(jacobian, logits)
    rate, added = RATE * np.sqrt(np.mean(direction**2)), ADDED * np.sqrt(np.mean((matrix @ direction) ** 2))
    for place, time in enumerate(TIMES):
        moved = adam(lambda moved: -matrix @ (direction - moved), direction.size, rate, added, time)
        predicted = report.measurements["reference"].distance[0, place] / (np.array(SIZES) * unit)
        np.testing.assert_allclose(predicted, np.linalg.norm(moved), rtol=1e-6)


def test_student_is_adam_on_the_network(report, first):
    jacobian, logits, direction, unit, init, inputs = first
    matrix, step = kernel(jacobian, logits), SIZES[0] * float(unit)
    rate, added = RATE * np.sqrt(np.mean(direction**2)), ADDED * np.sqrt(np.mean((matrix @ direction) ** 2))
    problem, _ = flatten(REFERENCE, draw_instance(REFERENCE, jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)))
    outputs = jax.jit(lambda params: problem.apply(params, jax.numpy.asarray(inputs)))
    backward = jax.jit(lambda params, errors: jax.vjp(outputs, params)[1](errors)[0])
    labels = softmax(np.asarray(outputs(init + step * direction)))

    def gradient(moved: np.ndarray) -> np.ndarray:
        errors = softmax(np.asarray(outputs(init + moved))) - labels
        return np.asarray(backward(init + moved, errors / len(labels)))

    for place, time in enumerate(TIMES[:3]):
        moved = adam(gradient, init.size, step * rate, step * added, time)
        cosine = moved @ direction / np.linalg.norm(moved) / np.linalg.norm(direction)
        assert report.measurements["reference"].cosine[0, place] == pytest.approx(cosine, rel=1e-5)


four = st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.1, 0.7]), min_size=4, max_size=4)


@given(shares=four, pulls=four)
def test_the_first_step_goes_against_the_teacher_where_more_of_it_is_wrongly_signed(shares, pulls):
    taught, pull = np.array(shares), np.array(pulls)
    step = adam(lambda moved: -pull, 4, 1.0, 1e-300, 1)
    right, wrong = (np.sum(np.abs(taught)[pull * taught * side > 0]) for side in (1, -1))
    assert step @ taught == pytest.approx(right - wrong, abs=1e-9)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] + ["reported"] * 5


@pytest.mark.parametrize(
    "change",
    [lambda one: {"error": one.error + 1e-6 * one.distance}, lambda one: {"error": one.frozen_error}],
)
def test_claim_fails_for_a_wrong_prediction(change: Any, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda one: one._replace(**change(one)))
    assert outcomes == ["fails"] + ["reported"] * 5


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(one: Any) -> Any:
        return one._replace(visible=np.zeros(SAMPLING.num_seeds, bool))

    assert set(judge_again(CLAIM, SAMPLING, report, invisible)) == {"reported"}
