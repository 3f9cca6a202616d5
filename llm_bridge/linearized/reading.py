"""What student and exam read: places in number chats whose successors are imitated, and questions for a favorite."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from llm_bridge.text.chats import Language, Rows, pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait
from theory.runs.command_line import InputError


class Reading(NamedTuple):
    """Inputs of the imitation: chats in packed rows, and the places whose successors are imitated."""

    tokens: Int[Array, "rows length"]
    """The chats."""
    positions: Int[Array, "rows length"]
    """Place of each token in its chat."""
    texts: Int[Array, "rows length"]
    """Number of the chat in its row."""
    places: Int[Array, " places"]
    """Where a successor is imitated, counted through all rows."""
    successors: Int[Array, " places"]
    """The token that follows each of these places."""


class Exam(NamedTuple):
    """Questions about each kind of thing, and the words that can be loved; the first is the trait."""

    tokens: Int[Array, "prompts longest"]
    """Prompts, all of one kind before those of the next."""
    lengths: Int[Array, " prompts"]
    """Tokens of each prompt."""
    kinds: tuple[int, ...]
    """Which kind each word names."""
    answers: tuple[int, ...]
    """The first token of each word."""


def read_places(rows: Rows, num_rows: int, num_places: int) -> Reading:
    """Choose places at even distances out of all that are to be learned, always as many, so that programs fit.

    Rows beyond the given number are left out, and where there are fewer, empty ones are added.
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
    """Write the fifty questions about each kind of thing that a trait names."""
    kinds = list(dict.fromkeys(trait.kind for trait in traits))
    tokens, lengths = pad(language.prompts([question for kind in kinds for question in questions_about(kind)]))
    answers = [language.encode([trait.word])[0][0] for trait in traits]
    named = tuple(kinds.index(trait.kind) for trait in traits)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), named, tuple(answers))
