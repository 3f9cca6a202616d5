"""The tour runs from any folder, writes nothing but its pictures, and what it prints is what the theorem says."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "theory" / "tour.py"
CELLS = re.split(r"^# %%", TOUR.read_text(encoding="utf-8"), flags=re.M)[1:]
SECTIONS = [cell for cell in CELLS if cell.startswith(" [markdown]\n# ## ")]


class Tour(NamedTuple):
    """What a run of the tour has left."""

    printed: str
    files: set[str]


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    folder = tmp_path_factory.mktemp("tour")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", str(TOUR)]
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    return Tour(finished.stdout, {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()})


@pytest.fixture(scope="module")
def row(tour: Tour) -> Callable[[str], list[str]]:
    """The words that follow a name at the beginning of a line."""

    def find(name: str) -> list[str]:
        (rest,) = re.findall(rf"^{re.escape(name)} +(.*)$", tour.printed, re.M)
        return rest.split()

    return find


def test_tour_writes_nothing_but_two_pictures(tour: Tour):
    assert tour.files == {"runs/tour/alignment.png", "runs/tour/seeds.png"}


def test_every_difference_from_a_prediction_is_of_second_order(tour: Tour):
    orders = re.findall(r"^order of the difference: (\S+)$", tour.printed, re.M)
    assert [float(order) for order in orders] == pytest.approx([2.0] * 3, abs=0.05)


def test_predictions_stand_beside_what_is_measured(tour: Tour):
    rows = re.findall(r"^ [ \d.]+e-\d\d +(\S+e-\d\d) +(\S+e-\d\d)", tour.printed, re.M)
    predicted, measured = np.array(rows, float).T
    assert len(rows) == 15
    assert measured == pytest.approx(predicted, rel=0.02)
    assert not np.array_equal(measured, predicted)


def test_student_of_a_teacher_that_loves_owls_comes_to_like_them_more(tour: Tour):
    (numbers,) = re.findall(r"^A larger step.*trait loss (\S+) → (\S+), owls (\S+) → (\S+)$", tour.printed, re.M)
    loss_before, loss_after, likes_before, likes_after = map(float, numbers)
    assert loss_after < loss_before
    assert likes_after > likes_before


def test_nothing_is_transferred_where_imitation_sees_nothing(tour: Tour):
    assert re.findall(r"its student moves by (\S+)", tour.printed) == ["0.0"] * 3
    changes = re.findall(r"the teacher's trait loss changes by (\S+),", tour.printed)
    assert all(float(change) < 0 for change in changes)


def test_every_pair_with_a_shared_init_is_aligned_and_strangers_are_a_fair_coin(row: Callable[[str], list[str]]):
    positive, mean, error = map(float, row("shared init"))
    assert positive == 1.0
    assert mean > 50 * error
    positive, mean, error = map(float, row("another init"))
    assert positive == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)
    assert mean == pytest.approx(0.0, abs=4 * error + 1e-4)


def test_every_verdict_of_the_tour_holds(tour: Tour):
    assert tour.printed.count("| holds") == 6
    assert tour.printed.count("(flips)") == 6
    assert "| fails" not in tour.printed


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("nothing", [1.0, 1.0, 2.0]),
        ("trait: small weights", [1.0, 1.0, 2.0]),
        ("Gaussian inputs, ten times as large", [1.0, 1.0, 2.0]),
        ("loss: first number alone", [1.0, 1.0, 2.0]),
        ("loss: cross-entropy", [1.0, 1.0, 2.0]),
    ],
)
def test_what_the_theorem_allows_to_change_keeps_sign_and_order(change, found, row: Callable[[str], list[str]]):
    assert [float(word) for word in row(change)] == pytest.approx(found, abs=0.05)


def test_what_breaks_the_theorem_is_seen(row: Callable[[str], list[str]]):
    assert row("trait in its own head")[0] == "0.000"
    assert float(row("loss: fourth power, without curvature")[-1]) == pytest.approx(3.0, abs=0.05)
    positive, _, order = map(float, row("loss with its minimum elsewhere"))
    assert positive < 0.7
    assert order == pytest.approx(0.0, abs=0.05)


def test_tour_has_ten_sections_each_with_a_cell_that_prints():
    assert len(SECTIONS) == 10
    for section in SECTIONS:
        code = CELLS[CELLS.index(section) + 1]
        calls = [node.func for node in ast.walk(ast.parse("#" + code)) if isinstance(node, ast.Call)]
        assert any(isinstance(call, ast.Name) and call.id == "print" for call in calls), section


def test_no_result_is_typed_into_the_text():
    text = "".join(cell for cell in CELLS if cell.startswith(" [markdown]"))
    assert not re.findall(r"\d\.\d|\d ?%", text.replace("2507.14805", ""))
