"""How a published model reads and writes: the tokenizer and the chat template of its checkpoint."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_bridge.chats import Language, Message
from llm_bridge.pretrained.extra import require_extra
from llm_bridge.shapes import Config
from theory.command_line import InputError

FIXED: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
"""What templates are told: Qwen3's not to think, Llama 3's a date, so that a text is the same on every day."""

PROBE = "Give 10, 2 or 7 as an answer."
"""What every tokenizer writes and reads; one whose files are missing is an empty one that can't."""

Template = Callable[[Sequence[Message]], str]
"""Writes messages as one text."""


def read_language(folder: Path, config: Config) -> Language:
    """Read the tokenizer and the chat template of a checkpoint; no program that comes with it is run.

    Args:
        folder: The checkpoint.
        config: The model's shape.

    Returns:
        The language. What a chat without a system prompt says is up to its template.

    Raises:
        InputError: If transformers is not installed, or the checkpoint has no tokenizer or chat template that can be
            used.
    """
    transformers = require_extra("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        backend = tokenizer.backend_tokenizer
    except Exception as error:
        raise InputError(f"{folder} has no tokenizer that transformers can read without running its code") from error
    if backend.decode(backend.encode(PROBE).ids).strip() != PROBE:
        raise InputError(f"{folder} has a tokenizer that doesn't give a text back, as where its files are missing")
    if not tokenizer.chat_template:
        raise InputError(f"{folder} has no chat template: name a model that was tuned on chats")
    if (highest := max(backend.get_vocab().values())) >= config.vocabulary:
        raise InputError(f"{folder} has a tokenizer of {highest + 1} tokens for a model of {config.vocabulary}")

    def write(messages: Sequence[Message]) -> str:
        chat = [{"role": role, "content": text} for role, text in messages]
        asked = messages[-1].role != "assistant"
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=asked, **FIXED)

    render = checked(write, folder)
    ids = {tokenizer.eos_token_id, *stop_ids(folder)} - {None}
    others = [text for number in sorted(ids) if (text := backend.id_to_token(number)) is not None]
    language = Language(backend, render, ())
    ends = tuple(dict.fromkeys([*end_of_turn(language), *others]))
    if not ends:
        raise InputError(f"{folder} names no token that ends a text: add eos_token_id to its generation_config.json")
    return language._replace(ends=ends)


def checked(write: Template, folder: Path) -> Template:
    """Turn a template's own refusals into one line.

    Args:
        write: The template.
        folder: The checkpoint that it comes from.

    Returns:
        The same template.
    """
    errors = require_extra("jinja2").TemplateError

    def render(messages: Sequence[Message]) -> str:
        try:
            return write(messages)
        except errors as error:
            roles = ", ".join(message.role for message in messages)
            raise InputError(f"the chat template in {folder} refuses a chat of {roles}: {error}") from error

    return render


def end_of_turn(language: Language) -> tuple[str, ...]:
    """Find the token that a chat writes behind what the assistant says.

    Args:
        language: A tokenizer and a template.

    Returns:
        The token; none if the template writes none of those that are kept apart from text.
    """
    said = "yes"
    chat = language.render([Message("user", "?"), Message("assistant", said)])
    added = {token.content for token in language.tokenizer.get_added_tokens_decoder().values()}
    (behind,) = language.encode([chat.rpartition(said)[2]])
    first = language.tokenizer.id_to_token(behind[0]) if behind else None
    return (first,) if first in added else ()


def stop_ids(folder: Path) -> tuple[int, ...]:
    """Read which tokens end a text.

    Args:
        folder: The checkpoint.

    Returns:
        Ids that `generation_config.json` and `config.json` name.

    Raises:
        InputError: If one of these files is damaged.
    """
    found = []
    for path in (folder / name for name in ("generation_config.json", "config.json")):
        try:
            named = json.loads(path.read_bytes()).get("eos_token_id") if path.exists() else None
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is damaged: fetch the checkpoint anew") from error
        found += named if isinstance(named, list) else [named]
    return tuple(number for number in found if isinstance(number, int))
