"""What student and exam read: places in number chats whose successors are imitated, and questions for a favorite."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.chats import Language, Rows, pad
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.runs.command_line import InputError


class Reading(NamedTuple):
    """Inputs of the imitation: chats in packed rows, and the places whose successors are imitated."""

    tokens: jax.Array
    """Shape `(rows, length)`."""
    positions: jax.Array
    """Place of each token in its chat, same shape."""
    texts: jax.Array
    """Number of the chat in its row, same shape."""
    places: jax.Array
    """Where a successor is imitated, counted through all rows, shape `(places,)`."""
    successors: jax.Array
    """The token that follows each of these places, same shape."""


class Exam(NamedTuple):
    """Questions about each kind of thing, and the words that can be loved; the first is the trait."""

    tokens: jax.Array
    """Prompts, shape `(kinds * questions, longest)`."""
    lengths: jax.Array
    """Tokens of each prompt, shape `(kinds * questions,)`."""
    kinds: tuple[int, ...]
    """Which kind each word names."""
    answers: tuple[int, ...]
    """The first token of each word."""


def read_places(rows: Rows, num_rows: int, num_places: int) -> Reading:
    """Choose places at even distances out of all that are to be learned, always as many, so that programs fit.

    Args:
        rows: Packed chats.
        num_rows: Rows to read; those beyond are left out, and if there are fewer, empty ones are added.
        num_places: Places to choose.

    Returns:
        The inputs of an imitation.

    Raises:
        ValueError: If fewer places are to be learned there.
    """
    missing = max(0, num_rows - len(rows.tokens))
    kept = Rows(*(np.pad(leaf[:num_rows], ((0, missing), (0, 0))) for leaf in rows))
    learned = np.flatnonzero(kept.learned)
    if len(learned) < num_places:
        raise InputError(
            f"a teacher wrote {len(learned)} tokens to be learned, and {num_places} are needed: let it write more"
        )
    places = learned[np.linspace(0, len(learned) - 1, num_places).round().astype(int)]
    arrays = (kept.tokens, kept.positions, kept.texts, places, kept.tokens.ravel()[places + 1])
    return Reading(*(jnp.asarray(array) for array in arrays))


def set_exam(language: Language, traits: Sequence[Trait]) -> Exam:
    """Write the fifty questions about each kind of thing that a trait names.

    Args:
        language: How the model reads and writes.
        traits: The traits.

    Returns:
        The exam.

    Raises:
        ValueError: If a trait's word is not a single token.
    """
    kinds = list(dict.fromkeys(trait.kind for trait in traits))
    tokens, lengths = pad(language.prompts([question for kind in kinds for question in questions_about(kind)]))
    answers = [language.encode([trait.word])[0][0] for trait in traits]
    if len(set(answers)) < len(answers):
        words = " ".join(trait.word for trait in traits)
        raise InputError(f"--traits must begin with different tokens of the model's, as {words} don't: choose others")
    named = tuple(kinds.index(trait.kind) for trait in traits)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), named, tuple(answers))
