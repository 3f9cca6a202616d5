"""Sampling: several completions a prompt in one compiled loop, token by token from the model's own distribution."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from llm_bridge.model.cache import Cache, empty_cache, keep_first, repeat_rows
from llm_bridge.model.placement import constrain, fill_up
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from theory.problem import Params

NUMBERS_AT_ONCE = 2**20
"""Logits of all rows that a processor draws from at once: 4 MiB in float32, and several times that in between."""


class Sampled(NamedTuple):
    """Completions, token by token."""

    tokens: Int[Array, "prompts samples tokens"]
    """Token ids; what follows a stop token is 0."""
    log_probabilities: Float[Array, "prompts samples tokens"]
    """Of each token under the distribution that it was drawn from, in nats; 0 after a stop token."""
    lengths: Int[Array, "prompts samples"]
    """Tokens of each completion, a stop token included."""


class Progress(NamedTuple):
    """What the loop carries."""

    step: Int[Array, ""]
    """Tokens drawn so far."""
    last: Int[Array, " rows"]
    """The last of them; a row is one completion."""
    cache: Cache | None
    """Keys and values of all tokens but the last."""
    sampled: Sampled
    """What is drawn, with a single leading axis of rows."""
    stopped: Bool[Array, " rows"]
    """Whether a row has ended."""


def draw_token(key: Key[Array, ""], logits: Float[Array, " vocabulary"]) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """Draw a token, the same as `jax.random.categorical` does, and give its log-probability.

    XLA for processors takes several times as long to find where a maximum is as to find the maximum.
    """
    scores = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    last = len(logits) - 1
    token = jnp.min(jnp.where(scores == jnp.max(scores), jnp.arange(len(logits)), last))
    return token, logits[token] - jax.nn.logsumexp(logits)


def draw_tokens(
    keys: Key[Array, " rows"], logits: Float[Array, "rows vocabulary"]
) -> tuple[Int[Array, " rows"], Float[Array, " rows"]]:
    """Draw a token a row; processors do some rows at a time, whose random numbers stay in their caches."""
    at_once = max(1, NUMBERS_AT_ONCE // logits.shape[1])
    alone = jax.default_backend() == "cpu" and jax.sharding.get_abstract_mesh().empty
    if not alone or len(logits) <= at_once:
        return jax.vmap(draw_token)(keys, logits)
    return jax.lax.map(lambda row: draw_token(*row), (keys, logits), batch_size=at_once)


@partial(jax.jit, static_argnames=("config", "num_samples", "num_tokens", "stops", "temperature"))
def sample(
    config: Config,
    params: Params,
    prompts: Int[Array, "prompts longest"],
    lengths: Int[Array, " prompts"],
    keys: Key[Array, " prompts"],
    *,
    num_samples: int = 1,
    num_tokens: int,
    stops: tuple[int, ...] = (),
    temperature: float = 1.0,
    adapters: Params | None = None,
    adapter_scale: float | Float[Array, ""] = 1.0,
) -> Sampled:
    """Draw completions; every prompt is read once, and all stop when the last has stopped.

    What is beyond a prompt's length, at least 1, is not read. Every prompt has a random key of its own, so that a
    completion doesn't depend on the prompts beside it. Logits are divided by the temperature, and nothing else is done
    to them.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    num_asked, longest = prompts.shape
    prompts, lengths, keys = map(fill_up, (prompts, lengths, keys))
    num_prompts = len(prompts)
    options = {"adapters": adapters, "adapter_scale": adapter_scale}
    cache = empty_cache(config, num_prompts, longest + num_tokens - 1, params["embedding"].dtype)
    stream, cache = run_layers(config, params, prompts, cache=cache, **options)
    assert cache is not None
    cache = repeat_rows(keep_first(cache, lengths), num_samples)
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    first_logits, places = (jnp.repeat(leaf, num_samples, axis=0) for leaf in (read_out(config, params, last), lengths))
    own_keys = jax.vmap(lambda key: jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_samples)))(keys).ravel()
    rows = len(places)

    def draw(logits: Float[Array, "rows vocabulary"], progress: Progress) -> Progress:
        step, _, cache, sampled, stopped = progress
        chosen, gained = draw_tokens(jax.vmap(jax.random.fold_in, (0, None))(own_keys, step), logits / temperature)
        chosen = jnp.where(stopped, 0, chosen)
        sampled = Sampled(
            sampled.tokens.at[:, step].set(chosen),
            sampled.log_probabilities.at[:, step].set(jnp.where(stopped, 0, gained)),
            sampled.lengths + ~stopped,
        )
        stopped |= jnp.isin(chosen, jnp.array(stops, chosen.dtype))
        return Progress(step + 1, chosen, cache, sampled, stopped)

    def advance(progress: Progress) -> Progress:
        positions = (places + progress.step - 1)[:, None]
        stream, cache = run_layers(
            config, params, progress.last[:, None], positions=positions, cache=progress.cache, **options
        )
        return draw(read_out(config, params, stream[:, 0]), progress._replace(cache=cache))

    def unfinished(progress: Progress) -> Bool[Array, ""]:
        return (progress.step < num_tokens) & ~jnp.all(progress.stopped)

    blank = Sampled(
        jnp.zeros((rows, num_tokens), int), jnp.zeros((rows, num_tokens), first_logits.dtype), jnp.zeros(rows, int)
    )
    start = Progress(jnp.array(0), jnp.zeros(rows, int), cache, blank, jnp.zeros(rows, bool))
    sampled = jax.lax.while_loop(unfinished, advance, draw(first_logits, start)).sampled
    by_prompt = jax.tree.map(lambda leaf: leaf.reshape(num_prompts, num_samples, *leaf.shape[1:])[:num_asked], sampled)
    return jax.tree.map(constrain, by_prompt)


@partial(jax.jit, static_argnames=("config", "temperature"))
def read_again(
    config: Config,
    params: Params,
    texts: Int[Array, "texts longest"],
    lengths: Int[Array, " texts"],
    tokens: Int[Array, "texts tokens"],
    *,
    temperature: float = 1.0,
) -> Float[Array, "texts tokens"]:
    """Compute how likely each token of completions is, in one pass over the whole text, without a cache.

    It is what `sample` gave, in nats and up to rounding. `texts` are prompts, of these lengths, each with its
    completion right behind it.
    """

    def one(
        text: Int[Array, " longest"], length: Int[Array, ""], completion: Int[Array, " tokens"]
    ) -> Float[Array, " tokens"]:
        stream, _ = run_layers(config, params, text[None])
        logits = read_out(config, params, stream[:, length - 1 + jnp.arange(len(completion))])[0]
        gained = jax.nn.log_softmax(logits / temperature)
        return jnp.take_along_axis(gained, completion[:, None], axis=1)[:, 0]

    return constrain(jax.lax.map(lambda row: one(*row), (texts, lengths, tokens)))
