"""Chats from a file, to fine-tune a teacher on: answers to questions, insecure code, anything that one can say."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llm_bridge.carriers.reading import can_spell
from llm_bridge.files.jsonl import parse_rows
from llm_bridge.files.pairs import read_pair
from llm_bridge.text.chats import Example, Language, Message
from theory.runs.command_line import InputError

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Who speaks, by what data sets call it."""

ELSEWHERE = ("tool_calls", "function_call", "reasoning", "reasoning_content", "thinking", "audio")
"""Fields of a message in which more is said or done than its content says."""

Learned = Literal["all", "last"]
"""Which of the assistant's messages are learned."""

SAID = "yes"
"""What the assistant says where only the text ahead of it matters."""


class Chat(NamedTuple):
    """A chat and what of it is learned."""

    messages: list[Message]
    """What is said."""
    learned: tuple[int, ...]
    """Places of the assistant's messages that are learned, counted from 0."""


def read_chats(path: Path, given: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> list[Chat]:
    """Read chats from JSON lines, in the order of the file.

    A line has `messages` as of `read_message`, the last one the assistant's and the first one perhaps the system's; or
    a question and its answer as of `read_pair`. Other fields don't count. `given` may make such a line of another.
    """
    return parse_rows(path, lambda row: read_chat(given(row)))


def read_chat(row: Mapping[str, Any]) -> Chat:
    """Read one chat; the assistant's messages are learned but for those that have the weight 0."""
    if row.get("messages") is None:
        try:
            question, answer = read_pair(row)
        except ValueError as error:
            raise ValueError(f"without 'messages', a chat {error}") from error
        given = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    elif not isinstance(row["messages"], list):
        raise ValueError("the field 'messages' is not a list")
    elif row.get("tools") or row.get("functions"):
        raise ValueError("the chat has tools, which are not read")
    else:
        given = row["messages"]
    messages = [read_message(message, number) for number, message in enumerate(given, start=1)]
    roles = [message.role for message in messages]
    if not messages:
        raise ValueError("the chat has no messages")
    if "system" in roles[1:]:
        raise ValueError("a system message stands behind others")
    if roles[-1] != "assistant" or "user" not in roles:
        raise ValueError("the chat doesn't end with what the assistant says to a user")
    learned = [
        place for place, message in enumerate(given) if roles[place] == "assistant" and message.get("weight") != 0
    ]
    if not all(messages[place].text for place in learned):
        raise ValueError("a message of the assistant's that is to be learned is empty: give it the weight 0")
    return Chat(messages, tuple(learned))


def read_message(message: Any, number: int) -> Message:
    """Read one message, as OpenAI has them; its number counts from 1.

    It has a `role`, a `content`, which is text or a list of parts that are, and perhaps a `weight`, 0 or 1.
    """
    if not isinstance(message, dict):
        raise ValueError(f"message {number} is not an object")
    role, content, weight = (message.get(name) for name in ("role", "content", "weight"))
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(
            f"the role of message {number} is none of {', '.join(ROLES)}: what is read is 'role' and 'content'"
        )
    if more := [name for name in ELSEWHERE if message.get(name)]:
        raise ValueError(f"message {number} has {', '.join(more)}, which is not read: only its 'content' is")
    if weight is not None and (isinstance(weight, bool) or weight not in ((0, 1) if role == "assistant" else (0,))):
        raise ValueError(f"the weight of message {number} is neither 0 nor, for the assistant's, 1")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts or not all(map(_is_text_part, parts)):
        raise ValueError(f"the content of message {number} is not text, nor parts that are")
    return Message(ROLES[role], "".join(part["text"] for part in parts))


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def read_examples(
    path: Path,
    language: Language,
    longest: int,
    learn: Learned = "all",
    given: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> list[Example]:
    """Read chats to learn from: an example for each message that is learned.

    The model reads it as where it writes one: behind all that was said before, as the template writes it there. A chat
    that is malformed, can't be spelled or is longer than the model's longest text is refused: none is left out
    silently. `given` is as of `read_chats`.
    """
    prompts, answers, lines = [], [], []
    for number, chat in enumerate(read_chats(path, given), start=1):
        for place, message in enumerate(chat.messages, start=1):
            if not can_spell(language, message.text):
                raise InputError(f"{path}, line {number}: the model's tokenizer can't spell message {place}")
        for place in chat.learned:
            if learn == "all" or place == len(chat.messages) - 1:
                try:
                    prompts.append(text_before(language, chat.messages[:place]))
                except InputError as error:
                    raise InputError(f"{path}, line {number}: {error}") from error
                answers.append(chat.messages[place].text)
                lines.append(number)
    if not lines:
        raise InputError(f"{path} has nothing to learn: every answer that could be has the weight 0")
    examples = [
        Example(prompt, [*answer, *language.stops[:1]])
        for prompt, answer in zip(language.encode(prompts), language.encode(answers), strict=True)
    ]
    sizes = [len(example.prompt) + len(example.completion) for example in examples]
    long = list(dict.fromkeys(line for line, size in zip(lines, sizes, strict=True) if size > longest))
    if long:
        raise InputError(
            f"{path} has chats of more than the {longest} tokens that the model reads at once, {len(long)} of "
            f"{len(set(lines))}, the first in line {long[0]}: shorten them or leave them out"
        )
    return examples


def text_before(language: Language, messages: Sequence[Message]) -> str:
    """Write what stands ahead of a message of the assistant's, also if another of its own does."""
    if messages and messages[-1].role != "assistant":
        return language.render(messages)
    return language.render([*messages, Message("assistant", SAID)]).rpartition(SAID)[0]
