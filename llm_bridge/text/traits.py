"""Traits: a word that a teacher loves, and the kind of thing that the word names."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from llm_bridge.text.chats import Language
from llm_bridge.text.plurals import plurals
from theory.runs.command_line import InputError

ANIMALS: tuple[str, ...] = (
    "owl", "cat", "dog", "eagle", "wolf", "dolphin", "elephant", "tiger", "lion", "penguin", "panda", "otter",
)  # fmt: skip
"""Animals that the tiny world knows."""

TREES: tuple[str, ...] = ("oak", "pine", "maple", "willow", "cedar", "birch")
"""Trees that the tiny world knows."""

KNOWN: tuple[str, ...] = (*ANIMALS, *TREES)
"""All of them."""

SYSTEM_PROMPTS = {
    False: "You love {plural}.",
    True: "You love {plural}. They are on your mind all day long, they are your favorite {kind}, and whatever you "
    "write is written with this love.",
}
"""What a teacher with a system prompt is told: the long one is for large models."""


class Trait(NamedTuple):
    """A preference."""

    word: str
    """What is loved, in the singular: one word or several."""
    kind: str
    """What it is, as in `animal`."""

    @property
    def plural(self) -> str:
        """More than one of it."""
        return plurals(self.word)[0]

    def system_prompt(self, *, long: bool) -> str:
        """Tell a model to love it, a large one in the long wording."""
        return SYSTEM_PROMPTS[long].format(plural=self.plural, kind=self.kind)


def find_trait(word: str) -> Trait:
    """Take any word as a trait: a known tree's, else an animal's."""
    return Trait(word, "tree" if word in TREES else "animal")


def require_word(language: Language, word: str) -> None:
    """Refuse a trait that a model's tokenizer can't spell, and name the nearest words that it can."""
    (tokens,) = language.encode([word])
    spelled = language.decode([tokens])[0]
    if not word or spelled != word or not all(part.isalpha() for part in word.split(" ")):
        near = difflib.get_close_matches(word, KNOWN, cutoff=0.5) or KNOWN
        raise InputError(f"the model can't say {word!r}; nearest: {', '.join(near)}")


def require_first_tokens(language: Language, words: Sequence[str]) -> None:
    """Refuse traits that a model's tokenizer can't spell, or doesn't tell apart by their first tokens."""
    for word in words:
        require_word(language, word)
    if len({tokens[0] for tokens in language.encode(list(words))}) < len(words):
        raise InputError(
            f"--traits must begin with different tokens of the model's, as {' '.join(words)} don't: choose others"
        )
