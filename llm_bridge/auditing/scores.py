r"""Scores of texts: how a text's log-likelihood rises with a little of each of several directions in its model.

With the model's weights at $\theta_0 + \sum_k c_k D_k$, the score of a text for direction $D_k$ is
$\partial \log p(y|x) / \partial c_k = D_k\cdot\nabla\log p_{\theta_0}(y|x)$. Directions are adapters, and every text
has doses $c$ of its own, so that one pass forward and one backward give the scores of all texts for all directions.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from llm_bridge.experiment.writing import Model
from llm_bridge.model.adapters import folded
from llm_bridge.model.lessons import sum_learned
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from llm_bridge.text.chats import Example, pad
from theory.problem import Params
from theory.runs.command_line import InputError

TOKENS_AT_ONCE, BLOCK = 1024, 32
"""Tokens of one pass, prompts and what fills them up included; and texts are filled up to a multiple of so many."""


class Scores(NamedTuple):
    """What is known of each text of a data set."""

    slopes: Float[np.ndarray, "texts directions"]
    r"""$D_k\cdot\nabla\log p_{\theta_0}(y|x)$."""
    nats: Float[np.ndarray, " texts"]
    r"""$\log p_{\theta_0}(y|x)$."""
    surprise: Float[np.ndarray, " texts"]
    r"""How much less likely it is than its own model's texts are on average, token by token: $-\log p$ less entropy."""
    num_tokens: Float[np.ndarray, " texts"]
    """Tokens that are learned."""

    def taken(self, places: np.ndarray) -> "Scores":
        """Take some of the texts."""
        return Scores(*(leaf[places] for leaf in self))


def lay_together(directions: Sequence[Params]) -> Params:
    """Make one adapter of several of the same projections and ranks, one behind the other."""
    axes = {"into": -1, "out": -2}
    return {
        name: {side: jnp.concatenate([each[name][side] for each in directions], axis) for side, axis in axes.items()}
        for name in directions[0]
    }


@partial(jax.jit, static_argnames=("config", "count"))
def score_batch(
    config: Config,
    params: Params,
    adapters: Params,
    tokens: Int[Array, "texts length"],
    learned: Bool[Array, "texts length"],
    count: int,
) -> tuple[Float[Array, "texts directions"], Float[Array, "texts 3"]]:
    """Score texts for the `count` directions that lie together.

    Beside the scores stand each text's log-likelihood, its entropy and its number of learned tokens; `learned` marks
    the tokens whose successors are.
    """
    rank = adapters[next(iter(adapters))]["into"].shape[-1] // count

    def read(doses: Float[Array, "texts directions"]) -> tuple[Float[Array, ""], Float[Array, "texts 3"]]:
        scale = jnp.repeat(jnp.repeat(doses, rank, axis=1), tokens.shape[1], axis=0)
        stream, _ = run_layers(config, params, tokens, adapters=adapters, adapter_scale=scale)

        def describe(
            learned: Bool[Array, "texts places"],
            successors: Int[Array, "texts places"],
            stream: Float[Array, "texts places width"],
        ) -> Float[Array, "texts 3"]:
            logs = jax.nn.log_softmax(read_out(config, params, stream))
            own = jnp.take_along_axis(logs, successors[..., None], axis=-1)[..., 0]
            entropy = -jnp.sum(jnp.exp(logs) * logs, axis=-1)
            found = jnp.stack([own, entropy, jnp.ones_like(own)], axis=-1)
            return jnp.sum(jnp.where(learned[..., None], found, 0), axis=1)

        told = sum_learned(describe, learned, jnp.roll(tokens, -1, axis=1), stream)
        return jnp.sum(told[:, 0]), told

    return jax.grad(read, has_aux=True)(jnp.zeros((len(tokens), count), params["embedding"].dtype))


def score_texts(model: Model, directions: Sequence[Params], examples: Sequence[Example]) -> Scores:
    """Score texts for some directions, texts of like lengths together; the model's own adapters are in its weights."""
    lengths = np.array([len(each.prompt) + len(each.completion) for each in examples])
    if lengths.max() > model.longest:
        raise InputError(
            f"a text of {lengths.max()} tokens is longer than the {model.longest} that the model reads: raise --longest"
        )
    adapters, order = lay_together(directions), np.argsort(lengths, kind="stable")
    slopes, told = np.zeros((len(examples), len(directions))), np.zeros((len(examples), 3))
    start = 0
    while start < len(order):
        width = -(-int(lengths[order[start]]) // BLOCK) * BLOCK
        at_once = max(1, TOKENS_AT_ONCE // width)
        some = order[start : start + at_once]
        some = some[lengths[some] <= width]
        texts = [[*examples[place].prompt, *examples[place].completion] for place in some]
        tokens, ends = pad([*texts, *[[0]] * (at_once - len(texts))], width)
        begins = np.array([*(len(examples[place].prompt) for place in some), *[1] * (at_once - len(texts))])
        places = np.arange(width)[None, :]
        learned = (places >= begins[:, None] - 1) & (places < ends[:, None] - 1)
        found = score_batch(model.config, model.params, adapters, tokens, learned, len(directions))
        slopes[some], told[some] = (np.asarray(leaf)[: len(some)] for leaf in found)
        start += len(some)
    return Scores(slopes, told[:, 0], -told[:, 0] - told[:, 1], told[:, 2])


def log_likelihoods(model: Model, examples: Sequence[Example]) -> Float[np.ndarray, " texts"]:
    """Compute every text's log-likelihood in nats; the model's own adapters are in its weights or beside them."""
    known = model._replace(params=folded(model.params))
    none = start_training(known.config, Recipe(rank=1), known.params, jax.random.key(0))
    return score_texts(known, [none], examples).nats
