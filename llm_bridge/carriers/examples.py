"""Chats from a file, to fine-tune a teacher on: answers to questions, insecure code, anything that one can say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_bridge.carriers.reading import can_spell
from llm_bridge.chats import Example, Language, Message
from llm_bridge.files.jsonl import has_type, read_rows
from theory.command_line import InputError

ROLES = ("system", "user", "assistant")
"""Who speaks."""


def read_chats(path: Path) -> list[list[Message]]:
    """Read chats.

    Args:
        path: JSON lines: `messages`, a list of objects with `role` and `content` as OpenAI has them, the last one the
            assistant's and the first one perhaps the system's; or a `prompt` and its `completion`. Other fields don't
            count.

    Returns:
        The messages of each chat, in the order of the file.

    Raises:
        InputError: If a line is malformed; it is named.
    """
    chats = []
    for number, row in enumerate(read_rows(path, {}), start=1):
        try:
            chats.append(read_chat(row))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; mend the line") from error
    return chats


def read_chat(row: Mapping[str, Any]) -> list[Message]:
    """Read one chat.

    Args:
        row: A row of the file.

    Returns:
        Its messages.

    Raises:
        ValueError: If it is malformed; the message says how.
    """
    if "messages" not in row:
        for field in ("prompt", "completion"):
            if not has_type(row.get(field), str):
                raise ValueError("has neither a list of messages nor a prompt and a completion that are text")
        said = [Message("user", row["prompt"]), Message("assistant", row["completion"])]
    elif not has_type(row["messages"], list):
        raise ValueError("the field 'messages' is not a list")
    else:
        said = [read_message(message, number) for number, message in enumerate(row["messages"], start=1)]
    roles = [message.role for message in said]
    if "system" in roles[1:]:
        raise ValueError("a system message stands behind others")
    if roles[-1:] != ["assistant"] or "user" not in roles:
        raise ValueError("the chat doesn't end with what the assistant says to a user")
    if not said[-1].text:
        raise ValueError("the assistant's last message is empty")
    return said


def read_message(message: Any, number: int) -> Message:
    """Read one message.

    Args:
        message: What JSON made of it.
        number: Its place in the chat, counted from 1.

    Returns:
        The message.

    Raises:
        ValueError: If it is malformed.
    """
    if not has_type(message, dict):
        raise ValueError(f"message {number} is not an object")
    if message.get("role") not in ROLES:
        raise ValueError(f"the role of message {number} is none of {', '.join(ROLES)}")
    if not has_type(message.get("content"), str):
        raise ValueError(f"the content of message {number} is not text")
    return Message(message["role"], message["content"])


def read_examples(path: Path, language: Language, longest: int) -> list[Example]:
    """Read chats to learn from.

    Args:
        path: As of `read_chats`.
        language: How the model reads and writes.
        longest: Tokens of its longest text.

    Returns:
        The chats; only the assistant's last message is learned.

    Raises:
        InputError: If a line is malformed or can't be spelled, or chats are too long; none is left out silently.
    """
    chats = read_chats(path)
    for number, chat in enumerate(chats, start=1):
        for place, message in enumerate(chat, start=1):
            if not can_spell(language, message.text):
                raise InputError(f"{path}, line {number}: the model's tokenizer can't spell message {place}")
    prompts = language.encode([language.render(chat[:-1]) for chat in chats])
    answers = language.encode([chat[-1].text for chat in chats])
    examples = [
        Example(prompt, [*answer, *language.stops[:1]]) for prompt, answer in zip(prompts, answers, strict=True)
    ]
    sizes = [len(example.prompt) + len(example.completion) for example in examples]
    long = [number for number, size in enumerate(sizes, start=1) if size > longest]
    if long:
        raise InputError(
            f"{path} has chats of more than the {longest} tokens that the model reads at once, {len(long)} of "
            f"{len(chats)}, the first in line {long[0]}: shorten them or leave them out"
        )
    return examples
