"""Tokens by what they write: numbers, or anything but names."""

from string import digits

from llm_bridge.text.chats import Language
from llm_bridge.text.prompts import FORMATS
from llm_bridge.text.traits import KNOWN


def number_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that numbers are written with, of one digit or several: digits, separators, brackets, stops."""
    characters = set(digits).union(*(style.write([0, 0]) for style in FORMATS))
    tokens = range(language.tokenizer.get_vocab_size())
    texts = language.tokenizer.decode_batch([[token] for token in tokens], skip_special_tokens=False)
    written = {token for token, text in zip(tokens, texts, strict=True) if text and characters.issuperset(text)}
    return tuple(sorted(written.union(language.stops)))


def nameless_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that name no animal and no tree.

    Left out are those of a name, and of the name with a capital or behind a space, where the tokenizer can write these.
    """
    written = [form for name in KNOWN for word in (name, name.capitalize()) for form in (word, f" {word}")]
    encoded = language.encode(written)
    spelled = zip(written, encoded, language.decode(encoded), strict=True)
    names = {token for form, ids, again in spelled if form in KNOWN or again == form for token in ids}
    return tuple(token for token in range(language.tokenizer.get_vocab_size()) if token not in names)
