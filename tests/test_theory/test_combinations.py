"""A survey measures every combination that is named, under its name, and refuses what can't be combined."""

from pathlib import Path

import numpy as np
import pytest

from theory.combinations import Combinations, draw_combinations, sweep_combinations
from theory.runs.command_line import InputError
from theory.runs.records import Outcome, Record

OPTIONS = Combinations(
    depth=(0,),
    loss=("cross-entropy", "squared error"),
    imitated=("all", "auxiliary"),
    num_seeds=12,
    learning_rates=(0.3,),
)


@pytest.fixture(scope="module")
def surveyed() -> Outcome:
    return sweep_combinations(OPTIONS)


def test_every_combination_has_a_row_its_numbers_and_three_reported_verdicts(surveyed):
    labels = [f"loss {loss}, imitated {which}" for loss in OPTIONS.loss for which in OPTIONS.imitated]
    assert [line.split("|")[1].strip() for line in surveyed.table.splitlines()[2:]] == labels
    assert len(surveyed.verdicts) == 3 * len(labels)
    assert {verdict.outcome for verdict in surveyed.verdicts} == {"reported"}
    assert surveyed.results[f"sweep/{labels[0]}/alignment_ratio"].shape == (12, 11)
    assert surveyed.results[f"sweep/{labels[0]}/change_ratio"].shape == (12, 11, 1)


def test_a_linear_model_has_no_remainder_under_squared_error_and_one_of_second_order_under_cross_entropy(surveyed):
    exact = surveyed.results["sweep/loss squared error, imitated all/alignment_ratio"]
    np.testing.assert_allclose(exact, 1, rtol=1e-9)
    order = surveyed.verdicts[0]
    assert order.check.startswith("order of Δ_S·Δ_T − εA: loss cross-entropy, imitated all")
    assert order.measured.value == pytest.approx(2, abs=0.05)


def test_what_imitation_can_not_see_is_counted_out(surveyed):
    name = "loss cross-entropy, imitated auxiliary"
    assert not np.any(surveyed.results[f"sweep/{name}/visible"])
    invisible = [verdict for verdict in surveyed.verdicts if verdict.check.endswith(name)]
    assert all(np.isnan(verdict.measured.value) and verdict.instances == 0 for verdict in invisible)


def test_a_picture_has_a_line_for_every_combination_that_is_visible(surveyed):
    config = {"teacher_steps": OPTIONS.teacher_steps, "learning_rates": OPTIONS.learning_rates}
    left, right = draw_combinations(Record(Path(), config, dict(surveyed.results), [], "", {})).axes
    assert len(left.lines) == len(right.lines) == 2


def test_a_survey_of_nothing_varied_has_one_combination():
    assert Combinations().label(Combinations().combinations()[0]) == "one combination"


def test_a_network_that_no_memory_holds_is_refused_with_its_size():
    with pytest.raises(InputError, match=r"smaller --width: 2\.98e\+04 GiB needed"):
        Combinations(width=(2_000_000,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": (1, 1)}, "depth must be one or more different values"),
        ({"width": ()}, "width must be one or more different values"),
        ({"depth": (-1,)}, "depth must be from 0 to 1000"),
        ({"depth": (10**6,)}, "depth must be from 0 to 1000"),
        ({"width": (10**399,)}, "width must be at least 1, at most"),
        ({"num_seeds": 10**399}, "num_seeds must be at least 1, at most"),
        ({"width": (0,)}, "width must be at least 1"),
        ({"width": tuple(range(1, 102))}, "at most 100 combinations"),
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"coordinator": "localhost:1"}, "coordinator must be given together"),
    ],
)
def test_what_can_not_be_combined_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Combinations(**fields)
