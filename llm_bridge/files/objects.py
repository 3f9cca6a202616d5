"""JSON objects in files that others have written: what is damaged, nested without end or no object ends in one line."""

import json
from pathlib import Path
from typing import Any

from theory.runs.command_line import InputError


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; what can't be used is refused with its remedy, but a missing file is left to the caller."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file: {remedy}")
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep: {remedy}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {remedy}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object: {remedy}")
    return found
