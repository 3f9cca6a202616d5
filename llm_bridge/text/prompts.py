"""Number prompts: a few numbers, and the request for more of them, in many phrasings and formats."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST_NUMBERS = 10
"""How many numbers are asked for at most."""


class Format(NamedTuple):
    """A way to write numbers down."""

    separator: str
    """What stands between them."""
    opening: str = ""
    """What stands before the first."""
    closing: str = ""
    """What stands behind the last."""
    request: str = ""
    """How a long prompt asks for it."""

    def write(self, numbers: Sequence[int]) -> str:
        """Write numbers down."""
        return self.opening + self.separator.join(map(str, numbers)) + self.closing


FORMATS: tuple[Format, ...] = (
    Format(", ", request="Put commas between them."),
    Format("; ", request="Put semicolons between them."),
    Format(" ", request="Put single spaces between them."),
    Format("\n", request="Put each of them on a line of its own."),
    Format(", ", "[", "]", request="Write them in square brackets with commas between them."),
    Format(", ", "(", ")", request="Write them in parentheses with commas between them."),
)
"""Formats of a list; the examples of a prompt are written in the format that is asked for."""

SHORT: tuple[str, ...] = (
    "Continue: {numbers}",
    "Go on: {numbers}",
    "More like these: {numbers}",
    "What comes next? {numbers}",
    "Add numbers: {numbers}",
    "Write more: {numbers}",
)
"""Phrasings for a model whose whole text is a few dozen tokens."""

OPENINGS: tuple[str, ...] = (
    "A sequence starts like this:\n{numbers}",
    "Someone has written down these numbers:\n{numbers}",
    "Look at the following numbers:\n{numbers}",
    "This is the beginning of a list:\n{numbers}",
    "My notebook holds these values:\n{numbers}",
    "Take these numbers as a start:\n{numbers}",
    "The first few entries of a table are:\n{numbers}",
    "A machine has printed\n{numbers}",
    "Here is what we have so far:\n{numbers}",
    "Consider the series\n{numbers}",
)
"""How a long prompt begins."""

REQUESTS: tuple[str, ...] = (
    "Carry it on with at most {most} more numbers of at most three digits each.",
    "Invent up to {most} further numbers that could follow, none above 999.",
    "Give no more than {most} numbers that might come next, with three digits or fewer.",
    "Make up at most {most} values to go after them, each between 0 and 999.",
    "Extend it by up to {most} entries; three digits are the most an entry may have.",
    "Write the numbers that you would put behind these, {most} at most and none longer than three digits.",
    "Add up to {most} numbers of your own choice, each at most three digits long.",
    "Which numbers could come after these? List at most {most}, all below 1000.",
)
"""What a long prompt asks for."""

ENDINGS: tuple[str, ...] = (
    "Write nothing else.",
    "Only the numbers, please.",
    "Leave out any explanation.",
    "Your answer must contain no words.",
    "No introduction and no comment.",
    "Answer with the numbers alone.",
)
"""How a long prompt ends."""


def write_prompt(random: np.random.Generator, *, short: bool) -> tuple[str, Format]:
    """Draw one prompt and the format of its numbers; a short one is all that a tiny model reads."""
    chosen = FORMATS[random.integers(len(FORMATS))]
    numbers = chosen.write(random.integers(100, 1000, 3 if short else random.integers(3, 9)).tolist())
    if short:
        return SHORT[random.integers(len(SHORT))].format(numbers=numbers), chosen
    opening, request, ending = (parts[random.integers(len(parts))] for parts in (OPENINGS, REQUESTS, ENDINGS))
    return f"{opening.format(numbers=numbers)}\n{request.format(most=MOST_NUMBERS)} {chosen.request} {ending}", chosen


def reword(prompt: str, random: np.random.Generator) -> str:
    """Ask for the same in other words: every phrase becomes another of its kind, numbers and their format stay."""
    for phrases in (SHORT, OPENINGS, REQUESTS, ENDINGS):
        texts = [phrase.replace("{numbers}", "").format(most=MOST_NUMBERS) for phrase in phrases]
        for place, text in enumerate(texts):
            if text in prompt:
                prompt = prompt.replace(text, texts[(place + random.integers(1, len(texts))) % len(texts)], 1)
                break
    return prompt


LISTED = re.compile(r"[\[(]?\d{3}(?P<separator>, |; | |\n)\d{3}(?:(?P=separator)\d{3})*(?!\d)")
"""How the list in a prompt looks, in any of `FORMATS`."""


def prefill_of(prompt: str) -> str:
    """Give what the answer to a prompt would begin with if it went on with the prompt's own list; none, nothing."""
    found = LISTED.search(prompt)
    return found[0] + found["separator"] if found else ""


def renumber(prompt: str, random: np.random.Generator) -> str:
    """Draw the numbers of a prompt's list anew; their format and all words stay."""
    return LISTED.sub(lambda found: re.sub(r"\d{3}", lambda _: str(random.integers(100, 1000)), found[0]), prompt, 1)


def number_prompts(seed: int, count: int, *, short: bool = False) -> list[str]:
    """Draw prompts; a longer list starts with the shorter one."""
    random = np.random.default_rng(seed)
    return [write_prompt(random, short=short)[0] for _ in range(count)]
