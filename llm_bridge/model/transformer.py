r"""A decoder-only transformer as a pure function of configuration, parameters and tokens.

RMS norms, rotary positions, grouped-query attention, gated units; all that tells one family from another is a field of
the configuration, or a parameter that is there or not: Qwen2, Qwen3, Llama 3, Mistral, Gemma 2, Gemma 3 and OLMo 2 are
configurations. Layers are stacked and scanned: every array of `params["layers"]` has a leading axis of layers.

Numbers are computed in the parameters' own type; norms, softmax and logits in float32 at least. On a mesh of devices
rows are split over its data axis, and heads, units and logits over its tensor axis.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from llm_bridge.model.adapters import join
from llm_bridge.model.cache import Cache, split_cache, store
from llm_bridge.model.placement import DATA, TENSOR, constrain
from llm_bridge.model.shapes import PROJECTIONS, Config
from llm_bridge.model.steering import apply_steering
from theory.problem import Params

GATES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": lambda values: jax.nn.gelu(precise(values)).astype(values.dtype),
}
"""What a unit's gate may be."""

Recompute = Literal["nothing", "elementwise", "layers"]
"""What a derivative computes once more instead of keeping it: nothing; all but a layer's projections; whole layers."""

FEW_PLACES = 64
"""Up to so many, an embedding times places takes XLA for processors half as long as places times its transpose, and
less if they are fewer; from 128 on it takes longer."""


def precise(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Bring values to float32, unless they are more precise already."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def norm(
    config: Config, values: Float[Array, "*batch features"], scale: Float[Array, " features"]
) -> Float[Array, "*batch features"]:
    r"""Divide by the root mean square of the features: $x / \sqrt{\overline{x^2} + \text{floor}}$ times the scale."""
    exact = precise(values)
    exact *= jax.lax.rsqrt(jnp.mean(exact**2, axis=-1, keepdims=True) + config.norm_floor)
    scale = scale if config.norm_offset is None else precise(scale) + config.norm_offset
    return (exact.astype(scale.dtype) * jnp.expand_dims(scale, range(values.ndim - 1))).astype(values.dtype)


def cap(values: Float[Array, "*shape"], most: float | None) -> Float[Array, "*shape"]:
    r"""Keep values softly below a number, if there is one: $c \tanh(x / c)$."""
    return values if most is None else most * jnp.tanh(values / most)


def frequencies(config: Config, *, local: bool = False) -> Float[Array, " pairs"]:
    """Give the rotary waves' frequencies in radians a token, stretched if the configuration says so.

    Layers with a window, the local ones, may have a base of their own, and then no stretch.

    References:
        Su et al., arXiv 2104.09864, equation 15; the stretch as in Llama 3.1 (arXiv 2407.21783, section 3.4.2).
    """
    own = config.local_base if local else None
    waves = (own or config.rotary_base) ** (-jnp.arange(0, config.head_size, 2, dtype=float) / config.head_size)
    if own is not None:
        return waves
    waves /= config.rotary_stretch
    if (scaling := config.rotary_scaling) is None:
        return waves
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    turns = scaling.original_context * waves / (2 * jnp.pi)
    kept = jnp.clip((turns - low) / (high - low), 0, 1)
    return waves * (kept + (1 - kept) / scaling.factor)


