"""Claim 5.1: the form is odd in the student's auxiliary head, so that its sign is a fair coin."""

from functools import cache

import numpy as np
import pytest

from theory import Problem, Sampling, zoo
from theory.claim import Report
from theory.claims.signs import AUXILIARY, CLAIM, EVERYTHING, SHARING, Signs, measure
from theory.experiments import experiment
from theory.runs.sweeps import sweep

REFERENCE = zoo.variant("reference", hidden=(16,))
DISJOINT = zoo.variant("auxiliary outputs", imitated=zoo.AUXILIARY)
NUM_SEEDS = 256
SAMPLING = Sampling(num_seeds=NUM_SEEDS)
ROUNDING = 1e3 * np.finfo(float).eps


@cache
def signs(problem: Problem) -> Signs:
    return sweep(experiment(problem, measure, shared=False), 0, NUM_SEEDS, chunk_size=NUM_SEEDS)


def test_form_is_odd_in_the_students_auxiliary_head_for_every_seed():
    result = signs(DISJOINT)
    for before, after in [(result.teacher, result.negated_teacher), (result.own, result.negated_own)]:
        scale = np.abs(before).max(axis=0)
        np.testing.assert_array_less(np.abs(after + before) / scale, ROUNDING)


def test_form_is_not_odd_once_the_trait_s_own_outputs_are_imitated_too():
    result = signs(REFERENCE)
    assert np.median(np.abs(result.negated_own / result.own + 1)) > 0.1


def test_teachers_own_trait_is_a_fair_coin_without_its_auxiliary_head_and_certain_with_everything():
    share = dict(zip(SHARING, np.mean(np.asarray(signs(DISJOINT).own) > 0, axis=0), strict=True))
    deviation = 0.5 / np.sqrt(NUM_SEEDS)
    assert abs(share["nothing"] - 0.5) < 4 * deviation
    assert abs(share["all but the auxiliary head"] - 0.5) < 4 * deviation
    assert share["both heads"] > 0.5 + 4 * deviation
    assert share["everything"] == 1.0


@pytest.fixture(scope="module")
def report() -> Report:
    measured = {next(iter(AUXILIARY)): signs(DISJOINT), EVERYTHING: signs(REFERENCE)}
    return Report([], measured)


def test_claim_holds(report, judge_again):
    assert judge_again(CLAIM, SAMPLING, report, lambda result: result) == ["holds"] * 3 + ["reported"] * 5


def test_claim_fails_if_the_form_does_not_notice_the_head(report, judge_again):
    def deaf(result: Signs) -> Signs:
        return result._replace(negated_teacher=result.teacher, negated_own=result.own)

    assert judge_again(CLAIM, SAMPLING, report, deaf) == ["fails", "holds", "holds"] + ["reported"] * 5


def test_claim_fails_if_the_coin_is_not_fair(report, judge_again):
    def certain(result: Signs) -> Signs:
        return result._replace(own=np.abs(result.own), negated_own=-np.abs(result.own))

    assert judge_again(CLAIM, SAMPLING, report, certain)[1:3] == ["fails", "fails"]
