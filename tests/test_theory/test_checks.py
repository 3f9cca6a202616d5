"""Checks: intervals judged together, the worst of them, and which cases and steps they look at."""

from typing import Any

import numpy as np
import pytest

from theory import Sampling
from theory.runs.checks import (
    CONTROL,
    FAIR_COIN,
    LEAST_SEEDS,
    NO_EXCESS,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    first_case,
    hidden_by_rounding,
    least_agreeing,
    mean,
    order,
    share,
    worst_median,
)
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate, median_estimate, rate_estimate

SAMPLES = np.random.default_rng(0).normal(size=(200, 50))
SEEN = np.array([True, True])


@pytest.mark.parametrize("columns", [1, 5, 50])
def test_medians_judged_together_each_hold_at_the_joint_level(columns):
    judged = worst_median(0.0)([SAMPLES[:, :columns]], None)
    single = [median_estimate(column, joint_confidence(columns)) for column in SAMPLES[:, :columns].T]
    assert judged.low == min(one.low for one in single)
    assert judged.high == max(one.high for one in single)
    assert columns == 1 or judged.high - judged.low > np.ptp(median_estimate(SAMPLES[:, 0])[1:])


def test_cases_count_among_what_is_judged_together():
    together = worst_median(0.0)([SAMPLES[:, :1], SAMPLES[:, 1:3]], None)
    assert together == worst_median(0.0)([SAMPLES[:, :3]], None)


def test_means_and_shares_hold_at_the_joint_level():
    values, wins = SAMPLES[:, 0], SAMPLES[:, 0] > 0
    assert mean(8)([values], None) == mean_estimate(values, joint_confidence(8))
    assert share(8)([wins], None) == rate_estimate(wins, joint_confidence(8))


def test_of_joint_intervals_the_one_that_agrees_least_is_kept():
    near, far, outside = Estimate(0.0, -1.0, 1.0), Estimate(0.9, -0.1, 1.9), Estimate(2.0, 1.0, 3.0)
    assert least_agreeing([near, far], NO_EXCESS) == far
    assert least_agreeing([outside, near, far], NO_EXCESS) == outside
    assert np.isnan(least_agreeing([near, Estimate(np.nan, np.nan, np.nan)], NO_EXCESS)).all()


def test_every_takes_the_whole_range_and_misses_no_nan():
    assert every([np.array([3.0, 1.0]), np.array([[2.0]])]) == (2.0, 1.0, 3.0)
    assert np.isnan(every([np.array([3.0, np.nan])])).all()


def test_controls_are_none_of_the_cases():
    evidence = Evidence({"one": 1, f"{CONTROL}broken": 2, f"three; {CONTROL}broken": 3, "four": 4}, None)
    assert every_case(lambda case: case)(evidence) == [1, 4]
    assert first_case(lambda case: case)(evidence) == [1]
    assert evidence.first == 1


def test_ratio_is_that_of_the_smallest_step_and_its_limit_extrapolates():
    steps = np.array([0.1, 0.2, 0.4])
    leading = np.tile(steps, (2, 1))
    comparison = Comparison(leading, leading * (1 + steps), SEEN)
    np.testing.assert_allclose(comparison.ratio, 1.1)
    np.testing.assert_allclose(comparison.limiting_ratio, 1.0, rtol=1e-12)
    np.testing.assert_allclose(comparison._replace(visible=np.array([True, False])).ratio, [1.1])


def test_worst_order_is_that_of_the_case_farthest_from_the_prediction():
    sampling, steps = Sampling(), np.array(Sampling().teacher_steps)
    seen, leading = np.ones(64, bool), np.zeros((64, steps.size))
    second, third = (Comparison(leading, leading + steps**power, seen) for power in (2, 3))
    assert order(2.0)([second, third], sampling).value == pytest.approx(3.0)
    assert order(3.0)([second, third], sampling).value == pytest.approx(2.0)


@pytest.mark.parametrize(("control", "outcome"), [(0.9, "holds"), (0.5, "fails")])
def test_a_check_holds_only_beside_a_control_that_does_not(control, outcome):
    def wins(rate: float) -> Any:
        return np.arange(100) < 100 * rate

    check = Check(
        says="share of wins, {cases}",
        predicted="0.5",
        of=every_case(wins),
        by=share(),
        accepted=FAIR_COIN,
        control="loaded",
        broken=lambda evidence: [wins(evidence.cases[f"{CONTROL}loaded"])],
    )
    (verdict,) = check.judge("claim", Evidence({"fair": 0.5, f"{CONTROL}loaded": control}, None))
    assert (verdict.outcome, verdict.check, verdict.instances) == (outcome, "share of wins, 1 case", 100)


def test_what_is_judged_has_a_control():
    with pytest.raises(ValueError, match="'share of wins' is judged and has no control"):
        Check(says="share of wins", predicted="0.5", of=first_case(np.ravel), by=share(), accepted=FAIR_COIN)


def test_a_case_that_was_not_measured_is_named_beside_those_that_were():
    with pytest.raises(KeyError, match="no case 'anothr' was measured, only 'reference', 'another'"):
        case("anothr", np.ravel)(Evidence({"reference": 0.0, "another": 1.0}, None))


def test_a_case_hidden_by_rounding_is_reported_and_not_left_out():
    says, sampling = "order of Δ_S·Δ_T − εA", Sampling()
    sizes = np.array(sampling.teacher_steps)
    leading = np.ones((LEAST_SEEDS, 1)) * sizes
    seen, far = np.ones(LEAST_SEEDS, bool), np.full(LEAST_SEEDS, 1e3)
    evidence = Evidence({"rounded": Comparison(leading, leading + sizes**2, seen, far)}, sampling)
    (verdict,) = hidden_by_rounding(f"{says}, {{cases}}", "2.00", every_case(lambda one: one)).judge("claim", evidence)
    assert (verdict.check, verdict.outcome) == (f"{says}, 1 case", "reported")
    assert verdict.reason == "fewer than three step sizes above rounding"
    clear = Evidence({"clear": Comparison(leading, leading + sizes**2, seen)}, sampling)
    assert not hidden_by_rounding(says, "2.00", every_case(lambda one: one)).judge("claim", clear)
