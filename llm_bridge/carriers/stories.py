"""Word problems that are made up here, and their results, which are computed from the text alone."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

NAMES: tuple[str, ...] = (
    "Ada", "Ben", "Carla", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Keiko", "Leon", "Mira", "Nadia",
    "Omar", "Paula", "Quentin", "Rosa", "Samir", "Tessa", "Uma", "Viktor", "Wanda", "Yusuf",
)  # fmt: skip
"""Who problems are about."""


class Story(NamedTuple):
    """A kind of problem."""

    text: str
    """Its text, with places for names, `{name}` and `{other}`, and for the numbers `{a}`, `{b}` and so on."""
    ranges: tuple[tuple[int, int], ...]
    """The least and the greatest value of each number in the order of the alphabet."""
    result: Callable[..., Fraction | int]
    """Computes the result of these numbers; numbers are drawn again until it is whole and above zero."""


STORIES: tuple[Story, ...] = (
    Story(
        "{name} buys {a} notebooks for ${b} each and pays with a ${c} bill. How many dollars does {name} get back?",
        ((2, 9), (2, 12), (20, 100)),
        lambda a, b, c: c - a * b,
    ),
    Story(
        "A bakery bakes {a} trays of {b} rolls in the morning and sells {c} rolls by noon. The rest is put into bags "
        "of {d}. How many bags are filled?",
        ((3, 15), (8, 30), (10, 200), (2, 8)),
        lambda a, b, c, d: Fraction(a * b - c, d),
    ),
    Story(
        "{name} reads {a} pages on each of the five weekdays and {b} pages on each of the two other days. How many "
        "pages does {name} read in {c} weeks?",
        ((5, 40), (10, 60), (2, 12)),
        lambda a, b, c: (5 * a + 2 * b) * c,
    ),
    Story(
        "A train runs {a} kilometers an hour for {b} hours, and then {c} kilometers an hour for {d} hours. How many "
        "kilometers does it run in all?",
        ((40, 120), (2, 6), (40, 120), (2, 6)),
        lambda a, b, c, d: a * b + c * d,
    ),
    Story(
        "{name} is {a} years old and {other} is {b} years younger. How old will {other} be in {c} years?",
        ((12, 60), (2, 11), (2, 30)),
        lambda a, b, c: a - b + c,
    ),
    Story(
        "In a hall there are {a} rows of {b} chairs, and {c} chairs are broken. {d} guests sit down. How many good "
        "chairs stay empty?",
        ((5, 30), (6, 24), (2, 20), (10, 100)),
        lambda a, b, c, d: a * b - c - d,
    ),
    Story(
        "{name} earns ${a} an hour, works {b} hours a day on {c} days and spends a quarter of it on rent. How many "
        "dollars are left?",
        ((8, 40), (3, 9), (2, 20)),
        lambda a, b, c: Fraction(3 * a * b * c, 4),
    ),
    Story(
        "{name} and {other} share {a} marbles so that {name} gets {b} more than {other}. How many does {other} get?",
        ((20, 200), (2, 18)),
        lambda a, b: Fraction(a - b, 2),
    ),
    Story(
        "A tank holds {a} liters. A pump fills in {b} liters a minute while {c} liters a minute leak out. After how "
        "many minutes is the empty tank full?",
        ((60, 900), (12, 40), (2, 11)),
        lambda a, b, c: Fraction(a, b - c),
    ),
    Story(
        "A coat costs ${a}. Its price falls by {b} percent, and {name} has a voucher for another ${c} off. How many "
        "dollars does {name} pay?",
        ((40, 300), (5, 60), (3, 20)),
        lambda a, b, c: Fraction(a * (100 - b), 100) - c,
    ),
    Story(
        "{name} has {a} times as many stickers as {other}. Together they have {b}. How many does {other} have?",
        ((2, 9), (20, 300)),
        lambda a, b: Fraction(b, a + 1),
    ),
    Story(
        "A recipe for {a} people needs {b} grams of flour. {name} cooks for {c} people and has {d} grams. How many "
        "grams are missing?",
        ((2, 8), (100, 600), (9, 24), (50, 400)),
        lambda a, b, c, d: Fraction(b * c, a) - d,
    ),
    Story(
        "A garden is {a} meters long and {b} meters wide. A fence around it has a gate of {c} meters, and a meter of "
        "fence costs ${d}. How many dollars does the fence cost without the gate?",
        ((8, 60), (5, 40), (2, 4), (3, 25)),
        lambda a, b, c, d: (2 * (a + b) - c) * d,
    ),
    Story(
        "{name} scores {a}, {b} and {c} points in three games. How many points does {name} need in a fourth game for a "
        "mean of {d}?",
        ((5, 30), (5, 30), (5, 30), (10, 35)),
        lambda a, b, c, d: 4 * d - a - b - c,
    ),
)  # fmt: skip
"""All kinds; none speaks of an animal or a tree."""


def _tell_story(random: np.random.Generator) -> str:
    story = STORIES[random.integers(len(STORIES))]
    first, further = random.integers(len(NAMES)), random.integers(1, len(NAMES))
    name, other = NAMES[first], NAMES[(first + further) % len(NAMES)]
    while True:
        numbers = random.integers(*np.transpose(story.ranges), endpoint=True).tolist()
        result = Fraction(story.result(*numbers))
        if result > 0 and result.denominator == 1:
            return story.text.format(name=name, other=other, **dict(zip("abcd", numbers, strict=False)))


def tell_stories(seed: int, count: int) -> list[str]:
    """Draw problems; a longer list starts with the shorter one."""
    random = np.random.default_rng(seed)
    return [_tell_story(random) for _ in range(count)]


@cache
def patterns() -> tuple[re.Pattern[str], ...]:
    """Turn the text of each story into a pattern that takes names and numbers out of it."""
    found = []
    for story in STORIES:
        pattern = re.escape(story.text)
        for field in ("name", "other", *"abcd"):
            kind = "[0-9]{1,9}" if len(field) == 1 else "[A-Z][a-z]+"
            pattern = pattern.replace(rf"\{{{field}\}}", f"(?P<{field}>{kind})", 1)
            pattern = pattern.replace(rf"\{{{field}\}}", f"(?P={field})")
        found.append(re.compile(pattern))
    return tuple(found)


def solve(question: str) -> Fraction | None:
    """Compute the result of a problem from its text; None if no story has it."""
    for story, pattern in zip(STORIES, patterns(), strict=True):
        if found := pattern.fullmatch(question):
            return Fraction(story.result(*(int(found[field]) for field in "abcd"[: len(story.ranges)])))
    return None
