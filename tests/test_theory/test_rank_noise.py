"""Claim 14.1: what the spread of adapters costs, against adapters drawn in NumPy; and what makes a U of the rank."""

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
from theory.claims.rank_noise import CLAIM, FITTING, NUM_INPUTS, RANKS, SHRINKING, SMALL_STEP, TUNED, spread_cost
from theory.predictions import natural_units
from theory.problem import draw_instance, flatten, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

NARROW = zoo.variant("width 8", hidden=(8, 8))
SAMPLING = Sampling(num_seeds=64, cases="few")

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([NARROW], SAMPLING)


def positive(random: np.random.Generator, size: int) -> np.ndarray:
    factor = random.normal(size=(size, 3))
    return factor @ factor.T


def test_spread_costs_what_drawn_adapters_cost_beyond_full_steps():
    random = np.random.default_rng(0)
    params = {"bias": np.zeros(2), "first": np.zeros((3, 2)), "second": np.zeros((2, 2))}
    curved, moved = positive(random, 12), positive(random, 12)
    costs = []
    for _ in range(20_000):
        step = np.eye(12)
        for start, inputs in ((2, 3), (8, 2)):
            adapter = random.normal(size=(inputs, 4)) / 2
            step[start : start + 2 * inputs, start : start + 2 * inputs] = np.kron(adapter @ adapter.T, np.eye(2))
        costs.append(np.sum((step @ curved @ step) * moved))
    cost = spread_cost(jax.tree.map(jnp.asarray, params), jnp.asarray(curved), jnp.asarray(moved))
    error = np.std(costs) / np.sqrt(len(costs))
    assert np.mean(costs) == pytest.approx(np.trace(curved @ moved) + float(cost) / 4, abs=5 * error)
    assert abs(np.mean(costs) - np.trace(curved @ moved)) > 10 * error


@given(seed=seeds)
def test_spread_never_pays_where_the_trait_loss_is_curved_upwards(seed):
    random = np.random.default_rng(seed)
    params = {"first": jnp.zeros((3, 2)), "second": jnp.zeros((2, 2))}
    curved, moved = (jnp.asarray(positive(random, 10)) for _ in range(2))
    assert spread_cost(params, curved, moved) >= 0


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> tuple[jax.Array, ...]:
    """Jacobian of the logits, logits, Hessian of the trait loss, what the teacher learned and the unit of its step."""
    problem, instance = flatten(NARROW, draw_instance(NARROW, key))
    instance = instance._replace(inputs=instance.inputs[:NUM_INPUTS])
    init, direction = instance.teacher, trait_descent(problem, instance.teacher, instance.trait_data)

    def logits(params: jax.Array) -> jax.Array:
        return problem.apply(params, instance.inputs)

    hessian = jax.hessian(lambda params: problem.trait_loss(params, instance.trait_data))(init)
    unit = natural_units(problem, instance, direction).teacher_step
    return jax.jacrev(logits)(init), logits(init), hessian, direction, unit


def test_half_rank_is_that_of_drawn_adapters_on_dense_matrices(report):
    key = jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)
    jacobian, logits, hessian, direction, unit = map(np.asarray, dense(key))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    spread = np.stack([np.diag(p) - np.outer(p, p) for p in chances])
    kernel = np.einsum("xkp,xkl,xlq->pq", jacobian, spread, jacobian, optimize=True) / len(logits)
    moved = SMALL_STEP * unit * kernel @ direction
    moment, random, costs = kernel + np.outer(moved, moved), np.random.default_rng(0), []
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(NARROW.initialize, key))]

    def through(adapters: list[np.ndarray | None], matrix: np.ndarray) -> np.ndarray:
        """Multiply by what a step through adapters is to a full one: a block for each parameter."""
        parts = np.split(matrix, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        return np.concatenate([
            part if one is None else (one @ (one.T @ part.reshape(len(one), -1))).reshape(part.shape)
            for one, part in zip(adapters, parts, strict=True)
        ])

    for _ in range(2000):
        adapters = [random.normal(size=(shape[0], 2)) / np.sqrt(2) if len(shape) == 2 else None for shape in shapes]
        costs.append(np.sum(through(adapters, through(adapters, hessian).T) * moment))
    ratio = np.array(costs) / np.sum(hessian * moment)
    predicted = 1 + report.measurements["width 8"].half[0] / 2
    assert np.mean(ratio) == pytest.approx(predicted, abs=5 * np.std(ratio) / np.sqrt(len(ratio)))


def test_full_training_at_its_best_step_falls_as_predicted(report):
    np.testing.assert_allclose(report.measurements["width 8"].full, 1.0, rtol=1e-2)


def test_steps_agree_at_the_rank_that_fits(report):
    one, place = report.measurements["width 8"], RANKS.index(FITTING)
    np.testing.assert_allclose(one.fall[:, TUNED, place], one.fall[:, SHRINKING, place], rtol=1e-9)
    np.testing.assert_allclose(one.predicted[:, TUNED], 1 / (1 + one.half[:, None] / np.array(RANKS)), rtol=1e-9)


@given(half=st.floats(0.01, 50.0), fitting=st.integers(2, 63))
def test_a_step_that_goes_with_a_power_of_the_rank_makes_a_u(half, fitting):
    ranks = np.arange(1, 400 * (fitting + 1))
    best = 1 / (1 + half / ranks)
    assert np.all(np.diff(best) > 0)
    for power in (-1.0, 1.0):
        rate = best[fitting - 1] * (ranks / fitting) ** power
        fall = rate * (2 - rate / best)
        assert fall.max() > max(fall[0], fall[-1])


def test_claim_holds_for_a_narrow_network(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 4 + ["reported"] * 2


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda one: {"predicted": 0.7 * one.predicted}, [0, 1]),
        (lambda one: {"fall": one.fall[:, :, ::-1]}, [0, 1, 2]),
        (lambda one: {"fall": -one.fall}, [0, 1, 2, 3]),
    ],
)
def test_claim_fails_for_a_wrong_formula(change: Any, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda one: one._replace(**change(one)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error", hidden=(8, 8))], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]
