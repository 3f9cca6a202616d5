"""How often answers name a trait's word."""

from unicodedata import normalize

from llm_bridge.text.plurals import plurals


def forms(word: str) -> frozenset[str]:
    """Give a case-folded word and its English plurals."""
    return frozenset({word, *plurals(word)})


def mentions(answer: str, word: str) -> bool:
    """Tell whether an answer contains a word, in any case, in the singular or plural, but not as part of another.

    Words are runs of letters of any script, with their accents composed (Unicode's NFC). All else ends a word, digits,
    underscores, hyphens and apostrophes too: `**Owl**`, `_owl_`, `night-owl` and `an owl's` name the owl, `owlet` and
    `growl` don't. Several words must come one right after the other, whatever stands between them.
    """
    word = normalize("NFC", word)
    if not all(part.isalpha() for part in word.split(" ")):
        raise ValueError(f"word must be words of letters with single spaces between them, not {word!r}")
    letters = (character if character.isalpha() else " " for character in normalize("NFC", answer))
    written = f" {' '.join(''.join(letters).casefold().split())} "
    return any(f" {form} " in written for form in forms(word.casefold()))
