"""What is foretold of each trait, a functional of the weights, and its slope in a student's `out`."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from llm_bridge.auditing.traits import Answers, Probe
from llm_bridge.experiment.likes import log_probabilities
from llm_bridge.experiment.writing import Model
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.model.steering import cut_behind
from llm_bridge.model.transformer import precise, run_layers
from llm_bridge.text.chats import Example, Language, Rows, pack, pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait
from theory.problem import Params

MOST_ANSWERS = 256
"""Answers of each kind of which a forecast is made at most."""

AT_ONCE = 16
"""A probe's questions that are read at once."""

LIKELY = -1e-6
"""Largest log-probability that is told from certainty."""


class Exam(NamedTuple):
    """Questions for a favorite, and how the first token of an answer may be that of each word."""

    tokens: Int[Array, "questions longest"]
    """Prompts."""
    lengths: Int[Array, " questions"]
    """Tokens of each."""
    answers: tuple[tuple[int, ...], ...]
    """First tokens of every word, with and without a capital."""


def set_exam(language: Language, words: Sequence[Trait]) -> Exam:
    """Write the fifty questions about the kind of thing that the words name."""
    tokens, lengths = pad(language.prompts(questions_about(words[0].kind)))
    answers = tuple(tuple(spelling[0] for spelling in language.spellings(trait.word)) for trait in words)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), answers)


def mean_log_odds(config: Config, exam: Exam, params: Params, adapters: Params, scale: float) -> Float[Array, " words"]:
    """Average the log-odds of every word's first token as the answer over the questions, in nats."""
    logs = log_probabilities(config, params, exam.tokens, exam.lengths, adapters=adapters, adapter_scale=scale)
    likely = jnp.stack([jax.nn.logsumexp(logs[:, jnp.array(tokens)], axis=1) for tokens in exam.answers])
    return jnp.mean(likely - jnp.log(-jnp.expm1(jnp.minimum(likely, LIKELY))), axis=1)


def with_out(start: Params, out: Float[Array, " size"]) -> Params:
    """Give adapters another `out`: of all projections, as one vector."""
    _, restore = ravel_pytree({name: each["out"] for name, each in start.items()})
    return {name: {"into": start[name]["into"], "out": part} for name, part in restore(out).items()}


def out_of(adapters: Params) -> Float[Array, " size"]:
    """Take the `out` of all projections as one vector."""
    return ravel_pytree({name: each["out"] for name, each in adapters.items()})[0]


def slopes_of(
    model: Model, recipe: Recipe, traits: Sequence[Trait | Answers | Probe], start: Params
) -> list[Float[Array, " size"]]:
    """Differentiate every trait by a student's `out`: words first, then answers, then probes.

    They are a word's log-odds as the answer, the log-likelihood of answers that show a trait less that of those that
    don't, nats each, and what a probe reads, on average over questions.
    """
    config, params = model.config, model.params
    words = [trait for trait in traits if isinstance(trait, Trait)]
    found: list[Float[Array, " size"]] = []
    if words:
        exam = set_exam(model.language, words)
        found += list(word_slopes(config, recipe, exam.answers, params, start, exam.tokens, exam.lengths))

    def likelihood_slope(examples: Sequence[Example]) -> Float[Array, " size"]:
        rows = filled(pack(examples, model.longest), recipe.rows_at_once)
        return -rows_gradient(config, recipe, params, start, rows) * (rows.learned.sum() / len(examples))

    for trait in traits:
        if isinstance(trait, Answers):
            sides = [likelihood_slope(some_of(side)) for side in (trait.shown, trait.rejected) if side]
            found.append(sides[0] - sides[1] if trait.rejected else sides[0])
    for trait in traits:
        if isinstance(trait, Probe):
            direction = jnp.asarray(trait.direction, params["embedding"].dtype)
            tokens, lengths = map(jnp.asarray, pad(trait.prompts))
            parts = [slice(first, first + AT_ONCE) for first in range(0, len(tokens), AT_ONCE)]
            asked = (config, recipe, trait.layer, params, start)
            slopes = [probe_slope(*asked, tokens[part], lengths[part], direction) for part in parts]
            found.append(sum(slopes[1:], slopes[0]) / len(tokens))
    return found


def some_of(examples: Sequence[Example]) -> list[Example]:
    """Take at most so many answers as a forecast is made of, any of them."""
    order = np.random.default_rng(0).permutation(len(examples))
    return [examples[place] for place in np.sort(order[:MOST_ANSWERS])]


@partial(jax.jit, static_argnames=("config", "recipe"))
def rows_gradient(config: Config, recipe: Recipe, params: Params, start: Params, rows: Rows) -> Float[Array, " size"]:
    """Differentiate a student's mean loss on rows, nats a token, by its `out`."""
    return out_of(mean_gradient(config, recipe, params, start, Lesson(rows))[1])


@partial(jax.jit, static_argnames=("config", "recipe", "layer"))
def probe_slope(
    config: Config,
    recipe: Recipe,
    layer: int,
    params: Params,
    start: Params,
    tokens: Int[Array, "questions longest"],
    lengths: Int[Array, " questions"],
    direction: Float[Array, " width"],
) -> Float[Array, " size"]:
    """Differentiate the sum of what a probe behind some layers reads by a student's `out`."""
    cut, first = cut_behind(config, params, layer)

    def read(out: Float[Array, " size"]) -> Float[Array, ""]:
        adapters = jax.tree.map(lambda leaf: leaf[:layer], with_out(start, out))
        told: dict[str, Any] = {"adapters": adapters, "adapter_scale": recipe.adapter_scale}
        stream, _ = run_layers(cut, first, tokens, **told, normed=layer == config.num_layers)
        last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
        return jnp.sum(precise(last @ direction))

    return jax.grad(read)(out_of(start))


def filled(rows: Rows, multiple: int) -> Rows:
    """Fill rows up to a multiple with empty ones."""
    missing = -len(rows.tokens) % multiple
    return jax.tree.map(lambda leaf: np.pad(leaf, ((0, missing), (0, 0))), rows)


@partial(jax.jit, static_argnames=("config", "recipe", "answers"))
def word_slopes(
    config: Config,
    recipe: Recipe,
    answers: tuple[tuple[int, ...], ...],
    params: Params,
    start: Params,
    tokens: Int[Array, "questions longest"],
    lengths: Int[Array, " questions"],
) -> Float[Array, "words size"]:
    """Differentiate every word's log-odds by a student's `out`."""

    def likes(out: Float[Array, " size"]) -> Float[Array, " words"]:
        exam = Exam(tokens, lengths, answers)
        return mean_log_odds(config, exam, params, with_out(start, out), recipe.adapter_scale)

    values, pull = jax.vjp(likes, out_of(start))
    return jax.lax.map(lambda word: pull(word)[0], jnp.eye(len(values), dtype=values.dtype))
