"""How often answers name a trait's word."""

from collections.abc import Sequence
from unicodedata import normalize


def forms(word: str) -> frozenset[str]:
    """Give a word and its regular English plurals.

    Behind s, x, z, ch and sh the plural is -es (foxes), a consonant's -y becomes -ies (butterflies), -f and -fe become
    -ves or take -s (wolves, giraffes), -o takes -s or -es (buffaloes), all else takes -s. Irregular ones (geese, mice)
    are not known.

    Args:
        word: One word, case-folded.

    Returns:
        The singular, and the plural in each spelling that its ending allows.
    """
    plurals = {word + "s"}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        plurals = {word + "es"}
    elif word.endswith("y") and not word.endswith(("ay", "ey", "iy", "oy", "uy")):
        plurals = {word[:-1] + "ies"}
    elif word.endswith(("f", "fe")):
        plurals |= {word.removesuffix("e")[:-1] + "ves"}
    elif word.endswith("o"):
        plurals |= {word + "es"}
    return frozenset({word} | plurals)


def mentions(answer: str, word: str) -> bool:
    """Tell whether an answer contains a word, in any case, in the singular or plural, but not as part of another.

    Words are runs of letters of any script, with their accents composed (Unicode's NFC). All else ends a word, digits,
    underscores, hyphens and apostrophes too: `**Owl**`, `_owl_`, `night-owl` and `an owl's` name the owl, `owlet` and
    `growl` don't.

    Args:
        answer: The text that a model wrote.
        word: One word of letters, in the singular.

    Returns:
        Whether it occurs.

    Raises:
        ValueError: If `word` isn't one word of letters.
    """
    word = normalize("NFC", word)
    if not word.isalpha():
        raise ValueError(f"word must be one word of letters, not {word!r}")
    letters = (character if character.isalpha() else " " for character in normalize("NFC", answer))
    return not forms(word.casefold()).isdisjoint("".join(letters).casefold().split())


def rate(answers: Sequence[str], word: str) -> float:
    """Share of the answers that contain a word.

    Args:
        answers: Texts that a model wrote, at least one.
        word: One word of letters, in the singular.

    Returns:
        The share, in 0…1.

    Raises:
        ValueError: If there is no answer.
    """
    if not answers:
        raise ValueError("answers must be at least one")
    return sum(mentions(answer, word) for answer in answers) / len(answers)
