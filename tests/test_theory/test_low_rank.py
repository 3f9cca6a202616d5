"""Claim 13: adapters against the full step they stand for, their mean and spread, and what only shared ones do."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.adapters import adapted, draw_adapters, limit_rank, merge, untrained
from theory.claim import Report
from theory.claims import low_rank
from theory.claims.low_rank import RANKS, LowRank, freeze_vectors
from theory.predictions import predicted_displacement
from theory.problem import draw_instance, imitation_descent, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
SAMPLING = Sampling(num_seeds=32)
GUARANTEED = ["holds"] * 4

seeds = st.integers(0, 2**32 - 1)


class Adapted(NamedTuple):
    identity: Any
    full: Any
    drawn: Any
    projected: Any
    moved: Any
    taught: Any
    deviation: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def adapt(seed: jax.Array) -> Adapted:
    """First steps through adapters that change nothing and through random ones, as displacements of the network."""
    key = jax.random.key(seed)
    instance = draw_instance(REFERENCE, key)
    initial = instance.teacher
    taught = trait_descent(REFERENCE, initial, instance.trait_data)
    labels = REFERENCE.apply(optax.tree.add_scale(initial, 1e-3, taught), instance.inputs)
    full = imitation_descent(REFERENCE, initial, instance.inputs, labels)
    width = 16

    def through(adapters: Any) -> Any:
        student = adapted(REFERENCE, initial, adapters)
        descent = imitation_descent(student, untrained(initial, width), instance.inputs, labels)
        return merge(optax.tree.zeros_like(initial), adapters, descent)

    identity = jax.tree.map(lambda leaf: jnp.eye(len(leaf), width) if leaf.ndim == 2 else jnp.zeros(()), initial)
    drawn = limit_rank(draw_adapters(key, initial, width), jnp.array(2))
    projected = jax.tree.map(lambda a, leaf: a @ (a.T @ leaf) if leaf.ndim == 2 else leaf, drawn, full)
    moved = predicted_displacement(REFERENCE, instance, taught)
    deviation = low_rank.predict_deviation(REFERENCE, instance, taught)
    return Adapted(through(identity), full, through(drawn), projected, moved, taught, deviation)


def first_steps(seed: int) -> Adapted:
    return jax.device_get(adapt(jnp.uint32(seed)))


def assert_same(left: Any, right: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-15), left, right)


@given(seed=seeds)
def test_identity_for_an_adapter_gives_the_full_step(seed):
    steps = first_steps(seed)
    assert_same(steps.identity, steps.full)


@given(seed=seeds)
def test_first_step_is_the_full_one_projected_on_the_adapters_inputs(seed):
    steps = first_steps(seed)
    assert_same(steps.drawn, steps.projected)


def test_spread_is_exactly_that_of_gaussian_forms():
    """Fourth moments of independent normal entries are sums over pairings (Isserlis)."""
    steps, variance = first_steps(0), 0.0
    for moved, taught in zip(jax.tree.leaves(steps.moved), jax.tree.leaves(steps.taught), strict=True):
        if taught.ndim == 2:
            form = moved @ taught.T
            same = np.eye(len(form))
            moments = np.einsum("ij,kl->ijkl", same, same) + np.einsum("ik,jl->ijkl", same, same)
            moments += np.einsum("il,jk->ijkl", same, same)
            variance += np.einsum("ij,kl,ijkl->", form, form, moments) - np.trace(form) ** 2
    assert float(steps.deviation) == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_no_two_matrices_share_a_number_of_their_adapters():
    params = {"first": jnp.zeros((8, 16)), "second": jnp.zeros((16, 16)), "third": jnp.zeros((16, 6))}
    adapters = jax.tree.leaves(draw_adapters(jax.random.key(0), params, 4))
    numbers = np.concatenate([np.ravel(leaf) for leaf in adapters])
    assert len(np.unique(numbers)) == numbers.size == 4 * (8 + 16 + 16)


@pytest.fixture(scope="module")
def report() -> Report:
    return low_rank.CLAIM.verify([freeze_vectors(REFERENCE)], SAMPLING)


@pytest.fixture(scope="module")
def result(report: Report) -> LowRank:
    return report.measurements["biases frozen"]


def outcomes(report: Report) -> list[str]:
    return [verdict.outcome for verdict in report.verdicts[:4]]


def test_same_adapters_never_transfer_the_wrong_way(result):
    assert np.all(result.same > 0)
    assert np.all(result.same_predicted > 0)


def test_independent_adapters_of_low_rank_sometimes_do(result):
    assert np.any(result.independent[:, 0] < 0)


def test_spread_falls_with_the_square_root_of_the_rank(result):
    relative = (result.student - result.curvature[:, None, None]) / result.deviation[:, :1, None]
    np.testing.assert_allclose(np.sqrt(np.mean(relative**2, axis=(0, 2)) * np.array(RANKS)), 1.0, atol=0.35)


def test_frozen_biases_do_not_move(softmax_regression):
    frozen = freeze_vectors(softmax_regression)
    descent = trait_descent(frozen, frozen.initialize(jax.random.key(0)), frozen.draw_trait_data(jax.random.key(1)))
    assert all(np.any(leaf) == (leaf.ndim == 2) for leaf in jax.tree.leaves(descent))


def test_claim_holds_for_the_reference_with_frozen_biases(report):
    assert outcomes(report) == GUARANTEED


def wrong_guarantee(result: LowRank) -> LowRank:
    """As if shared adapters passed the full step's share."""
    return result._replace(same_predicted=np.broadcast_to(result.curvature[:, None, None], result.same.shape))


def wrong_mean(result: LowRank) -> LowRank:
    """As if the mean were twice as large."""
    return result._replace(curvature=2 * result.curvature)


def wrong_deviation(result: LowRank) -> LowRank:
    """As if S were not to be symmetrized, its mirror image counting twice."""
    return result._replace(deviation=np.sqrt(2) * result.deviation)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (wrong_guarantee, ["fails", "holds", "holds", "holds"]),
        (wrong_mean, ["holds", "fails", "fails", "fails"]),
        (wrong_deviation, ["holds", "holds", "fails", "holds"]),
    ],
)
def test_claim_fails_for_a_wrong_formula(wrong, expected, report, judge_again):
    assert judge_again(low_rank.CLAIM, SAMPLING, report, wrong)[:4] == expected


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: LowRank) -> LowRank:
        return result._replace(visible=np.zeros(SAMPLING.num_seeds, bool))

    assert set(judge_again(low_rank.CLAIM, SAMPLING, report, invisible)) == {"reported"}
