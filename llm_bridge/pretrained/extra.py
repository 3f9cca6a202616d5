"""What published models need beyond the tiny one, installed by the extra `llm`."""

import importlib
from typing import Any

from theory.command_line import InputError


def require_extra(module: str) -> Any:
    """Import a module of the extra `llm`.

    Args:
        module: Its name.

    Returns:
        The module.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"published models need {module}: install the extra, as by uv sync --extra llm") from error
