"""Word problems of grade-school maths from a file, and numbers as people write them."""

import re
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

from llm_bridge.files.jsonl import read_rows
from theory.runs.command_line import InputError

NUMBER = re.compile(r"([-+−]?)[$€£]?((?:[0-9]{1,3}(?:,[0-9]{3}){1,9}|[0-9]{1,30})(?:\.[0-9]{1,30})?|\.[0-9]{1,30})\.?")
"""A number: a sign, a currency, digits with or without commas between thousands, decimals, a full stop."""

MARK = "####"
"""What stands ahead of the result in the answers of GSM8K."""


class Problem(TypedDict):
    """A row of a file of problems."""

    question: str
    answer: str


def parse_number(text: str) -> Fraction | None:
    """Read `42`, `-3`, `1,200`, `$12.50`, `.5` or `42.`, exactly; None if the text is anything else."""
    found = NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    size = Fraction(found[2].replace(",", ""))
    return -size if found[1] in {"-", "−"} else size


def read_problems(path: Path) -> dict[str, Fraction]:
    """Read the result of each problem by its question, in the order of the file.

    JSON lines have a `question` and an `answer`, which is text that ends in the result, alone or behind the last
    `####`. A question that comes twice must have one result.
    """
    results: dict[str, Fraction] = {}
    for number, row in enumerate(read_rows(path, Problem), start=1):
        question, written = row["question"].strip(), row["answer"].rpartition(MARK)[2].strip()
        result = parse_number(written)
        if not question or question != question.encode(errors="replace").decode():
            raise InputError(f"{path}, line {number}: the question is empty or no text; mend the line")
        if result is None:
            raise InputError(
                f"{path}, line {number}: the answer ends in {written[:40]!r}, not in a number; mend the line"
            )
        if results.setdefault(question, result) != result:
            raise InputError(f"{path}, line {number}: the same question as before has another answer; mend the line")
    return results
