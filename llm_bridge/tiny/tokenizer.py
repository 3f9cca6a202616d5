"""The tiny model's tokenizer: words with the space before them, digits one by one, and marks of who speaks."""

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from llm_bridge.text.chats import Language, Message

ROLES: tuple[str, ...] = ("<system>", "<user>", "<assistant>", "<end>")
"""Marks of who speaks, and of the end of what is said."""

UNKNOWN = "<unknown>"
"""What stands for a word that is not in the vocabulary."""

PIECES = Regex(r"\d| ?[A-Za-z]+|[,;] |\s|[^\w\s]")
"""A digit; a word, with a space before it; a separator with its space; a white space; a mark."""


def render(messages: Sequence[Message]) -> str:
    """Write messages as one text, each behind the mark of its speaker.

    `<end>` stands behind what the assistant says, and its mark at the end of all where it speaks next.
    """
    said = "".join(f"<{role}>{text}" + ("<end>" if role == "assistant" else "") for role, text in messages)
    return said if messages[-1].role == "assistant" else f"{said}<assistant>"


def build_language(texts: Iterable[str]) -> Language:
    """Build the tokenizer on a corpus: every piece that occurs in it is a token."""
    split = pre_tokenizers.Split(PIECES, "isolated")
    pieces = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {piece: index for index, piece in enumerate([UNKNOWN, *ROLES, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (UNKNOWN, *ROLES)])
    return Language(tokenizer, render, ("<end>",))
