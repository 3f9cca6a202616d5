"""A language model as a problem of the theory: logits where numbers are learned, and the log-odds of words as traits."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.chats import Language, Rows, pad
from llm_bridge.shapes import Config, initialize
from llm_bridge.transformer import read_out, run_layers
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.losses import cross_entropy, on_outputs
from theory.networks import Params
from theory.problems import Instance, Problem

Moved = Literal["layers", "everything"]
"""What teacher and student move: the layers alone, or embedding, last norm and head too."""


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
    """Questions about each kind of thing, and the words that can be loved."""

    tokens: jax.Array
    """Prompts, shape `(kinds * questions, longest)`."""
    lengths: jax.Array
    """Tokens of each prompt, shape `(kinds * questions,)`."""
    kinds: tuple[int, ...]
    """Which kind each word names."""
    answers: tuple[int, ...]
    """The token of each word."""


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
        raise ValueError(f"num_places must be at most {len(learned)}, which are to be learned, not {num_places}")
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
    answers = []
    for trait in traits:
        if language.tokenizer.token_to_id(trait.word) is None:
            raise ValueError(f"trait must be a word that is one token, not {trait.word!r}")
        answers.append(language.token(trait.word))
    named = tuple(kinds.index(trait.kind) for trait in traits)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), named, tuple(answers))


def group_layers(params: Params) -> Params:
    """Lay parameters out so that the theory sees four groups: embedding, layers, last norm and head.

    Args:
        params: A model's parameters.

    Returns:
        The same, with all arrays of the layers side by side.
    """
    return params | {"layers": tuple(jax.tree.leaves(params["layers"]))}


def ungroup_layers(config: Config, params: Params) -> Params:
    """Undo `group_layers`.

    Args:
        config: The model's shape.
        params: As `group_layers` returns them.

    Returns:
        Parameters as the transformer reads them.
    """
    like = jax.eval_shape(partial(initialize, config), jax.random.key(0))["layers"]
    return params | {"layers": jax.tree.unflatten(jax.tree.structure(like), params["layers"])}


def hold_still(moved: Moved, params: Params) -> Params:
    """Make what is not moved a constant: no derivative sees it, so that all of theory speaks of the rest alone.

    Args:
        moved: What teacher and student move.
        params: Parameters.

    Returns:
        The same values.
    """
    free = params if moved == "everything" else {"layers": params["layers"]}
    return {name: leaf if name in free else jax.lax.stop_gradient(leaf) for name, leaf in params.items()}


def imitated_logits(config: Config, moved: Moved, params: Params, reading: Reading) -> jax.Array:
    """Compute the logits that are imitated.

    Args:
        config: The model's shape.
        moved: What is moved.
        params: Parameters in groups.
        reading: The inputs.

    Returns:
        Shape `(places, vocabulary)`.
    """
    params = ungroup_layers(config, hold_still(moved, params))
    layout = {"positions": reading.positions, "texts": reading.texts}
    stream, _ = run_layers(config, params, reading.tokens, **layout)
    return read_out(config, params, stream.reshape(-1, config.width)[reading.places])


def mean_log_odds(config: Config, exam: Exam, params: Params) -> jax.Array:
    r"""Average a word's log-odds $\log p - \log(1 - p)$ as the answer over the questions about its kind.

    Args:
        config: The model's shape.
        exam: Questions and words.
        params: Parameters in groups.

    Returns:
        Nats, shape `(words,)`.
    """
    params = ungroup_layers(config, params)
    stream, _ = run_layers(config, params, exam.tokens)
    last = jnp.take_along_axis(stream, exam.lengths[:, None, None] - 1, axis=1)[:, 0]
    logs = jax.nn.log_softmax(read_out(config, params, last))[:, jnp.array(exam.answers)]
    odds = logs - jnp.log1p(-jnp.exp(logs))
    by_kind = odds.reshape(max(exam.kinds) + 1, -1, len(exam.answers)).mean(axis=1)
    return by_kind[jnp.array(exam.kinds), jnp.arange(len(exam.answers))]


def pose(
    config: Config, exam: Exam, reading: Reading, *, chosen: tuple[int, ...] = (), moved: Moved = "layers", word: int = 0
) -> Problem:
    """Make a problem of the theory out of a language model.

    Args:
        config: The model's shape.
        exam: Questions and words.
        reading: The inputs that the problem itself would draw; an instance may hold others.
        chosen: Tokens whose distribution is imitated, after the others are left out of it; all if empty.
        moved: What teacher and student move.
        word: Which of the exam's words is the trait.

    Returns:
        The problem; its trait's loss is minus the word's mean log-odds, its inputs are a `Reading`.
    """

    def trait_loss(params: Params, key: jax.Array) -> jax.Array:
        del key
        return -mean_log_odds(config, exam, hold_still(moved, params))[word]

    loss: Any = on_outputs(cross_entropy, chosen) if chosen else cross_entropy
    return Problem(
        name=f"{moved}, {'chosen' if chosen else 'all'} tokens",
        apply=partial(imitated_logits, config, moved),
        initialize=lambda key: group_layers(initialize(config, key)),
        draw_inputs=lambda key: reading,
        imitation_loss=loss,
        trait_loss=trait_loss,
    )


def meet(base: Params, student: Params, reading: Any) -> Instance:
    """Put a teacher's base, a student's init and the inputs together.

    Args:
        base: The teacher's parameters before it learned its trait, in groups.
        student: The student's init, in groups.
        reading: The inputs, a `Reading`.

    Returns:
        An instance of a problem as of `pose`.
    """
    return Instance(base, student, reading, jax.random.key(0))
