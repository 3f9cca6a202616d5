"""Claim 9.2: cost and transfer of preconditioned steps against dense algebra, and for which spectra they gain."""

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
from theory.claims.adaptive_gain import ADAM, CLAIM, NUM_INPUTS, PLAIN, SIZES, TILT, TOWARDS
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
    """Jacobian of the logits, logits, Hessian of the trait loss, what the teacher learned and the unit of its step."""
    problem, instance = flatten(REFERENCE, draw_instance(REFERENCE, key))
    instance = instance._replace(inputs=instance.inputs[:NUM_INPUTS])
    init, direction = instance.teacher, trait_descent(problem, instance.teacher, instance.trait_data)

    def logits(params: jax.Array) -> jax.Array:
        return problem.apply(params, instance.inputs)

    slope = jax.grad(lambda params: problem.trait_loss(params, instance.trait_data))
    hessian = jax.lax.map(lambda vector: jax.jvp(slope, (init,), (vector,))[1], jnp.eye(init.size))
    unit = natural_units(problem, instance, direction).teacher_step
    return jax.jacrev(logits)(init), logits(init), hessian, direction, unit


@pytest.fixture(scope="module")
def first() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Kernel, Hessian, what the teacher learned and its smallest step, of the first instance."""
    jacobian, logits, hessian, direction, unit = map(
        np.asarray, dense(jax.random.fold_in(jax.random.key(SAMPLING.seed), 0))
    )
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    spread = np.stack([np.diag(p) - np.outer(p, p) for p in chances])
    kernel = np.einsum("xkp,xkl,xlq->pq", jacobian, spread, jacobian, optimize=True) / len(logits)
    return kernel, hessian, direction, float(SIZES[0] * unit)


def best_fall(p: np.ndarray, kernel: np.ndarray, hessian: np.ndarray, direction: np.ndarray, step: float) -> float:
    moved = p * (kernel @ direction)
    cost = step**2 * moved @ hessian @ moved + np.trace(hessian @ (p[:, None] * kernel * p))
    return (step * direction @ moved) ** 2 / (2 * cost)


def test_best_fall_is_that_of_dense_matrices(report, first):
    one = report.measurements["reference"]
    kernel, size = first[0], len(first[0])
    assert one.best[0, PLAIN] == pytest.approx(best_fall(np.ones(size), *first), rel=1e-8)
    root = np.sqrt(np.diag(kernel))
    adams = 1 / (root + 0.01 * np.sqrt(np.mean(root**2)))
    assert one.best[0, ADAM] == pytest.approx(best_fall(adams, *first), rel=1e-8)


def test_best_falls_are_reached_and_no_step_falls_farther(report):
    one = report.measurements["reference"]
    np.testing.assert_allclose(one.gain[one.definite], one.best[one.definite], rtol=1e-2)


def test_tilt_favors_parameters_that_transfer_more_than_they_cost(report, first):
    kernel, hessian, direction, step = first
    moved = kernel @ direction
    transfer = direction * moved
    cost = np.sum(hessian * (step**2 * np.outer(moved, moved) + kernel), axis=1)
    lean = transfer / transfer.sum() - cost / cost.sum()
    tilt = TILT * lean / np.abs(lean).max()
    one = report.measurements["reference"]
    assert one.slope[0] == pytest.approx(2 * tilt @ lean, rel=1e-8)
    assert one.best[0, TOWARDS] == pytest.approx(best_fall(1 + tilt, *first), rel=1e-8)


def test_evening_out_gains_on_outputs_and_loses_on_labels(report, first):
    kernel, _, direction, _ = first
    even = np.eye(len(kernel)) - kernel / (2 * np.linalg.eigvalsh(kernel)[-1])
    flat = np.eye(len(kernel))
    moved = [p @ (kernel @ direction) for p in (even, flat)]
    gain = [(direction @ one) ** 2 / np.sum(one**2) for one in moved]
    noisy = [np.sum(p * kernel) ** 2 / np.sum((p @ kernel) * p) for p in (even, flat)]
    one = report.measurements["reference"]
    assert one.even[0] == pytest.approx(gain[0] / gain[1], rel=1e-3)
    assert one.even_noisy[0] == pytest.approx(noisy[0] / noisy[1], rel=1e-6)


spectra = st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=6)


@given(spectrum=spectra, power=st.floats(0, 1))
def test_whitening_gains_without_noise_and_loses_with_it_when_the_trait_loss_is_flat(spectrum, power):
    values, squares = np.array(spectrum).T
    evened = values**-power

    def outputs(p: np.ndarray) -> float:
        return np.sum(squares * values * p) ** 2 / np.sum(squares * (values * p) ** 2)

    def labels(p: np.ndarray) -> float:
        return np.sum(values * p) ** 2 / np.sum(values * p**2)

    assert outputs(evened) >= outputs(np.ones_like(values)) * (1 - 1e-12)
    assert outputs(1 / values) == pytest.approx(np.sum(squares))
    assert labels(evened) <= labels(np.ones_like(values)) * (1 + 1e-12)


def test_whitening_gains_with_noise_where_the_trait_loss_is_steep_along_what_is_seen():
    values = np.array([1.0, 0.1])

    def labels(p: np.ndarray) -> float:
        return np.sum(values * p) ** 2 / np.sum(values * values * p**2)

    assert labels(values**-0.5) > labels(np.ones(2))


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 4 + ["reported"] * 4


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda one: {"predicted": one.careless}, [0]),
        (lambda one: {"best": 1.2 * one.best}, [1]),
        (lambda one: {"slope": 1.2 * one.slope}, [2]),
        (lambda one: {"even": one.even_noisy}, [3]),
        (lambda one: {"gain": 0 * one.gain}, [1, 2]),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_claim_fails_for_a_wrong_formula(change: Any, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda one: one._replace(**change(one)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error")], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]
