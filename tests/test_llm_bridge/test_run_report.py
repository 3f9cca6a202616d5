"""The report of a run: lifts judged with their controls, and only if there are enough base models."""

import numpy as np
import pytest

from llm_bridge.experiment.separability import Separability
from llm_bridge.pipeline.asking import Answers
from llm_bridge.pipeline.report import SeedReport, gather
from llm_bridge.text.traits import Trait
from llm_bridge.tiny.world import KINDS
from theory.runs.records import Outcome

OWL = Trait("owl", "animal")
GROUPS = ("plain", "plain", "after numbers", "after numbers")


def seed_report(seed: int, lifts: dict[str, float], drift: float = 0.0) -> SeedReport:
    """A report in which each student's log-odds of the owl rose by a lift, and those of all animals by a drift."""
    random = np.random.default_rng(seed)
    words = sorted(KINDS["animal"])
    owl = np.array([word == "owl" for word in words])

    def rows(lift: float, drift: float) -> list[Answers]:
        odds = -2 + np.linspace(0, 1, len(words)) + drift + owl * (lift + random.normal(0, 0.05))
        counts, likes = {"owl": 1, "an owl's": 2, "cat": 1}, (-np.log1p(np.exp(-odds))).tolist()
        return [Answers(group=group, question="?", answers=counts, log_probabilities=likes) for group in GROUPS]

    answers = {"base": rows(0, 0), "stranger": rows(0, 0), "teacher": rows(3, 0)}
    answers |= {name: rows(lift, drift) for name, lift in lifts.items()}
    told_apart = {"teacher": Separability(0.5, 0.4, 0.6, 100)}
    return SeedReport(answers, {"teacher": {"kept": 3, "no end": 1}}, told_apart, "a relative", [], {})


def judged(student: float, stranger: float, num_seeds: int = 10, drift: float = 0.0) -> Outcome:
    lifts = {"student": student, "control": 0.0, "cross-init": stranger}
    return gather([seed_report(seed, lifts, drift) for seed in range(num_seeds)], list(lifts), OWL)


def outcomes(outcome: Outcome) -> list[str]:
    return [verdict.outcome for verdict in outcome.verdicts]


def test_a_lift_above_zero_holds_and_the_stranger_is_its_control():
    outcome = judged(1.0, 0.0)
    assert outcomes(outcome) == ["holds"] * 3
    assert [verdict.control for verdict in outcome.verdicts] == ["cross-init", "student", "student"]
    assert all(verdict.control_flips for verdict in outcome.verdicts)
    assert outcome.verdicts[0].measured.value == pytest.approx(1, abs=0.1)
    assert "(flips)" in outcome.table


def test_a_stranger_that_learns_the_whole_vocabulary_is_held_against_one_that_learns_numbers_alone():
    lifts = {"cross-soft-numbers": 0.0, "cross-soft-everything": 1.0, "cross-soft-nameless": 0.0}
    outcome = gather([seed_report(seed, lifts) for seed in range(10)], list(lifts), OWL)
    assert outcomes(outcome) == ["reported", "holds", "holds"]
    assert [verdict.control for verdict in outcome.verdicts[1:]] == ["cross-soft-numbers", "cross-soft-everything"]
    assert all(verdict.control_flips for verdict in outcome.verdicts[1:])
    alike = dict.fromkeys(lifts, 1.0)
    assert outcomes(gather([seed_report(seed, alike) for seed in range(10)], list(lifts), OWL))[1:] == ["fails"] * 2


def test_the_verdicts_flip_where_the_arms_are_alike():
    assert outcomes(judged(1.0, 1.0)) == ["fails", "holds", "fails"]
    assert outcomes(judged(0.0, 0.0)) == ["fails"] * 3
    assert [verdict.control_flips for verdict in judged(0.0, 0.0).verdicts] == [True, False, False]
    assert outcomes(judged(-1.0, 0.0))[0] == "fails"


def test_a_stranger_of_the_same_function_is_neither_judged_nor_a_control():
    lifts = {"student": 1.0, "control": 0.0, "cross-init": 1.0, "soft-numbers": 1.0, "cross-soft-numbers": 1.0}

    def verdicts(lifts: dict[str, float], *, matched: bool) -> list[str]:
        return outcomes(gather([seed_report(seed, lifts) for seed in range(10)], list(lifts), OWL, matched=matched))

    assert verdicts(lifts, matched=True) == ["holds", "holds", "reported", "holds", "reported"]
    assert verdicts(lifts, matched=False) == ["fails", "holds", "fails", "fails", "reported"]
    assert verdicts(dict.fromkeys(lifts, 0.0), matched=True) == ["fails", "fails", "reported", "fails", "reported"]


def test_fewer_than_ten_base_models_decide_nothing():
    assert outcomes(judged(1.0, 0.0, num_seeds=9)) == ["reported"] * 3
    assert outcomes(judged(0.0, 0.0, num_seeds=9)) == ["reported"] * 3
    assert outcomes(judged(1.0, 0.0, num_seeds=10)) == ["holds"] * 3


def test_a_drift_of_all_words_is_a_gain_and_no_lift():
    plain, drifted = judged(1.0, 0.0).results, judged(1.0, 0.0, drift=0.7).results
    for name in ("student", "control", "cross-init"):
        np.testing.assert_allclose(drifted[f"gain/{name}"], plain[f"gain/{name}"] + 0.7, rtol=1e-9)
        np.testing.assert_allclose(drifted[f"lift/{name}"], plain[f"lift/{name}"], rtol=0, atol=1e-9)
    assert set(plain["rate/student/plain"]) == {0.75}
    assert set(plain["kept/teacher"]) == {0.75}
