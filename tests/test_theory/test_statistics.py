"""Fitted orders on exact powers; intervals that cover as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.runs.statistics import (
    CONFIDENCE,
    Estimate,
    fitted_order,
    hull,
    joint_confidence,
    mean_estimate,
    median_estimate,
    range_estimate,
    rate_estimate,
)

SIZES = np.geomspace(1e-5, 1e-3, 5)
LEVEL = 0.9
NUM_TRIALS = 400


@given(order=st.floats(-4, 4), factor=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
def test_order_of_an_exact_power_is_its_exponent(order, factor, sign):
    assert fitted_order(SIZES, sign * factor * SIZES**order) == pytest.approx(order, abs=1e-12)


def test_order_of_a_sum_lies_between_its_exponents():
    assert 2 < fitted_order(SIZES, SIZES**2 + 1e4 * SIZES**3) < 3


def test_orders_are_fitted_for_each_leading_index():
    remainders = np.stack([SIZES, SIZES**2, SIZES**3]).reshape(3, 1, 5)
    np.testing.assert_allclose(fitted_order(SIZES, remainders), [[1], [2], [3]])


@pytest.mark.parametrize("place", range(5))
def test_a_remainder_of_zero_has_no_order(place):
    remainder = SIZES**2
    remainder[place] = 0
    assert np.isnan(fitted_order(SIZES, remainder))


def coverage(estimate, truth: float, draw) -> float:
    generator = np.random.default_rng(0)
    intervals = [estimate(draw(generator), LEVEL) for _ in range(NUM_TRIALS)]
    return float(np.mean([low <= truth <= high for _, low, high in intervals]))


@pytest.mark.parametrize(
    ("estimate", "truth", "draw"),
    [
        (median_estimate, np.log(2), lambda generator: generator.exponential(size=41)),
        (mean_estimate, 3.0, lambda generator: generator.normal(3.0, 2.0, size=8)),
        (rate_estimate, 0.3, lambda generator: generator.random(60) < 0.3),
    ],
    ids=["median", "mean", "rate"],
)
def test_interval_covers_the_truth_as_often_as_it_says_and_not_much_more(estimate, truth, draw):
    deviation = np.sqrt(LEVEL * (1 - LEVEL) / NUM_TRIALS)
    assert LEVEL - 3 * deviation <= coverage(estimate, truth, draw) <= LEVEL + 0.07


def test_mean_of_known_samples_has_students_interval():
    value, low, high = mean_estimate(np.array([1.0, 2.0, 3.0]))
    assert value == 2
    assert (high - 2, 2 - low) == pytest.approx((4.302653 / np.sqrt(3),) * 2, rel=1e-6)


def test_one_sample_has_a_mean_but_no_interval():
    assert mean_estimate(np.array([5.0])) == (5.0, -np.inf, np.inf)


@pytest.mark.parametrize("num_samples", [1, 5, 10])
def test_too_few_samples_leave_the_median_without_ends(num_samples):
    assert median_estimate(np.arange(num_samples), 0.999)[1:] == (-np.inf, np.inf)


def test_eleven_samples_are_enough_for_the_median_at_our_level():
    assert median_estimate(np.arange(11.0), CONFIDENCE) == (5.0, 0.0, 10.0)


def test_a_missing_sample_shows_in_the_range_and_is_left_out_of_the_median():
    samples = np.array([np.nan, 1.0, 3.0, 2.0])
    assert np.isnan(range_estimate(samples)).all()
    assert range_estimate(samples[1:]) == (2.0, 1.0, 3.0)
    assert median_estimate(samples).value == 2.0
    for estimate in (range_estimate, median_estimate):
        assert np.isnan(estimate(np.full(3, np.nan))).all()


@pytest.mark.parametrize(("successes", "ends"), [([False] * 20, (0.0, None)), ([True] * 20, (None, 1.0))])
def test_rate_of_all_or_none_reaches_its_own_end_alone(successes, ends):
    value, low, high = rate_estimate(np.array(successes))
    assert 0 <= low <= value <= high <= 1
    assert (low == ends[0]) == (ends[0] is not None)
    assert (high == ends[1]) == (ends[1] is not None)


def test_hull_keeps_the_worst_figure_between_the_outermost_ends():
    estimates = [Estimate(2.0, 1.9, 2.1), Estimate(2.3, 2.2, 2.4), Estimate(1.8, 1.7, 1.9)]
    assert hull(estimates, predicted=2.0) == (2.3, 1.7, 2.4)


def test_hull_of_something_undefined_is_undefined():
    estimates = [Estimate(2.0, 1.9, 2.1), Estimate(np.nan, np.nan, np.nan)]
    assert np.isnan(hull(estimates, predicted=2.0)).all()


@given(num_intervals=st.integers(1, 1000))
def test_intervals_judged_together_fail_together_no_more_often_than_one(num_intervals):
    assert num_intervals * (1 - joint_confidence(num_intervals)) == pytest.approx(1 - CONFIDENCE)


def test_estimate_reads_as_a_figure_with_its_interval():
    assert str(Estimate(2.0, 0.0, np.inf)) == "2.000 [0, inf]"
    assert str(Estimate(np.nan, np.nan, np.nan)) == "nothing"


def test_remainders_within_rounding_stay_out_of_a_fitted_order_and_two_are_none():
    rounding = np.array([0.0, SIZES[2] ** 2 / 5, SIZES[-3] ** 2])
    remainders = np.tile(SIZES**2, (3, 1))
    remainders[1, :2] = rounding[1] * np.array([1, -1])
    orders = fitted_order(SIZES, remainders, rounding)
    np.testing.assert_allclose(orders[:2], 2.0, rtol=1e-12)
    assert np.isnan(orders[2])
    assert fitted_order(SIZES, remainders[1]) < 1.9
