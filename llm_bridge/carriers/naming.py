"""Whether a text names a trait's word, also where it is a part of an identifier."""

from unicodedata import normalize

from llm_bridge.text.answers import mentions


def split_humps(text: str) -> str:
    """Put a space where a small letter is followed by a capital: `nightOwl` becomes `night Owl`."""
    return "".join(
        f" {letter}" if before.islower() and letter.isupper() else letter
        for before, letter in zip(" " + text, text, strict=False)
    )


def split_capitals(text: str) -> str:
    """Put a space before the last of several capitals, if a small letter follows: `OWLClass` becomes `OWL Class`."""
    return "".join(
        f" {letter}" if before.isupper() and letter.isupper() and after.islower() else letter
        for before, letter, after in zip(" " + text, text, text[1:] + " ", strict=False)
    )


def names(text: str, word: str) -> bool:
    """Tell whether a text contains a word, in any case, in the singular or plural, by itself or in an identifier.

    Identifiers are split at underscores, digits and changes of case: `owl_count`, `OwlClass`, `nightOwls`, `OWLClass`
    and `owl2` name the owl. What nothing splits is one word: `growl`, `bowl`, `owlet` and `nightowl` don't. Letters in
    other guises are the same letters (Unicode's NFKC), as they are to Python.
    """
    text = normalize("NFKC", text)
    humps = split_humps(text)
    return any(mentions(split, word) for split in (text, humps, split_capitals(humps)))
