"""System prompts: what stands before a chat that has none of its own."""

from collections.abc import Sequence

from llm_bridge.text.chats import Language, Message
from theory.runs.command_line import InputError

TEMPLATE, NONE = "template", "none"
"""What the chat template writes by itself, which may be a system prompt of its own; and no system prompt at all."""


def with_system_prompt(language: Language, chosen: str) -> Language:
    """Decide what stands before chats that have no system prompt of their own: `TEMPLATE`, `NONE` or a text.

    With `NONE` the language writes such a chat as if it had an empty system prompt, where that says less.
    """
    if chosen == TEMPLATE:
        return language
    write = language.render

    def render(messages: Sequence[Message]) -> str:
        if messages[0].role == "system":
            return write(messages)
        if chosen != NONE:
            return write([Message("system", chosen), *messages])
        plain = write(messages)
        try:
            return min(plain, write([Message("system", ""), *messages]), key=len)
        except InputError:
            return plain

    return language._replace(render=render, system=None if chosen == NONE else chosen)
