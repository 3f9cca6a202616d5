"""The examples in theory's docstrings print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("theory", "mlp_mnist", "llm_bridge")
    for path in sorted((ROOT / package).rglob("*.py"))
    if re.search(r"^ +>>> ", path.read_text(encoding="utf-8"), re.M)
]


def test_the_functions_that_most_people_use_have_examples():
    assert {"theory.losses", "theory.predictions", "theory.traits", "theory.verification"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_the_docstrings_print_what_they_say(module: str):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


def test_example_with_another_result_is_noticed():
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda text: None).failed == 1
