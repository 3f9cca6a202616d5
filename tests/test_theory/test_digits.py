"""Digits of a record: none too many, and never so few that a verdict is printed differently."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, verification
from theory.claim import Claim
from theory.digits import DIGITS, rounded, shortened
from theory.runs.checks import SECOND_ORDER, Check, Comparison, Evidence, every_case, first_case, median, order
from theory.runs.files import npz_bytes
from theory.runs.verdicts import verdict_table
from theory.verification import gather

SAMPLING = Sampling(num_seeds=64, teacher_steps=(1e-5, 1e-4, 1e-3))

seeds = st.integers(0, 2**32 - 1)


class Measured(NamedTuple):
    """A quantity of which an order is fitted, and one of which the median is taken."""

    measured: np.ndarray
    other: np.ndarray
    number: np.ndarray
    visible: np.ndarray


def compare(one: Measured) -> Comparison:
    return Comparison(np.broadcast_to(SAMPLING.teacher_steps, one.measured.shape), one.measured, one.visible)


CLAIM = Claim(
    number=0,
    name="example",
    statement="an order and a median",
    measurement=Measured,
    problems=lambda sampling: [],
    cases=lambda problems, sampling: {},
    checks=(
        Check(
            says="order",
            predicted="2",
            of=every_case(compare),
            by=order(2.0),
            accepted=SECOND_ORDER,
            control="nothing subtracted",
            broken=first_case(lambda one: compare(one)._replace(leading=0 * one.measured)),
        ),
        Check(says="median", predicted="none", of=every_case(lambda one: one.other), by=median),
    ),
)


def measure(seed: int) -> Evidence:
    random, steps = np.random.default_rng(seed), np.array(SAMPLING.teacher_steps)
    bend = random.normal(size=(64, 1))
    measured = steps + bend * steps**2
    case = Measured(measured, random.normal(size=64), random.integers(9, size=64), np.ones(64, bool))
    return Evidence({"case": case}, SAMPLING)


def digits(array: np.ndarray) -> int:
    """How many binary digits the longest number has."""
    mantissa, _ = np.frexp(array)
    return next(digits for digits in range(54) if np.all(mantissa * 2.0**digits % 1 == 0))


@given(value=st.floats(-1e300, 1e300, allow_subnormal=False), number=st.integers(1, 53))
def test_a_rounded_number_is_as_near_as_its_digits_allow(value, number):
    near = rounded(np.array([value]), number)
    np.testing.assert_allclose(near, value, rtol=2.0**-number)
    assert digits(near) <= number


def test_what_is_no_number_of_double_precision_stays():
    for array in (np.array([True]), np.array([12345]), np.array([0.1], np.float32)):
        assert rounded(array, 1) is array


@given(seed=seeds)
def test_no_verdict_is_printed_differently(seed):
    evidence = measure(seed)
    assert verdict_table(CLAIM.judge(shortened(CLAIM, evidence))) == verdict_table(CLAIM.judge(evidence))


def test_an_order_keeps_more_digits_than_a_median():
    kept = shortened(CLAIM, measure(0)).first
    assert digits(kept.other) <= 24 < digits(kept.measured)


def test_as_few_digits_for_all_are_another_verdict():
    evidence = measure(0)
    case = evidence.first._replace(measured=rounded(evidence.first.measured, DIGITS[0]))
    outcomes = [CLAIM.judge(one)[0].outcome for one in (evidence, Evidence({"case": case}, SAMPLING))]
    assert outcomes == ["holds", "fails"]


@pytest.mark.parametrize("number", [DIGITS[0], DIGITS[-1]])
def test_zero_infinity_and_what_is_not_a_number_are_themselves(number):
    values = np.array([0.0, -np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(rounded(values, number), values)


def test_a_run_of_fewer_digits_is_smaller_and_says_the_same(monkeypatch):
    monkeypatch.setattr(verification, "measure_claims", lambda *_: [measure(0)])
    (whole, fewer) = (gather(verification.measure([CLAIM], SAMPLING, fewer)) for fewer in (False, True))
    assert fewer.table == whole.table
    assert len(npz_bytes(fewer.results)) < 0.8 * len(npz_bytes(whole.results))
