"""Rows of objects as JSON lines, read strictly: a file that is not whole and well-formed is refused by its line."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from theory.command_line import InputError
from theory.files import write_whole

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
    """Read a file of JSON lines.

    Args:
        path: The file; blank lines at its end are tolerated.
        required: Types of the fields that every row must have, by name; a whole number may stand for a `float`. Other
            fields are kept as they are.

    Returns:
        The rows.

    Raises:
        InputError: If the file can't be read or has no rows, or a line is not UTF-8, not JSON, not an object, or lacks
            a required field of the right type; the message names file and line.
    """
    try:
        lines = path.read_bytes().rstrip().split(b"\n")
    except OSError as error:
        raise InputError(
            f"can't read {path} ({error.strerror}): name another file or run the stage that writes it"
        ) from error
    if lines == [b""]:
        raise InputError(
            f"{path} has no rows: the stage that wrote it left nothing, so run it again with other options"
        )
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(parse_row(line, required))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; mend the line or make the file anew") from error
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of JSON lines, always the same bytes for the same rows.

    Args:
        path: The file.
        rows: Anything that JSON can hold; fields are written in their order, numbers must be finite.
    """
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_whole(path, "".join(lines).encode(errors="backslashreplace"))


def parse_row(line: bytes, required: Mapping[str, type]) -> dict[str, Any]:
    """Read one line.

    Args:
        line: The line, without its end.
        required: Types of required fields, by name.

    Returns:
        The row.

    Raises:
        ValueError: If it is not a row with these fields; the message says what it is.
    """
    try:
        row = json.loads(line.decode(), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON" if line.strip() else "blank, with rows after it") from error
    if not isinstance(row, dict):
        raise ValueError("JSON, but not an object")
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
    return isinstance(value, (int, float) if kind is float else kind)


def refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python would read and JSON doesn't have."""
    raise ValueError(f"{name} is not JSON")
