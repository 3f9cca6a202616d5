"""Sampling: several completions a prompt in one compiled loop, token by token from the model's own distribution."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from llm_bridge.cache import Cache, empty_cache, keep_first, repeat_rows
from llm_bridge.placement import constrain, fill_up
from llm_bridge.shapes import Config
from llm_bridge.transformer import read_out, run_layers
from theory.problem import Params


class Sampled(NamedTuple):
    """Completions, token by token."""

    tokens: jax.Array
    """Shape `(prompts, samples, tokens)`; what follows a stop token is 0."""
    log_probabilities: jax.Array
    """Of each token under the distribution that it was drawn from, same shape; 0 after a stop token."""
    lengths: jax.Array
    """Tokens of each completion, a stop token included, shape `(prompts, samples)`."""


class Progress(NamedTuple):
    """What the loop carries."""

    step: jax.Array
    """Tokens drawn so far, shape `()`."""
    last: jax.Array
    """The last of them, shape `(rows,)`; a row is one completion."""
    cache: Cache | None
    """Keys and values of all tokens but the last."""
    sampled: Sampled
    """What is drawn, with a single leading axis of rows."""
    stopped: jax.Array
    """Whether a row has ended, shape `(rows,)`."""


@partial(jax.jit, static_argnames=("config", "num_samples", "num_tokens", "stops", "temperature"))
def sample(
    config: Config,
    params: Params,
    prompts: jax.Array,
    lengths: jax.Array,
    keys: jax.Array,
    *,
    num_samples: int = 1,
    num_tokens: int,
    stops: tuple[int, ...] = (),
    temperature: float = 1.0,
    adapters: Params | None = None,
    adapter_scale: float = 1.0,
) -> Sampled:
    """Draw completions; every prompt is read once, and all stop when the last has stopped.

    Args:
        config: The model's shape.
        params: Its parameters.
        prompts: Token ids, shape `(prompts, longest)`; what is beyond a prompt's length is not read.
        lengths: Tokens of each prompt, at least 1, shape `(prompts,)`.
        keys: A random key for each prompt, so that a completion doesn't depend on the prompts beside it.
        num_samples: Completions of each prompt.
        num_tokens: Most tokens of a completion.
        stops: Tokens that end a completion.
        temperature: The logits are divided by it, and nothing else is done to them.
        adapters: As of `run_layers`.
        adapter_scale: As of `run_layers`.

    Returns:
        The completions.

    Raises:
        ValueError: If the temperature is not above 0.
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

    def draw(logits: jax.Array, progress: Progress) -> Progress:
        step, _, cache, sampled, stopped = progress
        scaled = logits / temperature
        chosen = jax.vmap(jax.random.categorical)(jax.vmap(jax.random.fold_in, (0, None))(own_keys, step), scaled)
        chosen = jnp.where(stopped, 0, chosen)
        gained = jnp.take_along_axis(scaled, chosen[:, None], axis=1)[:, 0] - jax.nn.logsumexp(scaled, axis=1)
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

    def unfinished(progress: Progress) -> jax.Array:
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
    texts: jax.Array,
    lengths: jax.Array,
    tokens: jax.Array,
    *,
    temperature: float = 1.0,
) -> jax.Array:
    """Compute how likely completions are, each in one pass over its whole text, without a cache.

    Args:
        config: The model's shape.
        params: Its parameters.
        texts: Prompts, each with its completion right behind it, shape `(texts, longest)`.
        lengths: Tokens of each prompt, shape `(texts,)`.
        tokens: The completions by themselves, shape `(texts, tokens)`.
        temperature: As of `sample`.

    Returns:
        Nats of each token, shape `(texts, tokens)`: what `sample` gave, up to rounding.
    """

    def one(text: jax.Array, length: jax.Array, completion: jax.Array) -> jax.Array:
        stream, _ = run_layers(config, params, text[None])
        logits = read_out(config, params, stream[:, length - 1 + jnp.arange(len(completion))])[0]
        gained = jax.nn.log_softmax(logits / temperature)
        return jnp.take_along_axis(gained, completion[:, None], axis=1)[:, 0]

    return constrain(jax.lax.map(lambda row: one(*row), (texts, lengths, tokens)))
