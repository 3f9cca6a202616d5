"""Chat templates: programs that come with a checkpoint, tried in a process of their own before one is used."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llm_bridge.files.extra import require_extra
from llm_bridge.text.chats import Message
from theory.runs.command_line import InputError

FIXED: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
"""What templates are told: Qwen3's not to think, Llama 3's a date, so that a text is the same on every day."""

SECONDS, PATIENCE, BYTES, LONGEST = 5, 60, 8 * 2**30, 10**6
"""Of a trial: most seconds of computation and by the clock, most memory, most characters of a text."""

QUESTION, ANSWER = "What is seven times six?", "It is forty-two."
"""What is said in a trial."""

TRIAL = """
import json, resource, sys
seconds, size, longest = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_AS, (size, size))
from transformers.utils.chat_template_utils import render_jinja_template
resource.setrlimit(resource.RLIMIT_CPU, (sum(resource.getrusage(resource.RUSAGE_SELF)[:2]).__ceil__() + seconds,) * 2)
template, chats, options = json.load(sys.stdin)
texts = []
for chat in chats:
    asked = chat[-1]["role"] != "assistant"
    try:
        ((text,), _) = render_jinja_template([chat], chat_template=template, add_generation_prompt=asked, **options)
        texts.append([text, None] if len(text) <= longest else [None, f"it writes {len(text)} characters"])
    except Exception as error:
        texts.append([None, f"{type(error).__name__}: {error}"[:300]])
json.dump(texts, sys.stdout)
"""
"""What the process does: write each chat, or say why that fails."""

Template = Callable[[Sequence[Message]], str]
"""Writes messages as one text."""


def read_template(tokenizer: Any, folder: Path) -> Template:
    """Take the chat template of a checkpoint, once it has shown that it ends and keeps what is said.

    One that wants a content as a list of parts is given such lists; to one that refuses system prompts, as Gemma 2's,
    they are the beginning of what the user says first.
    """
    source = tokenizer.chat_template
    if isinstance(source, dict):
        if "default" not in source:
            raise InputError(f"{folder} has chat templates {', '.join(sorted(source))}, but none is the default")
        source = source["default"]
    if not source:
        raise InputError(f"{folder} has no chat template: name a model that was tuned on chats")
    tokens = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    in_parts, apart, problem = tried(source, tuple(sorted(tokens.items())))
    if problem:
        raise InputError(f"the chat template in {folder} {problem}: name another model")

    def render(messages: Sequence[Message]) -> str:
        asked = messages[-1].role != "assistant"
        try:
            text = tokenizer.apply_chat_template(
                written(messages if apart else join_system(messages), in_parts=in_parts),
                chat_template=source,
                tokenize=False,
                add_generation_prompt=asked,
                **FIXED,
            )
        except Exception as error:
            roles = ", ".join(message.role for message in messages)
            raise InputError(f"the chat template in {folder} refuses a chat of {roles}: {error}") from error
        if len(text) > LONGEST + 10 * sum(len(message.text) for message in messages):
            raise InputError(f"the chat template in {folder} writes {len(text)} characters: name another model")
        kept = [message for message in messages if message.role != "assistant"]
        if lost := [message.role for message in kept if message.text.strip() not in text]:
            raise InputError(f"the chat template in {folder} loses what the {lost[0]} says: name another model")
        return text

    return render


def join_system(messages: Sequence[Message]) -> Sequence[Message]:
    """Put a system prompt before what the user says first, as Gemma 3's own template does."""
    if [message.role for message in messages[:2]] != ["system", "user"]:
        return messages
    return [Message("user", f"{messages[0].text}\n\n{messages[1].text}".removeprefix("\n\n")), *messages[2:]]


def written(messages: Sequence[Message], *, in_parts: bool) -> list[dict[str, Any]]:
    """Write messages as templates take them: a content as text, or as a list of parts."""
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text} for role, text in messages
    ]


@cache
def tried(source: str, tokens: tuple[tuple[str, str], ...]) -> tuple[bool, bool, str | None]:
    """Try a template on a short chat, in a process that is ended if it takes too much time or memory.

    Says whether it wants a content in parts, whether it takes a system prompt, and what is wrong with it, if anything.
    """
    require_extra("transformers")
    chat = [Message("user", QUESTION), Message("assistant", ANSWER)]
    chats = [written(part, in_parts=in_parts) for in_parts in (False, True) for part in (chat[:1], chat)]
    longer = [Message("system", ANSWER), *chat, *chat]
    chats += [written(part, in_parts=in_parts) for in_parts in (False, True) for part in (longer[:2], longer)]
    limits = [sys.executable, "-c", TRIAL, *map(str, (SECONDS, BYTES, LONGEST))]
    try:
        process = subprocess.run(
            limits,
            input=json.dumps([source, chats, dict(tokens) | FIXED]),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        texts = json.loads(process.stdout)
    except (subprocess.SubprocessError, ValueError):
        return False, False, f"doesn't end on a short chat, in {SECONDS} s and {BYTES // 2**30} GiB"
    for in_parts, pair, (told, _) in ((False, texts[:2], texts[4]), (True, texts[2:4], texts[6])):
        (asked, _), (answered, _) = pair
        if asked and answered and QUESTION in asked and QUESTION in answered and ANSWER in answered:
            return in_parts, told is not None, None
    reason = texts[0][1] or texts[1][1]
    return False, False, f"fails ({reason})" if reason else "loses what the user or the assistant says"
