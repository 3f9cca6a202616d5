"""Claim 8.2: signal and noise of epochs against dense algebra, what they can't exceed, and how real students read."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.epochs import CLAIM, SIGNAL_TO_NOISE, TIMES, Epochs
from theory.problem import Params, draw_instance, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
LABELS = (0, 1, 2, 3, 4, 5)
SAMPLING = Sampling(num_seeds=32, cases="few")

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> tuple[jax.Array, ...]:
    """Jacobian of all logits `(batch, outputs, params)`, logits, and what the teacher learned."""
    instance = draw_instance(REFERENCE, key)
    flat, restore = ravel_pytree(instance.teacher)

    def logits(flat: jax.Array) -> jax.Array:
        return REFERENCE.apply(restore(flat), instance.inputs)

    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    return jax.jacrev(logits)(flat), logits(flat), ravel_pytree(direction)[0]


@cache
def spectrum(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of the kernel, the teacher's shares, steps on every label, and their probabilities."""
    jacobian, logits, direction = map(np.asarray, dense(jax.random.fold_in(jax.random.key(SAMPLING.seed), index)))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    spread = np.stack([np.diag(p) - np.outer(p, p) for p in chances])
    kernel = np.einsum("xkp,xkl,xlq->pq", jacobian, spread, jacobian, optimize=True) / len(logits)
    values, vectors = np.linalg.eigh(kernel)
    steps = (jacobian - np.einsum("xl,xlp->xp", chances, jacobian)[:, None]) @ vectors
    return values, vectors.T @ direction, steps, chances / len(logits)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_signal_and_noise_are_those_of_the_eigenbasis(report, index):
    values, shares, steps, chances = spectrum(index)
    one: Epochs = report.measurements["reference"]
    for place, time in enumerate(TIMES):
        grown = 1 - (1 - values / values[-1]) ** time
        read = shares * np.where(values > 1e-12 * values[-1], grown / values, 0.0)
        noise = np.sqrt(np.sum(chances * (steps @ read) ** 2))
        ratio = np.sum(shares**2 * grown) / noise / np.sqrt(np.sum(shares**2 * values))
        measured = one.signal[index, place] / one.noise[index, place] / SIGNAL_TO_NOISE
        assert measured == pytest.approx(ratio, rel=1e-4)


def test_fresh_labels_add_up_their_noise(report):
    values, shares, _, _ = spectrum(0)
    one: Epochs = report.measurements["reference"]
    for place, time in enumerate(TIMES):
        left = (1 - values / values[-1])[:, None] ** np.arange(time)
        variance = np.sum(shares**2 * values * np.sum(left**2, axis=1)) / np.sum(shares**2 * values)
        assert one.fresh_noise[0, place] ** 2 == pytest.approx(variance, rel=1e-4)


@given(
    values=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6),
    shares=st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6),
    time=st.integers(1, 200),
)
def test_no_epoch_adds_to_the_first_whatever_the_spectrum(values, shares, time):
    eigenvalues, squares = np.array(values), np.array(shares[: len(values)]) ** 2 + 1e-6

    def ratio(time: int) -> float:
        grown = 1 - (1 - eigenvalues) ** time
        return np.sum(squares * grown) / np.sqrt(np.sum(squares * grown**2 / eigenvalues))

    assert ratio(1) == pytest.approx(np.sqrt(np.sum(squares * eigenvalues)), rel=1e-12)
    assert ratio(time + 1) <= ratio(time) * (1 + 1e-12)


def test_an_epoch_may_add_again_past_the_edge_of_steady_growth():
    values, squares = np.array([1.9, 0.5]), np.array([1.0, 1.0])
    grown = 1 - (1 - values) ** np.arange(1, 4)[:, None]
    ratios = np.sum(squares * grown, axis=1) / np.sqrt(np.sum(squares * grown**2 / values, axis=1))
    assert ratios[2] > ratios[1]
    assert ratios.max() == pytest.approx(ratios[0])


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def slopes(key: jax.Array, rate: jax.Array) -> jax.Array:
    """How a student's displacement along the teacher's, by training, answers each label's share: forward mode."""
    instance = draw_instance(REFERENCE, key)
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    base = jax.nn.softmax(REFERENCE.apply(instance.teacher, instance.inputs))

    def displaced(shares: jax.Array) -> jax.Array:
        def loss(student: Params) -> jax.Array:
            logits = REFERENCE.apply(student, instance.inputs)
            return -jnp.mean(jnp.sum(shares * jax.nn.log_softmax(logits), axis=-1))

        student = instance.student
        for _ in range(TIMES[1]):
            student = optax.tree.add_scale(student, -rate, jax.grad(loss)(student))
        return jnp.asarray(optax.tree.vdot(student, direction))

    return jax.grad(displaced)(base)


def test_noise_is_that_of_real_training_to_first_order(report):
    key = jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)
    values, shares, _, chances = spectrum(0)
    answered = np.asarray(slopes(key, jnp.array(1 / values[-1]))) * len(chances)
    mean = np.sum(chances * answered, axis=1) * len(chances)
    variance = np.sum(chances * (answered - mean[:, None]) ** 2)
    first = np.sum(shares**2 * values) / values[-1] ** 2
    assert report.measurements["reference"].noise[0, 1] ** 2 == pytest.approx(variance / first, rel=1e-6)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 5


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error")], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda one: {"signal": 1.3 * one.signal}, [0, 1, 4]),
        (lambda one: {"noise": 2 * one.noise}, [1, 4]),
        (lambda one: {"noise": np.ones_like(one.noise)}, [1, 2, 3]),
        (lambda one: {"trained": -one.trained}, [0, 1, 2]),
        (lambda one: {"ceiling": one.ceiling / 2}, [4]),
    ],
)
def test_claim_fails_for_a_wrong_formula(change: Any, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda one: one._replace(**change(one)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
