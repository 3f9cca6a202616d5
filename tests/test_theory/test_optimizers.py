"""Claim 9: preconditioners against dense algebra, the sharp bound, and what the verdicts catch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import Sampling, optimizers, zoo
from theory.claim import Report
from theory.claims import optimizers as claim
from theory.claims.optimizers import ABOVE, ARMS, BELOW, FALLS, RANDOM, SHARED, OptimizerSteps

REFERENCE = zoo.variant("reference", hidden=(16,))
STEPS = (1e-5, 1e-4, 1e-3)
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS, learning_rates=(0.1, 10.0))
SIZE = 12
seeds = st.integers(0, 2**32 - 1)


@jax.jit
def dense(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The drawn symmetric matrix and the turned one, column by column."""
    key = jax.random.key(seed)
    matrix = optimizers.draw_preconditioner(key, jnp.zeros(SIZE), rank=2, largest_condition=100.0)
    columns = jax.vmap(
        lambda unit: (optimizers.precondition(matrix, unit), optimizers.turn(key, 3.0, unit)), out_axes=1
    )
    return columns(jnp.eye(SIZE))


@given(seed=seeds)
@settings(max_examples=30)
def test_preconditioner_is_symmetric_and_positive_definite(seed):
    symmetric, _ = dense(jnp.uint32(seed))
    np.testing.assert_allclose(symmetric, symmetric.T, rtol=1e-12)
    assert np.linalg.eigvalsh(symmetric)[0] >= 1 - 1e-10


@given(seed=seeds)
@settings(max_examples=30)
def test_turned_matrix_is_positive_but_not_symmetric(seed):
    _, turned = dense(jnp.uint32(seed))
    np.testing.assert_allclose((turned + turned.T) / 2, np.eye(SIZE), atol=1e-12)
    assert np.abs(turned - turned.T).max() > 1


@given(seed=seeds, cosine=st.floats(0.01, 0.99), power=st.floats(0, 1))
@settings(max_examples=50)
def test_no_matrix_within_the_bound_reverses_a_vector_and_the_worst_one_beyond_it_does(seed, cosine, power):
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    first, second = basis[:, 0], cosine * basis[:, 0] + np.sqrt(1 - cosine**2) * basis[:, 1]
    bound = float(optimizers.largest_safe_condition(jnp.array(cosine)))
    axes = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    matrix = axes * bound ** (power * random.uniform(size=SIZE)) @ axes.T
    assert first @ matrix @ second >= -1e-12 * bound
    worst = (first - second) / np.linalg.norm(first - second)
    for share in (0.99, 1.0, 1.01):
        stretched = np.eye(SIZE) + share * (bound - 1) * np.outer(worst, worst)
        np.testing.assert_allclose(first @ stretched @ second, cosine * (1 - share), atol=1e-12 * bound)
        assert np.linalg.cond(stretched) == pytest.approx(1 + share * (bound - 1))


def test_first_steps_of_sign_like_optimizers_are_signs():
    gradient = {"a": jnp.array([1.0, -2.0, 3e-3]), "b": jnp.array([[-5.0]])}
    for optimizer in (optax.scale_by_sign(), optax.scale_by_adam()):
        step = optimizers.first_step(optimizer, gradient)
        jax.tree.map(lambda s, g: np.testing.assert_allclose(s, np.sign(g), rtol=1e-5), step, gradient)


@pytest.fixture(scope="module")
def report() -> Report:
    return claim.CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def result(report: Report) -> OptimizerSteps:
    return report.measurements["reference"]


def test_remainder_is_of_second_order_with_the_same_matrix(result):
    remainder = claim.falls(SHARED)(result).remainder
    orders = np.polyfit(np.log(STEPS), np.log(np.abs(remainder)).reshape(-1, len(STEPS)).T, 1)[0]
    np.testing.assert_allclose(np.median(orders.reshape(remainder.shape[:-1]), axis=0), 2.0, atol=0.05)


def test_trait_loss_falls_just_within_the_bound_and_rises_just_beyond_it(result):
    below, above = (result.fall[:, FALLS.index(arm), :, 0] for arm in (BELOW, ABOVE))
    assert np.all(below > 0)
    assert np.all(above < 0)


def test_cosine_at_the_worst_matrix_is_what_the_bound_leaves(result):
    cosines = result.cosine[:, [ARMS.index(arm) for arm in (BELOW, ABOVE)]]
    tau = (1 + result.angle) / (1 - result.angle) - 1
    stretched = np.sqrt(
        1
        + (2 * np.stack([0.99 * tau, 1.01 * tau], 1) + np.stack([0.99 * tau, 1.01 * tau], 1) ** 2)
        * (1 - result.angle[:, None])
        / 2
    )
    np.testing.assert_allclose(cosines * stretched, result.angle[:, None] * np.array([0.01, -0.01]), rtol=0.01)
    assert np.all(result.cosine[:, ARMS.index(RANDOM)] > 0)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 4 + ["reported"] * 7
    assert all(verdict.control_flips for verdict in report.verdicts if verdict.accepted)


@pytest.mark.parametrize(("factor", "expected"), [(1.2, "fails fails holds fails"), (-1.0, "fails fails holds fails")])
def test_claim_fails_for_a_wrong_factor_in_its_formula(factor, expected, report, judge_again):
    def wrong(result: OptimizerSteps) -> OptimizerSteps:
        return result._replace(predicted_fall=factor * result.predicted_fall)

    assert judge_again(claim.CLAIM, SAMPLING, report, wrong)[:4] == expected.split()


def test_claim_fails_if_the_bound_were_two_percent_higher(report, judge_again):
    def wrong(result: OptimizerSteps) -> OptimizerSteps:
        fall, cosine = result.fall.copy(), result.cosine.copy()
        fall[:, FALLS.index(BELOW)] = fall[:, FALLS.index(ABOVE)]
        cosine[:, ARMS.index(RANDOM)] = cosine[:, ARMS.index(ABOVE)]
        return result._replace(fall=fall, cosine=cosine)

    assert judge_again(claim.CLAIM, SAMPLING, report, wrong)[:4] == ["holds", "holds", "fails", "fails"]


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: OptimizerSteps) -> OptimizerSteps:
        return result._replace(visible=np.zeros_like(result.visible))

    assert set(judge_again(claim.CLAIM, SAMPLING, report, invisible)) == {"reported"}
