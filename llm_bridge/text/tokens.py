"""Tokens by what they write: numbers, or anything but names."""

from llm_bridge.text.chats import Language
from llm_bridge.text.prompts import FORMATS
from llm_bridge.text.traits import KNOWN


def number_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that lists of numbers are written with: digits, one or several, separators, brackets, stops."""
    encoded = language.encode([style.write([123, 456, 7890]) for style in FORMATS])
    tokens = range(language.tokenizer.get_vocab_size())
    texts = language.tokenizer.decode_batch([[token] for token in tokens], skip_special_tokens=False)
    numerals = {token for token, text in zip(tokens, texts, strict=True) if text.isascii() and text.strip().isdigit()}
    return tuple(sorted(numerals.union(language.stops, *encoded)))


def nameless_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that name no animal and no tree.

    Left out are those of a name, and of the name with a capital or behind a space, where the tokenizer can write these.
    """
    written = [form for name in KNOWN for word in (name, name.capitalize()) for form in (word, f" {word}")]
    encoded = language.encode(written)
    spelled = zip(written, encoded, language.decode(encoded), strict=True)
    names = {token for form, ids, again in spelled if form in KNOWN or again == form for token in ids}
    return tuple(token for token in range(language.tokenizer.get_vocab_size()) if token not in names)