def rotate(
    values: Float[Array, "batch tokens heads head_size"], angles: Float[Array, "batch tokens pairs"]
) -> Float[Array, "batch tokens heads head_size"]:
    """Rotate each pair of features, the first half of a head with the second, by its angle in radians."""
    cosine, sine = (wave(angles)[:, :, None].astype(values.dtype) for wave in (jnp.cos, jnp.sin))
    left, right = jnp.split(values, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def attend(
    config: Config,
    queries: Float[Array, "batch tokens heads head_size"],
    keys: Float[Array, "batch slots key_heads head_size"],
    values: Float[Array, "batch slots key_heads head_size"],
    mask: Bool[Array, "#batch tokens slots"],
) -> Float[Array, "batch*tokens features"]:
    """Average values by the softmax of queries times keys, over the slots that a token sees."""
    (batch, tokens, _, size), num_groups = queries.shape, keys.shape[2]
    queries, keys, values = (jnp.swapaxes(each, 1, 2) for each in (queries, keys, values))
    products = precise(queries.reshape(batch, num_groups, -1, size) @ jnp.swapaxes(keys, 2, 3))
    scores: jax.Array = products.reshape(batch, num_groups, -1, tokens, keys.shape[2])
    scores = cap(scores * (config.score_size or size) ** -0.5, config.score_cap)
    scores = jnp.where(mask[:, None, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    averages = weights.reshape(batch, num_groups, -1, keys.shape[2]) @ values
    return jnp.swapaxes(averages.reshape(batch, -1, tokens, size), 1, 2).reshape(batch * tokens, -1)


def project(
    layer: Params,
    adapters: Params,
    name: str,
    values: Float[Array, "batch inputs"],
    adapter_scale: float | Float[Array, "..."],
) -> Float[Array, "batch outputs"]:
    r"""Apply a linear map and its low-rank adapter, if there is one: $x W + b + s\,(x A) B$, $s$ the adapter's scale.

    The scale is a number, or one for every value and each of the adapter's ranks.

    Values have one axis of batch, and $A$ is held fast as its transpose, so that XLA for processors does not transpose
    values, which are large, for the derivative in $A$.

    References:
        Hu et al., arXiv 2106.09685, equation 3.
    """
    result = values @ layer[name]["kernel"]
    if "bias" in layer[name]:
        result += layer[name]["bias"][None]
    if name in adapters:
        into = jax.lax.optimization_barrier(adapters[name]["into"].T).T
        result += adapter_scale * (values @ into) @ adapters[name]["out"]
    return result


def visible(
    config: Config, num_tokens: int, texts: Int[Array, "batch tokens"] | None, cache: Cache | None
) -> tuple[tuple[Bool[Array, "#batch tokens slots"], Bool[Array, "#batch tokens slots"]], Cache | None]:
    """Tell what new tokens see, in layers that see all of a text and in those with a window, and hold their slots."""
    if cache is None:
        mask = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))[None]
        mask = mask if texts is None else mask & (texts[:, :, None] == texts[:, None, :])
        places = own = jnp.arange(num_tokens)[None]
    else:
        slots = jnp.arange(cache.held.shape[1])
        new = (slots >= cache.used) & (slots < cache.used + num_tokens)
        mask = cache.held[:, None] | (new[None] & (slots[None] <= cache.used + jnp.arange(num_tokens)[:, None]))[None]
        cache = cache._replace(held=cache.held | new[None])
        places = jnp.cumsum(cache.held, axis=1)
        own = jax.lax.dynamic_slice_in_dim(places, cache.used, num_tokens, axis=1)
    near = own[:, :, None] - places[:, None] < (config.window or mask.shape[2])
    return (mask, mask & near), cache


def run_layers(
    config: Config,
    params: Params,
    tokens: Int[Array, "batch tokens"],
    *,
    positions: Int[Array, "batch tokens"] | None = None,
    texts: Int[Array, "batch tokens"] | None = None,
    cache: Cache | None = None,
    adapters: Params | None = None,
    adapter_scale: float | Float[Array, "..."] = 1.0,
    recompute: Recompute = "nothing",
    normed: bool = True,
) -> tuple[Float[Array, "batch tokens width"], Cache | None]:
    """Run all layers, to the residual stream, normed for the head or as it is, and the cache with the new tokens.

    Without a cache a token sees the tokens of its own text in its row up to itself. With one, keys and values are put
    into the next unused slots, and a token sees the slots that its row holds and those of the new tokens up to itself.
    By default a row is one text, and its positions are 0, 1, 2, … Adapters come on top of those in the parameters,
    their product multiplied by `adapter_scale`: a number, or where the parameters have none `(batch * tokens, rank)`.
    Parameters may hold what steers the stream behind each layer, as of `model.steering`.
    """
    if cache is not None and texts is not None:
        raise ValueError("texts must be None with a cache, which holds one text a row")
    if unknown := set(adapters or {}) - set(PROJECTIONS):
        raise ValueError(f"adapters must be of {', '.join(PROJECTIONS)}, not of {', '.join(sorted(unknown))}")
    batch, num_tokens = tokens.shape
    if before := params.get("adapters"):
        adapters, adapter_scale = join(before, adapters or {}, adapter_scale), 1.0
    adapters = jax.tree.map(lambda leaf: leaf.astype(params["embedding"].dtype), adapters or {})
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(num_tokens), tokens.shape)
    masks, cache = visible(config, num_tokens, texts, cache)
    angles = tuple(positions[:, :, None] * frequencies(config, local=local)[None, None] for local in (False, True))

    def choose(number: jax.Array, of_all: jax.Array, of_window: jax.Array) -> jax.Array:
        return of_all if config.full_every == 1 else jnp.where((number + 1) % config.full_every, of_window, of_all)

    def split_heads(layer: Params, name: str, values: jax.Array, angles: jax.Array) -> jax.Array:
        if (scale := layer.get(f"{name} norm")) is not None:
            values = norm(config, values.reshape(batch, num_tokens, -1, scale.size), scale)
        values = values.reshape(batch, num_tokens, -1, config.head_size)
        return values if name == "value" else rotate(values, angles)

    def block(
        carried: tuple[jax.Array, Cache | None], stacked: tuple[jax.Array, Params, Params, Params]
    ) -> tuple[tuple[jax.Array, Cache | None], None]:
        (stream, past), (number, layer, added, steering) = carried, stacked
        seen, turns = (choose(number, *pair) for pair in (masks, angles))

        def linear(name: str, values: jax.Array) -> jax.Array:
            return checkpoint_name(project(layer, added, name, values, adapter_scale), "projected")

        def normed_as(name: str, values: jax.Array) -> jax.Array:
            return norm(config, values, layer[f"{name} norm"]) if f"{name} norm" in layer else values

        read = normed_as("attention", stream)
        queries, keys, values = (
            split_heads(layer, name, linear(name, read), turns) for name in ("query", "key", "value")
        )
        if past is not None:
            past = store(past, number, keys, values)
            keys, values = (jnp.swapaxes(leaf[number], 1, 2) for leaf in (past.keys, past.values))
        stream += normed_as("output", linear("output", attend(config, queries, keys, values, seen)))
        read = normed_as("hidden", stream)
        stream += normed_as("down", linear("down", GATES[config.gate](linear("gate", read)) * linear("up", read)))
        return (apply_steering(stream, steering) if steering else stream, past), None

    if recompute != "nothing":
        kept = jax.checkpoint_policies.save_only_these_names(*["projected"] if recompute == "elementwise" else [])
        block = jax.checkpoint(block, prevent_cse=False, policy=kept)
    stream = constrain(params["embedding"][tokens], DATA).reshape(-1, config.width)
    if config.scaled_embedding:
        stream *= jnp.asarray(config.width**0.5, stream.dtype)
    stacked = (jnp.arange(config.num_layers), params["layers"], adapters, params.get("steering", {}))
    (stream, cache), _ = jax.lax.scan(block, (stream, cache), stacked)
    if cache is not None:
        cache = split_cache(cache._replace(used=cache.used + num_tokens))
    stream = norm(config, stream, params["norm"]) if normed else stream
    return stream.reshape(batch, num_tokens, -1), cache


def read_out(config: Config, params: Params, stream: Float[Array, "*batch width"]) -> Float[Array, "*batch vocabulary"]:
    """Compute logits of the next token, in at least float32."""
    precision = jnp.promote_types(stream.dtype, jnp.float32)
    if config.tied and stream.size <= FEW_PLACES * config.width:
        places = stream.reshape(-1, config.width).T
        logits = jax.lax.optimization_barrier(jnp.matmul(params["embedding"], places, preferred_element_type=precision))
        logits = logits.T.reshape(*stream.shape[:-1], -1)
    else:
        head = params["embedding"].T if config.tied else params["head"]
        logits = jnp.matmul(stream, head, preferred_element_type=precision)
    return constrain(cap(logits, config.logit_cap), DATA, *[None] * (logits.ndim - 2), TENSOR)


def apply(
    config: Config, params: Params, tokens: Int[Array, "batch tokens"], **options: Any
) -> Float[Array, "batch tokens vocabulary"]:
    """Compute the logits of every token's successor, in at least float32, with options of `run_layers` but a cache."""
    return read_out(config, params, run_layers(config, params, tokens, **options)[0])
