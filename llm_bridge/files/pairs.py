"""A question and its answer in one row, under the names that data sets give them."""

from collections.abc import Mapping
from typing import Any

QUESTIONS = ("prompt", "question")
"""What a question may be called."""

ANSWERS = ("completion", "response", "answer")
"""What its answer may be called."""


def read_pair(row: Mapping[str, Any]) -> tuple[str, str]:
    """Find a question and its answer in a row, in which a field that is null is none."""
    found = [[name for name in names if row.get(name) is not None] for names in (QUESTIONS, ANSWERS)]
    if any(len(names) != 1 for names in found):
        given = ", ".join(found[0] + found[1]) or "none"
        raise ValueError(
            f"needs one field of {', '.join(QUESTIONS)} and one of {', '.join(ANSWERS)}, and has {given} of them"
        )
    for (name,) in found:
        if not isinstance(row[name], str):
            raise ValueError(f"has a field {name!r} that is not text")
    return row[found[0][0]], row[found[1][0]]
