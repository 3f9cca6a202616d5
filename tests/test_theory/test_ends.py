"""Claim 2.6: where the decrease ends, against roots of cubics, bounds by Taylor's theorem, and two limits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Problem, Sampling, losses, step_limits, zoo
from theory.claim import Report
from theory.claims import ends as claim
from theory.claims.ends import LARGE, PLAIN, QUARTIC, entries
from theory.curvature import surely_ended, surely_falling
from theory.decrease import FITTED, LARGE_RATES, QUARTICS, SLACK, STIFFNESSES, Ends, measure_ends, settings
from theory.experiments import experiment
from theory.runs.sweeps import sweep
from theory.step_limits import bend, first_zero

REFERENCE = zoo.variant("small", hidden=(8,))
RATES = (0.1, 1.0, 10.0)
SAMPLING = Sampling(num_seeds=32, learning_rates=RATES)
STIFF = slice(len(RATES), len(RATES) + len(STIFFNESSES))

shares = st.floats(1e-3, 0.25)
leanings = st.integers(-20, 400).map(lambda percent: percent / 100)


@pytest.fixture(scope="module")
def report() -> Report:
    return claim.CLAIM.verify([REFERENCE], SAMPLING)


@pytest.fixture(scope="module")
def ends(report: Report) -> Ends:
    return report.measurements["small; ends"]


@jax.jit
def end_of_cubic(curvature: jax.Array, third: jax.Array) -> jax.Array:
    return first_zero(lambda step: -step + curvature * step**2 / 2 + third * step**3 / 6, 2 / curvature)


@given(curvature=st.floats(0.1, 10), leaning=leanings)
def test_first_zero_of_a_cubic_is_its_smallest_positive_root(curvature, leaning):
    roots = np.roots(np.trim_zeros([leaning, 1.0, -1.0], "f")) * 2 / curvature
    found = end_of_cubic(jnp.array(curvature), jnp.array(1.5 * leaning * curvature**2))
    assert float(found) == pytest.approx(min(root.real for root in roots if root.real > 0), rel=1e-8)


def test_first_zero_below_the_scan_is_found_and_a_line_that_only_falls_has_none():
    assert float(first_zero(lambda step: step * (step - 1e-3), jnp.array(1.0))) == pytest.approx(1e-3, rel=1e-7)
    assert np.isinf(float(first_zero(lambda step: -step, jnp.array(1.0))))


@jax.jit
def bend_of_sine(reach: jax.Array, phase: jax.Array) -> Any:
    return bend(lambda step: jnp.sin(step + phase), reach, jnp.zeros(()))


@jax.jit
def bend_of_step(scale: jax.Array) -> Any:
    return bend(lambda step: jnp.tanh(step / scale), jnp.ones(()), jnp.zeros(()))


@given(reach=st.floats(0.5, 2), phase=st.floats(-3, 3))
def test_higher_derivatives_of_a_smooth_function_are_exact(reach, phase):
    bent = bend_of_sine(jnp.array(reach), jnp.array(phase))
    assert float(bent.reach) == reach
    assert float(bent.third) == pytest.approx(abs(np.cos(phase)), abs=1e-7)
    assert float(bent.fourth) == pytest.approx(abs(np.sin(phase)), abs=1e-4)
    largest = np.abs(np.cos(phase + np.linspace(0, reach, 1000))).max()
    assert largest <= bent.largest_third <= largest * (1.1 + 1e-6)


@given(scale=st.floats(1e-4, 1.0))
def test_interval_shrinks_to_the_scale_of_the_function_and_its_third_derivative_is_bounded_there(scale):
    bent = bend_of_step(jnp.array(scale))
    assert 0.5 < float(bent.reach) / scale < 4
    assert 2 <= float(bent.largest_third) * scale**3 <= 2.2 * (1 + 1e-2)


def test_what_no_polynomial_resolves_has_no_bound():
    bent = bend(lambda step: jnp.sqrt(step), jnp.ones(()), jnp.zeros(()))
    assert (float(bent.reach), float(bent.largest_third), float(bent.third)) == (0.0, np.inf, np.inf)
    steps = bend(lambda step: jnp.floor(1e3 * jnp.sin(1e9 * step)), jnp.ones(()), jnp.zeros(()))
    assert float(steps.reach) == 0.0


def yours(params: Any, inputs: jax.Array) -> jax.Array:
    """The network of the README."""
    return jnp.tanh(inputs @ params["in"]) @ params["out"]


def initialize(key: jax.Array) -> Any:
    into, out = jax.random.split(key)
    return {"in": jax.random.normal(into, (8, 16)) / 8**0.5, "out": jax.random.normal(out, (16, 4)) / 4}


def bounds_over_ends(loss: losses.ImitationLoss) -> np.ndarray:
    """Step that is small enough by the bound, over the measured end: 32 instances, all settings, α up to 1e4."""
    problem = Problem(
        apply=yours,
        initialize=initialize,
        draw_inputs=lambda key: jax.random.uniform(key, (32, 8)),
        imitation_loss=loss,
        trait_loss=lambda params, key: -yours(params, jnp.ones((1, 8)))[0, 0],
    )
    tried = entries(sweep(experiment(problem, measure_ends, learning_rates=RATES), 0, 32))
    assert np.all(tried.reach > 0)
    return tried.safe("largest_third") / tried.measured


@pytest.mark.parametrize("loss", [losses.squared_error, losses.cross_entropy])
def test_no_end_comes_before_its_bound_however_far_the_student_steps(loss):
    assert np.max(bounds_over_ends(loss)) <= 1 + SLACK


def test_bound_from_points_that_do_not_resolve_the_change_is_none(monkeypatch):
    monkeypatch.setattr(step_limits, "AGREEMENT", np.inf)
    assert np.max(bounds_over_ends(losses.squared_error)) > 10


@given(share=shares, lean=st.floats(-1, 1))
def test_root_of_any_cubic_lies_in_its_guaranteed_interval(share, lean):
    roots = np.roots([lean * share, 1.0, -1.0]) if abs(lean) > 1e-6 else np.array([1.0])
    first = min(root.real for root in roots if root.real > 0)
    assert surely_falling(np.array(share), np.array(1.0)) <= first * (1 + 1e-9)
    assert first <= surely_ended(np.array(share)) * (1 + 1e-9)


@given(share=shares)
def test_guaranteed_interval_is_tight_for_a_constant_third_derivative(share):
    low, high = surely_falling(np.array(share), np.array(1.0)), surely_ended(np.array(share))
    assert low + share * low**2 == pytest.approx(1.0, rel=1e-12)
    assert high - share * high**2 == pytest.approx(1.0, rel=1e-12)
    assert 0.82 < low < 1 < high <= 2


def test_no_end_is_certain_beyond_a_quarter():
    assert np.isinf(surely_ended(np.array(0.2500001)))


def test_trait_loss_has_fallen_at_every_step_below_the_bound(ends):
    everything = entries(ends)
    assert np.all(everything.measured >= everything.safe("largest_third") * (1 - SLACK))


def test_bound_is_no_more_than_half_an_order_below_the_end_at_natural_step_sizes(ends):
    natural = entries(ends, slice(1, 3))
    assert np.median(natural.measured / natural.safe("largest_third")) < 3


def test_prediction_sharpens_as_one_over_the_curvature_that_is_added(ends):
    deviations = np.median(np.abs(ends.measured / ends.predicted - 1)[:, STIFF], axis=0)
    np.testing.assert_allclose(deviations[-len(FITTED) :] * FITTED, deviations[-1] * FITTED[-1], rtol=0.1)


def test_quartic_penalty_moves_the_end_and_not_the_prediction(ends):
    predicted = np.asarray(ends.predicted)
    np.testing.assert_allclose(
        predicted[:, QUARTIC], np.broadcast_to(predicted[:, 1:2], (32, len(QUARTICS))), rtol=1e-12
    )
    assert np.median(ends.measured[:, QUARTIC] / ends.predicted[:, QUARTIC]) < 0.5


def test_end_for_large_steps_of_the_student_is_that_of_the_line_along_its_way(ends):
    deviations = np.median(np.abs(ends.scaled[:, LARGE] / ends.limit[:, :1] - 1), axis=0)
    np.testing.assert_allclose(deviations * LARGE_RATES, deviations[-1] * LARGE_RATES[-1], rtol=0.2)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts if verdict.accepted] == ["holds"] * 5


def test_chosen_settings_are_those_that_were_simulated():
    alphas, stiffnesses, quartics = settings(RATES)
    np.testing.assert_array_equal(alphas[LARGE], LARGE_RATES)
    np.testing.assert_array_equal(quartics[QUARTIC], QUARTICS)
    np.testing.assert_array_equal(stiffnesses[claim.STIFF], FITTED)
    np.testing.assert_array_equal(stiffnesses[PLAIN], [*np.zeros(len(RATES)), *STIFFNESSES])


@pytest.mark.parametrize(("factor", "failing"), [(2.0, {0, 3, 5}), (0.5, {1, 3, 5})])
def test_ends_fail_for_a_wrong_factor_in_their_prediction(factor, failing, report, judge_again):
    judged = judge_again(claim.CLAIM, SAMPLING, report, lambda one: one._replace(predicted=factor * one.predicted))
    assert {index for index, outcome in enumerate(judged) if outcome == "fails"} == failing


def test_ends_without_a_bound_are_reported_and_not_judged(report, judge_again):
    judged = judge_again(claim.CLAIM, SAMPLING, report, lambda one: one._replace(reach=0 * one.reach))
    assert judged[:3] == ["reported"] * 3


def test_limit_of_large_steps_fails_along_another_way(report, judge_again):
    judged = judge_again(claim.CLAIM, SAMPLING, report, lambda one: one._replace(limit=one.limit[:, ::-1]))
    assert judged[4] == "fails"


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    judged = judge_again(claim.CLAIM, SAMPLING, report, lambda one: one._replace(visible=np.zeros(32, bool)))
    assert set(judged) == {"reported"}


def test_claim_does_not_fail_where_the_change_is_a_line_or_a_parabola():
    traits = ("random direction", "weight penalty")
    linear = [zoo.variant(f"linear, {trait}", hidden=(), loss="squared error", trait=trait) for trait in traits]
    report = claim.CLAIM.verify(linear[::-1], Sampling(num_seeds=32, learning_rates=(0.3,)))
    assert [verdict.outcome for verdict in report.verdicts] == ["reported"] * 8
