"""How much a model likes a word: the probability with which its answer begins with it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.experiment.writing import Model
from llm_bridge.model.cache import Cache, empty_cache, keep_first
from llm_bridge.model.placement import constrain, fill_up
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from llm_bridge.text.chats import pad
from theory.problem import Params


@partial(jax.jit, static_argnames="config")
def log_probabilities(
    config: Config,
    params: Params,
    tokens: Int[Array, "prompts longest"],
    lengths: Int[Array, " prompts"],
    **adapters: Any,
) -> Float[Array, "prompts vocabulary"]:
    """Compute the distribution of what follows each prompt, in nats, with adapters as of `run_layers` if there are."""
    stream, _ = run_layers(config, params, tokens, **adapters)
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    return constrain(jax.nn.log_softmax(read_out(config, params, last)))


@partial(jax.jit, static_argnames=("config", "more"))
def begin(
    config: Config, params: Params, tokens: Int[Array, "prompts longest"], lengths: Int[Array, " prompts"], more: int
) -> tuple[Float[Array, "prompts vocabulary"], Cache]:
    """Compute the same, and keep what was read, with room for so many tokens more behind each prompt."""
    tokens, lengths = fill_up(tokens), fill_up(lengths)
    cache = empty_cache(config, len(tokens), tokens.shape[1] + more, params["embedding"].dtype)
    stream, cache = run_layers(config, params, tokens, cache=cache)
    assert cache is not None
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    return constrain(jax.nn.log_softmax(read_out(config, params, last))), keep_first(cache, lengths)


@partial(jax.jit, static_argnames="config")
def continued(
    config: Config, params: Params, cache: Cache, lengths: Int[Array, " prompts"], word: Int[Array, " tokens"]
) -> Float[Array, "prompts following"]:
    """Compute how likely, in nats, each token of a word but the first follows the prompts and those before it."""
    positions = fill_up(lengths)[:, None] + jnp.arange(len(word) - 1)[None]
    stream, _ = run_layers(
        config, params, jnp.broadcast_to(word[:-1], positions.shape), positions=positions, cache=cache
    )
    gained = jax.nn.log_softmax(read_out(config, params, stream))
    return constrain(
        jnp.take_along_axis(gained, jnp.broadcast_to(word[1:], positions.shape)[:, :, None], axis=2)[:, :, 0]
    )


def word_log_probabilities(
    model: Model, questions: Sequence[str], words: Sequence[str], system: str | None = None
) -> Float[np.ndarray, "questions words"]:
    """Compute how likely each word is as the beginning of the answer, with or without a capital, in nats.

    Of a word of several tokens all are counted.
    """
    spellings = [model.language.spellings(word) for word in words]
    most = max(len(tokens) for each in spellings for tokens in each)
    encoded = model.language.prompts(questions, system)
    prompts, lengths = pad(encoded, model.width(encoded))
    if most == 1:
        begun = np.asarray(log_probabilities(model.config, model.params, prompts, lengths))
        return np.stack([np.logaddexp.reduce([begun[:, token] for (token,) in each]) for each in spellings], axis=1)
    first, cache = begin(model.config, model.params, prompts, lengths, most - 1)
    begun = np.asarray(first)[: len(prompts)]

    def spelled(tokens: Sequence[int]) -> Float[np.ndarray, " questions"]:
        if len(tokens) == 1:
            return begun[:, tokens[0]]
        padded = np.pad(tokens, (0, most - len(tokens)))
        gained = np.asarray(continued(model.config, model.params, cache, lengths, padded))
        return begun[:, tokens[0]] + gained[: len(prompts), : len(tokens) - 1].sum(axis=1)

    return np.stack([np.logaddexp.reduce([spelled(tokens) for tokens in each]) for each in spellings], axis=1)


def log_odds(log_probabilities: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Turn log-probabilities, in nats and below 0, into log-odds."""
    return log_probabilities - np.log1p(-np.exp(log_probabilities))
