"""The judge: what an interval must do to be admitted, what a control must not, and how verdicts are written."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.runs.statistics import Estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

NARROW, WIDE, OUTSIDE = Estimate(2.0, 1.99, 2.01), Estimate(2.0, 1.9, 2.1), Estimate(3.0, 2.9, 3.1)
SECOND = Accepted(low=1.95, high=2.05)
COIN = Accepted(low=0.5, high=0.5, rule="covers")
NAN = Estimate(np.nan, np.nan, np.nan)
ENDLESS = Estimate(3.0, -np.inf, np.inf)
ends = st.tuples(st.floats(-10, 10), st.floats(-10, 10)).map(sorted)


def verdict(measured: Estimate, accepted: Accepted | None = SECOND, **fields: Any) -> Verdict:
    return Verdict(claim="claim", check="check", predicted="2", measured=measured, accepted=accepted, **fields)


@given(interval=ends, accepted=ends)
def test_an_interval_is_admitted_inside_iff_no_end_sticks_out(interval, accepted):
    measured = Estimate(interval[0], *interval)
    admitted = Accepted(low=accepted[0], high=accepted[1]).admits(measured)
    assert admitted == (accepted[0] <= interval[0] and interval[1] <= accepted[1])


@given(interval=ends, accepted=ends)
def test_an_interval_covers_a_range_iff_they_touch(interval, accepted):
    measured = Estimate(interval[0], *interval)
    admitted = Accepted(low=accepted[0], high=accepted[1], rule="covers").admits(measured)
    assert admitted == (max(interval[0], accepted[0]) <= min(interval[1], accepted[1]))


@given(interval=ends, accepted=ends)
def test_margin_is_negative_exactly_where_refused(interval, accepted):
    judged = verdict(Estimate(interval[0], *interval), Accepted(low=accepted[0], high=accepted[1]))
    assert (judged.margin < 0) == (judged.outcome == "fails")


@pytest.mark.parametrize(
    ("measured", "accepted", "control", "expected"),
    [
        (NARROW, SECOND, None, "holds"),
        (NARROW, SECOND, OUTSIDE, "holds"),
        (NARROW, SECOND, NAN, "fails"),
        (NARROW, SECOND, ENDLESS, "holds"),
        (NARROW, SECOND, NARROW, "fails"),
        (WIDE, SECOND, OUTSIDE, "fails"),
        (OUTSIDE, SECOND, None, "fails"),
        (NAN, SECOND, OUTSIDE, "fails"),
        (Estimate(2.0, np.nan, 2.0), SECOND, None, "fails"),
        (Estimate(2.0, -np.inf, np.inf), SECOND, OUTSIDE, "reported"),
        (Estimate(2.0, 1.99, np.inf), SECOND, None, "fails"),
        (OUTSIDE, None, None, "reported"),
        (NAN, None, None, "fails"),
        (Estimate(0.6, 0.4, 0.8), COIN, Estimate(0.9, 0.8, 1.0), "holds"),
        (Estimate(0.9, 0.8, 1.0), COIN, None, "fails"),
    ],
)
def test_outcome_follows_from_measurement_and_control(measured, accepted, control, expected):
    assert verdict(measured, accepted, control_measured=control).outcome == expected


def test_too_few_instances_decide_nothing():
    fields = {"control_measured": OUTSIDE, "least_instances": 20}
    assert verdict(WIDE, instances=19, **fields).outcome == "reported"
    assert verdict(WIDE, instances=20, **fields).outcome == "fails"
    assert verdict(NARROW, instances=20, **fields).outcome == "holds"


@pytest.mark.parametrize("measured", [NARROW, OUTSIDE, NAN])
@pytest.mark.parametrize("accepted", [SECOND, None])
def test_no_instance_leaves_nothing_to_judge(measured, accepted):
    assert verdict(measured, accepted, control_measured=NAN, instances=0).outcome == "reported"


@pytest.mark.parametrize(
    ("control", "instances", "least", "expected"),
    [
        (OUTSIDE, 20, 20, True),
        (Estimate(3.0, 2.9, np.inf), 20, 20, True),
        (NARROW, 20, 20, False),
        (NAN, 20, 20, False),
        (Estimate(3.0, np.nan, 3.0), 20, 20, False),
        (ENDLESS, 20, 20, None),
        (OUTSIDE, 19, 20, None),
        (OUTSIDE, 1, 0, True),
        (OUTSIDE, 0, 0, None),
        (NAN, 0, 0, None),
    ],
)
def test_control_flips_if_it_measured_something_that_is_refused(control, instances, least, expected):
    judged = verdict(NARROW, control_measured=control, instances=instances, least_instances=least)
    assert judged.control_flips is expected


def test_nothing_is_judged_without_a_judge_or_control():
    assert np.isnan(verdict(OUTSIDE, None).margin)
    assert verdict(OUTSIDE, None, control_measured=OUTSIDE).control_flips is None
    assert verdict(NARROW).control_flips is None


@pytest.mark.parametrize("measured", [NARROW, NAN, Estimate(1.0, -np.inf, np.inf)])
def test_record_is_json_that_every_reader_understands(measured):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    judged = verdict(measured, Accepted(low=0.0, high=np.inf), control="none", control_measured=NAN)
    record = judged.record()
    assert json.loads(json.dumps(record, allow_nan=False), parse_constant=refuse) == record
    assert record["verdict"] == judged.outcome
    assert record["check"] == "check"


def test_record_keeps_every_figure():
    record = verdict(NARROW, control="another init", control_measured=OUTSIDE, instances=7).record()
    assert (record["measured"], record["interval"]) == (2.0, [1.99, 2.01])
    assert record["accepted"] == [1.95, 2.05, "inside"]
    assert record["margin"] == pytest.approx(0.04)
    assert record["control_measured"] == [3.0, 2.9, 3.1]
    assert (record["control_flips"], record["instances"], record["verdict"]) == (True, 7, "holds")


def test_table_has_a_line_a_verdict_and_every_line_the_same_width():
    verdicts = [verdict(NARROW, control="another", control_measured=OUTSIDE), verdict(OUTSIDE), verdict(WIDE, None)]
    lines = verdict_table(verdicts).splitlines()
    assert len(lines) == 2 + len(verdicts)
    assert len({len(line) for line in lines}) == 1
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["holds", "fails", "reported"]


def test_table_names_a_control_that_does_not_flip():
    flips = verdict(NARROW, control="another", control_measured=OUTSIDE)
    stays = verdict(NARROW, control="another", control_measured=NARROW)
    assert "another: 3.000 [2.900, 3.100] (flips)" in verdict_table([flips])
    assert "another: 2.000 [1.990, 2.010] (DOES NOT FLIP)" in verdict_table([stays])
    blind = verdict(NARROW, control="another", control_measured=NAN)
    assert "another: nothing (DOES NOT FLIP)" in verdict_table([blind])


def test_table_escapes_what_would_start_a_column():
    line = markdown_table(["name", "value"], [["a|b", 1]]).splitlines()[2]
    assert "a\\|b" in line
    assert line.replace("\\|", "").count("|") == 3
