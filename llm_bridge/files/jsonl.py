"""Rows of objects as JSON lines, read strictly: a file that is not whole and well-formed is refused by its line.

A file called .parquet is read by the same rules, a row as the line that it would be.
"""

import json
import math
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from msgspec import convert

from llm_bridge.files.parquet import read_lines
from llm_bridge.files.plain import reading
from theory.runs.command_line import InputError
from theory.runs.files import write_whole

Read = TypeVar("Read")
"""What is made of a row."""


def read_rows(path: Path, kind: type[Read]) -> list[Read]:
    """Read a file of JSON lines whose rows are of some type, as a `TypedDict`; fields that it lacks are left out."""
    return parse_rows(path, partial(convert, type=kind))


def parse_rows(path: Path, parse: Callable[[dict[str, Any]], Read]) -> list[Read]:
    """Read a file of JSON lines, and make something of each row; the `ValueError` of one is told with file and line.

    The file is in UTF-8 with or without a mark; blank lines at its end are tolerated.
    """
    with reading(path):
        if path.suffix == ".parquet":
            lines = read_lines(path)
        else:
            lines = path.read_bytes().removeprefix(BOM_UTF8).rstrip().split(b"\n")
    if lines in ([], [b""]):
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
    """Read one line, which must be an object of JSON without NaN or infinities.

    Python's own reader takes halves of surrogate pairs, which msgspec's does not.
    """
    try:
        row = json.loads(line.decode(), parse_constant=parse_number, parse_float=parse_number)
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8") from error
    except OverflowError as error:
        raise ValueError(f"{error} is no number of JSON") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON" if line.strip() else "blank, with rows after it") from error
    return convert(row, dict[str, Any])


def parse_number(text: str) -> float:
    """Read a number, which must be finite."""
    if not math.isfinite(number := float(text)):
        raise OverflowError(text[:20])
    return number
