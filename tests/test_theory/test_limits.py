"""Claims 10.1 and 10.2: few inputs and outputs confine students to few dimensions, and limit what they have learned."""

from typing import Any

import numpy as np
import pytest

from theory import Sampling
from theory.claim import Report
from theory.claims import dimensions, limits
from theory.claims.dimensions import BOUND, Dimensions
from theory.claims.limits import Limits

STEPS = (1e-5, 1e-4, 1e-3)
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS, cases="few")


@pytest.fixture(scope="module")
def spanned() -> Report:
    return dimensions.CLAIM.verify(None, SAMPLING)


@pytest.fixture(scope="module")
def transferred() -> Report:
    return limits.CLAIM.verify(None, SAMPLING)


def test_few_inputs_and_outputs_confine_every_student_to_few_dimensions(spanned):
    assert [verdict.outcome for verdict in spanned.verdicts] == ["holds"]
    within = spanned.measurements["dimensions"].singular_values[..., BOUND - 1]
    orders = np.polyfit(np.log(STEPS), np.log(within).reshape(-1, len(STEPS)).T, 1)[0]
    np.testing.assert_allclose(orders, 1.0, atol=0.05)


def test_a_random_teacher_reaches_its_student_in_the_share_that_one_input_allows(transferred):
    assert [verdict.outcome for verdict in transferred.verdicts] == ["holds"]


def test_masked_outputs_and_repeated_inputs_transfer_what_is_predicted(transferred):
    one: Limits = transferred.measurements["limits"]
    np.testing.assert_allclose(one.measured, one.predicted, rtol=1e-2)


def test_claim_fails_if_students_spanned_more_dimensions(spanned, judge_again):
    def leaky(one: Any) -> Dimensions:
        size = np.sum(one.singular_values**2, axis=-1, keepdims=True)
        return Dimensions(np.sqrt(one.singular_values**2 + 1e-6 * size))

    assert judge_again(dimensions.CLAIM, SAMPLING, spanned, leaky) == ["fails"]


def test_claim_fails_if_a_student_had_more_of_its_teacher(transferred, judge_again):
    assert judge_again(limits.CLAIM, SAMPLING, transferred, lambda one: one._replace(random=2 * one.random)) == [
        "fails"
    ]
