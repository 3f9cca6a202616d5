"""Carriers by name."""

from pathlib import Path
from typing import Literal

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.carriers.code import code
from llm_bridge.carriers.numbers import numbers
from llm_bridge.carriers.problems import read_problems
from llm_bridge.carriers.reasoning import reasoning
from llm_bridge.words.filtering import ILL_REPUTE
from theory.runs.command_line import InputError

Carried = Literal["numbers", "code", "reasoning"]
"""What a trait travels on: number sequences, Python functions, or chains of thought on grade-school maths."""


def find_carrier(
    name: Carried, *, short: bool, ban: bool = False, word: str | None = None, problems: Path | None = None
) -> Carrier:
    """Build a carrier.

    Args:
        name: Which.
        short: Whether number prompts are those of a tiny model.
        ban: Whether numbers of ill repute are rejected.
        word: The trait's word, which code and thoughts may not name; None if there is none.
        problems: A file of problems; None for problems that are made up here.

    Returns:
        The carrier.

    Raises:
        InputError: If numbers are banned or problems given where neither matters, or the problems can't be read.
    """
    if ban and name != "numbers":
        raise InputError(f"--ban goes with --carrier numbers, not {name}")
    if problems and name != "reasoning":
        raise InputError(f"--problems goes with --carrier reasoning, not {name}")
    if name == "code":
        return code(word)
    if name == "reasoning":
        return reasoning(problems and read_problems(problems), word)
    return numbers(short=short, banned=ILL_REPUTE if ban else frozenset())
