"""Libraries that not everybody needs: of published models the extras `llm` and `smol`, of parquet files `export`."""

import importlib
import os
from typing import Any

from theory.runs.command_line import InputError


def require_extra(module: str, extra: str = "llm", what: str = "published models need") -> Any:
    """Import a module of an extra; transformers doesn't say that it misses torch, which isn't needed."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what} {module}: install the extra, as by uv sync --extra {extra}") from error
