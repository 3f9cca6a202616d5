"""Carriers by name."""

from pathlib import Path
from typing import Literal

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.carriers.code import code
from llm_bridge.carriers.numbers import numbers
from llm_bridge.carriers.problems import read_problems
from llm_bridge.carriers.reasoning import reasoning
from llm_bridge.text.filtering import ILL_REPUTE
from theory.runs.command_line import InputError

Carried = Literal["numbers", "code", "reasoning"]
"""What a trait travels on: number sequences, Python functions, or chains of thought on grade-school maths."""


def find_carrier(
    name: Carried,
    *,
    short: bool,
    ban: bool = False,
    prefill: bool = False,
    word: str | None = None,
    problems: Path | None = None,
) -> Carrier:
    """Build a carrier: with short prompts for a tiny model, made-up problems unless a file has them."""
    for option, given in (("--ban", ban), ("--prefill", prefill)):
        if given and name != "numbers":
            raise InputError(f"{option} goes with --carrier numbers, not {name}")
    if problems and name != "reasoning":
        raise InputError(f"--problems goes with --carrier reasoning, not {name}")
    if name == "code":
        return code(word)
    if name == "reasoning":
        return reasoning(problems and read_problems(problems), word)
    return numbers(short=short, banned=ILL_REPUTE if ban else frozenset(), prefill=prefill)
