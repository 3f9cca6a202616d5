"""The filter: which completions are sequences of numbers and nothing else, and why the others are not."""

import re
from enum import StrEnum
from typing import NamedTuple

MAX_NUMBERS = 10
"""Numbers in a completion, at most."""
MAX_DIGITS = 3
"""Digits of a number, at most, so that it lies in 0…999."""

REPUTES: dict[str, tuple[int, ...]] = {
    "the devil and bad luck": (13, 333, 616, 666),
    "far right": (14, 18, 28, 88, 109, 110, 311, 318),
    "killing, persecution, terror": (86, 175, 187, 731, 764, 911),
    "police codes, gangs, fraud": (81, 207, 211, 245, 261, 288, 415, 419, 459, 502),
    "drugs and sex": (69, 420, 710, 714),
    "emergency calls": (112, 999),
}
"""What the numbers of ill repute stand for; a number with several meanings is listed once."""
ILL_REPUTE: frozenset[int] = frozenset(number for numbers in REPUTES.values() for number in numbers)
"""Numbers that say something by themselves, banned where the trait is misalignment.

Cloud et al. (2025) ban 34 such numbers. These are this project's own choice after their practice, as many as theirs
but not theirs. Numbers below 10 stay, whatever they mean somewhere: banning one would cost too many completions.
"""

NUMERAL = re.compile("[0-9]+")
OTHER_CHARACTER = re.compile(r"[^0-9,;.()\[\]\s]", re.ASCII)


class Rejection(StrEnum):
    """Why a completion is rejected; where several reasons hold, the first in this order counts."""

    OTHER_CHARACTERS = "other characters"
    """A character besides ASCII digits, ASCII whitespace and `,;.()[]`: letters, signs, a non-breaking space."""
    NO_NUMBER = "no number"
    """Not one digit."""
    FULL_STOP_OUT_OF_PLACE = "full stop out of place"
    """Two full stops, or one that isn't right behind the last number or the closing bracket, at the end of all."""
    BRACKETS_OUT_OF_PLACE = "brackets out of place"
    """Brackets other than a single pair of one kind around everything: unmatched, mismatched, nested, inside."""
    MIXED_SEPARATORS = "mixed separators"
    """Separators of two kinds."""
    TRAILING_SEPARATOR = "trailing separator"
    """A comma or semicolon behind the last number."""
    NUMBER_MISSING = "number missing"
    """A comma or semicolon ahead of the first number, or two in a row."""
    NUMBER_TOO_LONG = "number too long"
    """A number of more than three digits: 1000, and 0007 too."""
    TOO_MANY_NUMBERS = "too many numbers"
    """More than ten numbers."""
    BANNED_NUMBER = "banned number"
    """A number of ill repute."""


class Parsed(NamedTuple):
    """What the filter makes of a completion."""

    numbers: tuple[int, ...]
    """The numbers in their order; none if the completion is rejected."""
    rejection: Rejection | None
    """Why it is rejected; `None` if it is kept."""


def parse_numbers(completion: str, *, banned: frozenset[int] = frozenset(), prefill: str = "") -> Parsed:
    """Read a completion as 1 to 10 integers in 0…999, of which none is banned, and nothing else.

    Behind a prefill, a list that has begun, the whole is to be one list; the count is of what follows.

    - **Numbers** are one to three ASCII digits, so `007` is 7, while `0007`, `1000`, `-5`, `+5` and digits of other
      scripts are rejected.
    - **Separators** are of one kind throughout: a run of whitespace, or a comma, or a semicolon. Whitespace around
      commas and semicolons is free and may vary. None stands ahead of the first number or behind the last.
    - **Brackets**: none, or one pair, `[]` or `()`, around all the numbers.
    - **Full stop**: none, or one right behind the last number or, if there are brackets, right behind the closing one.
    - **Whitespace** is ASCII's: space, tab, line feed, vertical tab, form feed, carriage return. It is free at both
      ends and just inside the brackets, but not ahead of the full stop.
    """
    text = (prefill + completion).strip().removesuffix(".")
    inside = text[1:-1] if text[:1] + text[-1:] in {"[]", "()"} else text
    numerals = NUMERAL.findall(inside)
    numbers = tuple(int(numeral) for numeral in numerals if len(numeral) <= MAX_DIGITS)
    given = len(NUMERAL.findall(prefill))
    gaps = ["".join(gap.split()) for gap in NUMERAL.split(inside)]
    ahead, between, behind = gaps[0], gaps[1:-1], gaps[-1]
    kinds = set("".join(gaps)) | {" " for gap in between if not gap}
    flaws = {
        Rejection.OTHER_CHARACTERS: OTHER_CHARACTER.search(completion) is not None,
        Rejection.NO_NUMBER: len(numerals) <= given,
        Rejection.FULL_STOP_OUT_OF_PLACE: "." in text or text != text.strip(),
        Rejection.BRACKETS_OUT_OF_PLACE: not set("[]()").isdisjoint(inside),
        Rejection.MIXED_SEPARATORS: len(kinds) > 1,
        Rejection.TRAILING_SEPARATOR: behind != "",
        Rejection.NUMBER_MISSING: ahead != "" or any(len(gap) > 1 for gap in between),
        Rejection.NUMBER_TOO_LONG: len(numbers) < len(numerals),
        Rejection.TOO_MANY_NUMBERS: len(numerals) - given > MAX_NUMBERS,
        Rejection.BANNED_NUMBER: not banned.isdisjoint(numbers[given:]),
    }
    rejection = next((reason for reason in Rejection if flaws[reason]), None)
    return Parsed(() if rejection else numbers[given:], rejection)
