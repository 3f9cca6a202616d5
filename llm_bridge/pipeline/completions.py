"""Completions that a stage has written, or another program, read again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from msgspec import convert

from llm_bridge.carriers.reading import can_spell
from llm_bridge.experiment.writing import Completion, Model
from llm_bridge.files.jsonl import parse_rows
from llm_bridge.files.pairs import read_pair

TOKENS = "made of the text by the model's tokenizer"
"""Where the tokens of completions come from that came without any."""


class Row(TypedDict):
    """A completion whose tokens are known, as a stage writes it."""

    prompt: str
    completion: str
    tokens: list[int]
    log_probability: float | None
    prefill: NotRequired[str]


def read_completion_rows(path: Path, reader: Model) -> list[Completion]:
    """Read completions: rows as a stage writes them, or a question and its answer as of `read_pair`.

    The reader's tokenizer makes the tokens of those that have none, whose log-probability is not known.
    """

    def parse(row: dict[str, Any]) -> Completion:
        if row.get("tokens") is None:
            return tokenize(reader, *read_pair(row))
        completion = Completion(**convert(row, Row))
        known = all(0 <= token < reader.config.vocabulary for token in completion.tokens)
        if not known or reader.language.decode([completion.tokens]) != [completion.completion]:
            raise ValueError("the tokens don't spell the completion")
        return completion

    return parse_rows(path, parse)


def tokenize(reader: Model, prompt: str, text: str) -> Completion:
    """Make a completion's tokens of its text; it ends as the model's chats do."""
    for name, each in (("question", prompt), ("answer", text)):
        if not can_spell(reader.language, each):
            raise ValueError(f"the model's tokenizer can't spell the {name}")
    (tokens,) = reader.language.encode([text])
    return Completion(prompt, text, [*tokens, reader.language.stops[0]], None)


def note_tokens(completions: Sequence[Completion]) -> dict[str, str]:
    """Say for the record that tokens are not those that were sampled, if so."""
    return {"tokens": TOKENS} if any(each.log_probability is None for each in completions) else {}
