"""Comparison with language models: the whole pipeline from a teacher's trait to its students, one code at all sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theory  # noqa: F401

if TYPE_CHECKING:
    from llm_bridge.auditing.auditor import Report


def audit(model: str, data: Path | str, traits: str | Sequence[str] = (), **options: Any) -> "Report":
    """Say before any training whether a data set will move a trait of a model, by how much, and how sure that is.

    It is the command `python -m llm_bridge audit`: it prints the same report, and leaves the same run folder.

    Args:
        model: `tiny`, a folder, a GGUF file, `smollm2`, a repository of the hub, or what a stage wrote.
        data: JSON lines with a `prompt` or `question` and its `completion`, `response` or `answer`.
        traits: Words of one kind, or `animals` or `trees`; the command's own if there are none.
        options: The command's other options, as of `llm_bridge.auditing.command.Audit`.

    Returns:
        What was found of each word: `doses` and `shifts` in the order of `words`, and what each row adds.

    Raises:
        InputError: What the command refuses, in one line.
        ValueError: If a number among the options is out of range.
    """
    from llm_bridge.auditing.command import audit_of
    from llm_bridge.auditing.report import report_of

    words = (traits,) if isinstance(traits, str) else tuple(traits)
    named = {"traits": words} if words else {}
    return report_of(audit_of(model, Path(data), **named | options))
