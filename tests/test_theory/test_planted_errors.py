"""Planted errors: their texts are still there, and three of them are caught for real."""

import ast
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from theory.claim import claim_names

TESTS = Path(__file__).parents[1]


def load() -> ModuleType:
    """Import the script, which is no module of a package."""
    specification = importlib.util.spec_from_file_location("planted_errors", TESTS / "planted_errors.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["planted_errors"] = module
    specification.loader.exec_module(module)
    return module


PLANTED = load()


@pytest.mark.parametrize("error", PLANTED.ERRORS, ids=lambda error: error.name)
def test_text_of_an_error_stands_once_in_its_file(error: Any):
    text = (PLANTED.ROOT / "theory" / error.file).read_text(encoding="utf-8")
    assert text.count(error.right) == 1
    assert error.wrong != error.right
    ast.parse(text.replace(error.right, error.wrong))


def test_there_are_enough_errors_of_which_few_escape():
    errors = PLANTED.ERRORS
    assert len({error.name for error in errors}) == len(errors) >= 42
    assert sum(not error.no_verdict for error in errors) >= 0.9 * len(errors)
    assert sum(not error.no_test for error in errors) >= 0.95 * len(errors)


def test_claims_and_tests_that_are_asked_are_there():
    assert {claim for error in PLANTED.ERRORS for claim in error.claims} <= set(claim_names())
    names = {f"{name}.py" for error in PLANTED.ERRORS for name in error.tests}
    assert names <= {path.name for path in Path(__file__).parent.glob("test_*.py")}


@pytest.mark.parametrize(
    ("name", "ask", "by"),
    [
        ("sign of M", PLANTED.ask_verdicts, "conditions: A where outputs move by 1"),
        ("order fitted through the origin", PLANTED.ask_tests, "test_order_of_an_exact_power_is_its_exponent"),
        ("control dropped in the judge", PLANTED.ask_tests, "test_outcome_follows_from_measurement_and_control"),
    ],
)
def test_planted_error_is_caught(name: str, ask: Callable[[Any, Path], str], by: str, tmp_path: Path):
    (error,) = (error for error in PLANTED.ERRORS if error.name == name)
    PLANTED.plant(error, tmp_path)
    assert ask(error, tmp_path).startswith(by)
