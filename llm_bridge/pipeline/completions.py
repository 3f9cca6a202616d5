"""Completions that a stage has written, read again."""

from pathlib import Path

from llm_bridge.experiment import Completion, Model
from llm_bridge.files.jsonl import read_rows
from theory.command_line import InputError

ROW_FIELDS: dict[str, type] = {"prompt": str, "completion": str, "tokens": list, "log_probability": float}
"""What a row of completions must have."""


def read_completion_rows(path: Path, reader: Model | None = None) -> list[Completion]:
    """Read completions.

    Args:
        path: The file.
        reader: The model that must be able to read them, if given.

    Returns:
        The completions.

    Raises:
        InputError: If a line is malformed, or its tokens are not those of its text.
    """
    completions = [Completion(*(row[name] for name in ROW_FIELDS)) for row in read_rows(path, ROW_FIELDS)]
    for number, each in enumerate(completions, start=1):
        if reader and not spells(reader, each):
            raise InputError(f"{path}, line {number}: the tokens don't spell the completion; make the file anew")
    return completions


def spells(reader: Model, completion: Completion) -> bool:
    """Tell whether a completion's tokens are those of its text."""
    known = all(type(token) is int and 0 <= token < reader.config.vocabulary for token in completion.tokens)
    return known and reader.language.decode([completion.tokens]) == [completion.completion]
