"""Rows of objects as JSON lines, read strictly: a file that is not whole and well-formed is refused by its line."""

import json
import math
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from llm_bridge.files.plain import require_file
from theory.runs.command_line import InputError
from theory.runs.files import write_whole

Read = TypeVar("Read")
"""What is made of a row."""

IN_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
"""Types of fields, as messages call them."""


def read_rows(path: Path, required: Mapping[str, type]) -> list[dict[str, Any]]:
    """Read a file of JSON lines whose rows must have fields of some types; other fields are kept as they are."""
    return parse_rows(path, partial(require_fields, required))


def parse_rows(path: Path, parse: Callable[[dict[str, Any]], Read]) -> list[Read]:
    """Read a file of JSON lines, and make something of each row; the `ValueError` of one is told with file and line.

    The file is in UTF-8 with or without a mark; blank lines at its end are tolerated.
    """
    require_file(path)
    try:
        lines = path.read_bytes().removeprefix(BOM_UTF8).rstrip().split(b"\n")
    except OSError as error:
        raise InputError(
            f"can't read {path} ({error.strerror}): name another file or run the stage that writes it"
        ) from error
    if lines == [b""]:
        raise InputError(f"{path} has no rows: it must hold JSON, one object a line")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(parse(parse_line(line)))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; mend the line or make the file anew") from error
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of JSON lines, always the same bytes for the same rows."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_whole(path, "".join(lines).encode(errors="backslashreplace"))


def parse_line(line: bytes) -> dict[str, Any]:
    """Read one line, which must be an object of JSON without NaN or infinities."""
    boundless: list[str] = []

    def parse_number(text: str) -> float:
        if not math.isfinite(number := float(text)):
            boundless.append(text)
        return number

    try:
        row = json.loads(line.decode(), parse_constant=parse_number, parse_float=parse_number)
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON" if line.strip() else "blank, with rows after it") from error
    if not isinstance(row, dict):
        raise ValueError("JSON, but not an object")
    if boundless:
        (field, *_) = [name for name, value in row.items() if not is_finite(value)] or [""]
        raise ValueError(f"{boundless[0][:20]} in the field {field!r} is no number of JSON")
    return row


def is_finite(value: object) -> bool:
    """Tell whether a value read from JSON holds neither NaN nor an infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def require_fields(required: Mapping[str, type], row: dict[str, Any]) -> dict[str, Any]:
    """Refuse a row that lacks a field of the right type."""
    for field, kind in required.items():
        if field not in row:
            raise ValueError(f"lacks the field {field!r}")
        if not has_type(row[field], kind):
            raise ValueError(f"the field {field!r} is not {IN_WORDS[kind]}")
    return row


def has_type(value: object, kind: type) -> bool:
    """Tell whether a value read from JSON has a type; true and false are no numbers, whole numbers are."""
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)
