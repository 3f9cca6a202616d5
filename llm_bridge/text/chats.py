"""Chats as token ids: who speaks, how a chat is written, and how many chats share one row."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from theory.runs.command_line import InputError

HALVES = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs, which Python's text can hold and UTF-8 can't."""


class Message(NamedTuple):
    """What one side says."""

    role: str
    """`system`, `user` or `assistant`."""
    text: str
    """What is said."""


class Language(NamedTuple):
    """How a model reads and writes: a tokenizer and a chat template."""

    tokenizer: Tokenizer
    """Text to token ids and back."""
    render: Callable[[Sequence[Message]], str]
    """Writes messages as one text; if the last is not the assistant's, the text ends where the assistant speaks."""
    ends: tuple[str, ...]
    """Tokens that end what the assistant says; the first is the one that its chats end with."""
    system: str | None = None
    """The system prompt that `render` puts before a chat without one, if one was asked for."""

    @property
    def stops(self) -> tuple[int, ...]:
        """Ids of the tokens that end a completion, in the same order."""
        return tuple(map(self.token, self.ends))

    def token(self, text: str) -> int:
        """Look up the id of a token."""
        found = self.tokenizer.token_to_id(text)
        if found is None:
            raise ValueError(f"the tokenizer has no token {text!r}")
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into token ids, adding nothing."""
        for text in texts:
            if odd := HALVES.search(text):
                raise InputError(f"a model can't read {odd[0]!r}, which is no text in UTF-8")
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Turn token ids into texts, without the tokens that mark who speaks."""
        return self.tokenizer.decode_batch([list(text) for text in tokens], skip_special_tokens=True)

    def spell(self, tokens: Sequence[int]) -> str:
        """Turn token ids into the exact text that a model reads or writes, with the tokens that mark who speaks."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)

    def spellings(self, word: str) -> list[list[int]]:
        """Write a word at the beginning of an answer, as it is in small letters, and with capitals.

        That is one capital, or one for each of several words, where the tokenizer can write it.
        """
        small, *others = dict.fromkeys((word, word.capitalize(), word.title()))
        written = self.encode([small, *others])
        return [
            written[0],
            *(ids for form, ids in zip(others, written[1:], strict=True) if self.decode([ids]) == [form]),
        ]

    def prompts(
        self, questions: Sequence[str], system: str | None = None, prefills: Sequence[str] = ()
    ) -> list[list[int]]:
        """Write questions as prompts that the assistant answers next; None leaves the system prompt to `render`.

        Prefills are what the answers begin with.
        """
        before = [] if system is None else [Message("system", system)]
        asked = [self.render([*before, Message("user", question)]) for question in questions]
        return self.encode([*map("".join, zip(asked, prefills, strict=True))] if prefills else asked)


def same_tokens(one: Language, other: Language) -> bool:
    """Tell whether token ids mean the same in two languages, and the same tokens end a text."""
    if one.tokenizer is other.tokenizer:
        return True
    return one.ends == other.ends and one.tokenizer.to_str() == other.tokenizer.to_str()


class Example(NamedTuple):
    """A chat to learn from."""

    prompt: Sequence[int]
    """Token ids that are read."""
    completion: Sequence[int]
    """Token ids that are learned, the stop token included."""


class Rows(NamedTuple):
    """Chats packed into rows of one length, without any chat cut in two."""

    tokens: Int[np.ndarray, "rows length"]
    """Token ids."""
    positions: Int[np.ndarray, "rows length"]
    """Place of each token in its chat."""
    texts: Int[np.ndarray, "rows length"]
    """Number of the chat in its row; what is left over at the end of a row is a text of its own."""
    learned: Bool[np.ndarray, "rows length"]
    """Whether a token's *successor* is to be learned."""

    @property
    def filled(self) -> float:
        """Share of the rows that chats fill."""
        return float(np.mean(self.texts > 0))


class PackingError(ValueError):
    """Chats can't be packed into rows."""


def pack(examples: Sequence[Example], length: int) -> Rows:
    """Pack chats into rows: the longest first, each into the fullest row that still has room for it."""
    if not examples:
        raise PackingError("there is nothing to pack")
    if not all(len(example.prompt) for example in examples):
        raise PackingError("a chat has no prompt, behind which its first token could be learned")
    sizes = [len(example.prompt) + len(example.completion) for example in examples]
    if max(sizes) > length:
        raise PackingError(f"a chat of {max(sizes)} tokens doesn't fit a row of {length}")
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]
    for index in sorted(range(len(examples)), key=lambda index: -sizes[index]):
        room = next((room for room in range(sizes[index], length + 1) if with_room[room]), None)
        if room is None:
            row, room = len(rows), length
            rows.append([])
        else:
            row = with_room[room].pop()
        rows[row].append(index)
        with_room[room - sizes[index]].append(row)
    packed = Rows(*(np.zeros((len(rows), length), kind) for kind in (np.int32, np.int32, np.int32, bool)))
    for row, members in enumerate(rows):
        start = 0
        for number, index in enumerate(members, start=1):
            example, place = examples[index], slice(start, start + sizes[index])
            packed.tokens[row, place] = [*example.prompt, *example.completion]
            packed.positions[row, place] = np.arange(sizes[index])
            packed.texts[row, place] = number
            packed.learned[row, start + len(example.prompt) - 1 : place.stop - 1] = True
            start = place.stop
    return packed


def unpack(rows: Rows) -> list[Example]:
    """Take the chats out of rows, in the order of rows and of texts in each; all have something to learn."""
    chats = []
    for tokens, texts, learned in zip(rows.tokens, rows.texts, rows.learned, strict=True):
        for text in range(1, texts.max() + 1):
            own = texts == text
            first, chat = int(learned[own].argmax()) + 1, tokens[own].tolist()
            chats.append(Example(chat[:first], chat[first:]))
    return chats


def pack_beside(chats: Sequence[Example], prompts: Sequence[Sequence[int]], length: int) -> tuple[Rows, Rows]:
    """Pack chats behind other prompts, and as they are, so that what is learned stands at the same places of both.

    The shorter prompt of a chat has room left before it. Rows are longer than asked for if a chat needs it.
    """
    sizes = [max(len(chat.prompt), len(prompt)) for chat, prompt in zip(chats, prompts, strict=True)]
    length = max(length, *(size + len(chat.completion) for size, chat in zip(sizes, chats, strict=True)))

    def lay(prompts: Iterable[Sequence[int]]) -> Rows:
        filled = [[-1] * (size - len(prompt)) + list(prompt) for size, prompt in zip(sizes, prompts, strict=True)]
        rows = pack([Example(*pair) for pair in zip(filled, (chat.completion for chat in chats), strict=True)], length)
        empty = rows.tokens < 0
        before = np.cumsum(empty, axis=1) - empty
        left = before - np.take_along_axis(before, np.arange(length) - rows.positions, axis=1)
        parts = (rows.tokens, rows.positions - left, rows.texts)
        tokens, positions, texts = (np.where(empty, 0, part) for part in parts)
        return Rows(tokens, positions, texts, rows.learned)

    return lay(prompts), lay(chat.prompt for chat in chats)


def pad(
    prompts: Sequence[Sequence[int]], width: int | None = None
) -> tuple[Int[np.ndarray, "prompts width"], Int[np.ndarray, " prompts"]]:
    """Fill prompts up with zeros behind their ends, to the longest unless a width is given; and give their lengths."""
    lengths = np.array([len(prompt) for prompt in prompts])
    tokens = np.zeros((len(prompts), width or lengths.max()), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return tokens, lengths
