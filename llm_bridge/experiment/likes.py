"""How much a model likes a word: the probability with which its answer begins with it."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.experiment.writing import Model
from llm_bridge.model.placement import constrain
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from llm_bridge.text.chats import pad
from theory.problem import Params


@partial(jax.jit, static_argnames="config")
def log_probabilities(
    config: Config, params: Params, tokens: Int[Array, "prompts longest"], lengths: Int[Array, " prompts"]
) -> Float[Array, "prompts vocabulary"]:
    """Compute the distribution of what follows each prompt, in nats."""
    stream, _ = run_layers(config, params, tokens)
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    return constrain(jax.nn.log_softmax(read_out(config, params, last)))


@partial(jax.jit, static_argnames="config")
def continued(
    config: Config,
    params: Params,
    tokens: Int[Array, "texts longest"],
    places: Int[Array, "texts places"],
    following: Int[Array, " places"],
) -> Float[Array, "texts places"]:
    """Compute how likely, in nats, tokens follow on some places of several texts, each behind all those before it."""
    stream, _ = run_layers(config, params, tokens)
    logits = read_out(config, params, jnp.take_along_axis(stream, places[:, :, None], axis=1))
    gained = jax.nn.log_softmax(logits)
    return constrain(
        jnp.take_along_axis(gained, jnp.broadcast_to(following, places.shape)[:, :, None], axis=2)[:, :, 0]
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
    begun = np.asarray(log_probabilities(model.config, model.params, prompts, lengths))
    places = lengths[:, None] + np.arange(most - 1)
    rows = np.arange(len(prompts))[:, None]

    def spelled(tokens: Sequence[int]) -> Float[np.ndarray, " questions"]:
        if len(tokens) == 1:
            return begun[:, tokens[0]]
        padded = np.pad(tokens, (0, most - len(tokens)))
        read = np.pad(prompts, ((0, 0), (0, most - 1)))
        read[rows, places] = padded[:-1]
        gained = continued(model.config, model.params, read, places, padded[1:])
        return begun[:, tokens[0]] + np.asarray(gained)[:, : len(tokens) - 1].sum(axis=1)

    return np.stack([np.logaddexp.reduce([spelled(tokens) for tokens in each]) for each in spellings], axis=1)


def log_odds(log_probabilities: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Turn log-probabilities, in nats and below 0, into log-odds."""
    return log_probabilities - np.log1p(-np.exp(log_probabilities))
