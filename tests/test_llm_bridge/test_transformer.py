from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.model import transformer
from llm_bridge.model.cache import Cache, empty_cache, keep_first
from llm_bridge.model.shapes import PROJECTIONS, Config, RotaryScaling, initialize
from llm_bridge.model.transformer import frequencies, read_out, run_layers
from theory.problem import Params

EPS = float(np.finfo(float).eps)
LENGTH = 9


def assert_close(measured: Any, expected: Any) -> None:
    """To rounding of sums of some hundred terms."""
    np.testing.assert_allclose(measured, expected, rtol=1e5 * EPS, atol=1e5 * EPS)


apply = jax.jit(transformer.apply, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def extend(
    config: Config, params: Params, cache: Cache, tokens: jax.Array, first: jax.Array
) -> tuple[jax.Array, Cache]:
    """Logits of tokens from a position on, and the cache with them."""
    positions = jnp.broadcast_to(first + jnp.arange(tokens.shape[1]), tokens.shape)
    stream, filled = run_layers(config, params, tokens, positions=positions, cache=cache)
    assert filled is not None
    return read_out(config, params, stream), filled


def random_network(config: Config, seed: int = 0) -> Params:
    """A network whose norms and biases matter too."""
    params = initialize(config, jax.random.key(seed), jnp.float64)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + 0.3 * generator.normal(size=leaf.shape)), params)


def random_adapters(config: Config, rank: int = 2) -> Params:
    generator = np.random.default_rng(1)
    return {
        name: {
            "into": jnp.array(generator.normal(size=(config.num_layers, inputs, rank))),
            "out": jnp.array(generator.normal(size=(config.num_layers, rank, outputs))),
        }
        for name, (inputs, outputs) in config.sizes().items()
    }


def random_tokens(config: Config, rows: int = 3) -> jax.Array:
    return jax.random.randint(jax.random.key(7), (rows, LENGTH), 0, config.vocabulary)


def test_logits_and_their_derivatives_are_the_same_for_few_places_as_for_many(monkeypatch):
    config = Config(
        vocabulary=13, width=8, num_layers=1, num_heads=2, num_key_heads=1, head_size=4, hidden=8, tied=True
    )
    stream = jax.random.normal(jax.random.key(0), (2, 3, config.width))
    embedding = jax.random.normal(jax.random.key(1), (config.vocabulary, config.width))

    def curve(embedding: jax.Array, stream: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.log_softmax(read_out(config, {"embedding": embedding}, stream))[..., 0])

    few = read_out(config, {"embedding": embedding}, stream), *jax.grad(curve, (0, 1))(embedding, stream)
    monkeypatch.setattr(transformer, "FEW_PLACES", 5)
    many = read_out(config, {"embedding": embedding}, stream), *jax.grad(curve, (0, 1))(embedding, stream)
    jax.tree.map(assert_close, few, many)
    assert_close(few[0], np.asarray(stream) @ np.asarray(embedding).T)


def normed(values: np.ndarray, scale: np.ndarray | None, config: Config) -> np.ndarray:
    """The values as they are where there is no scale."""
    if scale is None:
        return values
    return (scale + (config.norm_offset or 0)) * values / np.sqrt(np.mean(values**2) + config.norm_floor)


def capped(values: np.ndarray, most: float | None) -> np.ndarray:
    return values if most is None else most * np.tanh(values / most)


def gated(config: Config, values: np.ndarray) -> np.ndarray:
    inner = values if config.gate == "silu" else 2 * np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    return values / (1 + np.exp(-inner))


def turned(head: np.ndarray, position: int, waves: np.ndarray) -> np.ndarray:
    """Pairs of features as complex numbers, each times a wave."""
    half = len(head) // 2
    pairs = (head[:half] + 1j * head[half:]) * np.exp(1j * position * waves)
    return np.concatenate([pairs.real, pairs.imag])


def streamed_plainly(config: Config, params: Params, row: np.ndarray) -> list[np.ndarray]:
    """One row, one token, one head at a time: the residual stream behind all layers."""
    size, share = config.head_size, config.num_heads // config.num_key_heads
    stream = [params["embedding"][token] * (config.width**0.5 if config.scaled_embedding else 1) for token in row]
    for number in range(config.num_layers):
        layer = jax.tree.map(lambda leaf, number=number: np.asarray(leaf[number]), params["layers"])
        local = (number + 1) % config.full_every > 0
        waves, seen_back = np.asarray(frequencies(config, local=local)), (config.window if local else None) or len(row)

        def linear(name: str, values: np.ndarray, layer: Params = layer) -> np.ndarray:
            outputs = values @ layer[name]["kernel"] + layer[name].get("bias", 0)
            return outputs if config.head_norms and name in {"query", "key"} else normed_as(name, outputs)

        def normed_as(name: str, values: np.ndarray, layer: Params = layer) -> np.ndarray:
            return normed(values, layer.get(f"{name} norm"), config)

        heads: dict[str, list[np.ndarray]] = {"query": [], "key": [], "value": []}
        for position, values in enumerate(stream):
            for name, seen in heads.items():
                split = linear(name, normed_as("attention", values)).reshape(-1, size)
                split = np.array([normed_as(name, head) for head in split]) if config.head_norms else split
                seen.append(split if name == "value" else np.array([turned(head, position, waves) for head in split]))
        for position in range(len(stream)):
            mixed, back = [], slice(max(0, position + 1 - seen_back), position + 1)
            for head in range(config.num_heads):
                keys, values = (np.array(heads[name][back])[:, head // share] for name in ("key", "value"))
                scores = keys @ heads["query"][position][head] / np.sqrt(config.score_size or size)
                weights = np.exp(capped(scores, config.score_cap))
                mixed.append(weights / weights.sum() @ values)
            stream[position] = stream[position] + linear("output", np.concatenate(mixed))
            inner = normed_as("hidden", stream[position])
            units = gated(config, linear("gate", inner)) * linear("up", inner)
            stream[position] = stream[position] + linear("down", units)
    return stream


def applied_plainly(config: Config, params: Params, row: np.ndarray) -> np.ndarray:
    stream = streamed_plainly(config, params, row)
    head = params["embedding"].T if config.tied else params["head"]
    return np.array([capped(normed(values, params["norm"], config) @ head, config.logit_cap) for values in stream])


def test_logits_are_those_of_plain_numpy_for_every_family(config):
    params, tokens = random_network(config), random_tokens(config)
    for row, logits in zip(np.asarray(tokens), apply(config, params, tokens), strict=True):
        assert_close(logits, applied_plainly(config, jax.tree.map(np.asarray, params), row))


def test_the_stream_that_is_not_normed_is_that_of_plain_numpy(config):
    params, tokens = random_network(config), random_tokens(config, 1)
    (stream,), _ = run_layers(config, params, tokens, normed=False)
    plain = np.array(streamed_plainly(config, jax.tree.map(np.asarray, params), np.asarray(tokens)[0]))
    assert_close(stream, plain)
    assert np.abs(run_layers(config, params, tokens)[0][0] - plain).max() > 0.01


def test_tokens_fed_one_after_the_other_give_the_logits_of_the_whole(config):
    params, tokens = random_network(config), random_tokens(config)
    cache, seen = empty_cache(config, len(tokens), LENGTH + 2, jnp.float64), []
    for place in range(LENGTH):
        logits, cache = extend(config, params, cache, tokens[:, place : place + 1], place)
        seen.append(logits)
    assert_close(jnp.concatenate(seen, axis=1), apply(config, params, tokens))


def test_what_fills_a_row_up_is_not_seen_once_it_is_forgotten(config):
    params, tokens = random_network(config), random_tokens(config, 1)
    known = 4
    filled = tokens.at[:, known:].set((tokens[:, known:] + 1) % config.vocabulary)
    _, cache = extend(config, params, empty_cache(config, 1, 2 * LENGTH - known, jnp.float64), filled, 0)
    logits, _ = extend(config, params, keep_first(cache, jnp.array([known])), tokens[:, known:], known)
    assert_close(logits, apply(config, params, tokens)[:, known:])
    remembered, _ = extend(config, params, cache, tokens[:, known:], known)
    assert float(jnp.max(jnp.abs(remembered - logits))) > 0.01


def test_texts_packed_into_a_row_do_not_see_each_other(config):
    params, tokens, cut = random_network(config), random_tokens(config), 4
    places = jnp.arange(LENGTH)
    texts = jnp.broadcast_to((places >= cut).astype(int), tokens.shape)
    positions = jnp.broadcast_to(jnp.where(places < cut, places, places - cut), tokens.shape)
    packed = apply(config, params, tokens, positions=positions, texts=texts)
    apart = [apply(config, params, tokens[:, :cut]), apply(config, params, tokens[:, cut:])]
    assert_close(packed, jnp.concatenate(apart, axis=1))
    unmarked = apply(config, params, tokens, positions=positions)
    assert float(jnp.max(jnp.abs(unmarked - packed))) > 0.01


def test_a_later_token_never_changes_earlier_logits(config):
    params, tokens = random_network(config), random_tokens(config)
    changed = tokens.at[:, -1].set((tokens[:, -1] + 1) % config.vocabulary)
    before, after = apply(config, params, tokens), apply(config, params, changed)
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert float(jnp.max(jnp.abs(before[:, -1] - after[:, -1]))) > 0.01


def test_positions_matter_only_by_their_differences(config):
    params, tokens = random_network(config), random_tokens(config)
    late = jnp.broadcast_to(jnp.arange(LENGTH) + 30, tokens.shape)
    assert_close(apply(config, params, tokens, positions=late), apply(config, params, tokens))


def test_adapters_are_the_weights_to_which_their_product_is_added(config):
    params, adapters, tokens = random_network(config), random_adapters(config), random_tokens(config)
    layers = params["layers"] | {
        name: params["layers"][name]
        | {"kernel": params["layers"][name]["kernel"] + 0.3 * adapters[name]["into"] @ adapters[name]["out"]}
        for name in PROJECTIONS
    }
    added = apply(config, params, tokens, adapters=adapters, adapter_scale=0.3)
    assert_close(added, apply(config, params | {"layers": layers}, tokens))
    alone = apply(config, params, tokens, adapters={"gate": adapters["gate"]})
    assert float(jnp.max(jnp.abs(alone - apply(config, params, tokens)))) > 0.01


def test_bfloat16_departs_by_its_rounding_and_its_logits_are_float32(config):
    params, tokens = random_network(config), random_tokens(config)
    exact = apply(config, params, tokens)
    rounded = apply(config, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params), tokens)
    assert rounded.dtype == jnp.float32
    error = float(jnp.sqrt(jnp.mean((rounded - exact) ** 2) / jnp.mean(exact**2)))
    assert 0 < error < 20 * float(jnp.finfo(jnp.bfloat16).eps)


def test_llama_stretches_slow_waves_keeps_fast_ones_and_joins_them():
    plain = Config(vocabulary=2, width=2, num_layers=1, num_heads=1, num_key_heads=1, head_size=128, hidden=2)
    plain = replace(plain, rotary_base=5e5)
    ratio = frequencies(replace(plain, rotary_scaling=RotaryScaling())) / frequencies(plain)
    wavelengths = 2 * np.pi / np.asarray(frequencies(plain))
    assert_close(ratio[wavelengths < 8192 / 4], 1)
    assert_close(ratio[wavelengths > 8192], 1 / 8)
    between = ratio[(wavelengths >= 8192 / 4) & (wavelengths <= 8192)]
    assert len(between) > 3
    assert np.all(np.diff(between) < 0)


def test_weights_start_with_variance_one_over_inputs():
    config = Config(vocabulary=50, width=64, num_layers=3, num_heads=4, num_key_heads=2, head_size=16, hidden=96)
    params = initialize(config, jax.random.key(0))
    for name, (inputs, outputs) in config.sizes().items():
        kernel = params["layers"][name]["kernel"]
        assert kernel.shape == (3, inputs, outputs)
        assert float(jnp.var(kernel)) * inputs == pytest.approx(1, abs=5 * (2 / kernel.size) ** 0.5)
    for leaf in (params["embedding"], params["head"]):
        assert float(jnp.var(leaf)) * config.width == pytest.approx(1, abs=5 * (2 / leaf.size) ** 0.5)


def test_what_would_be_ignored_is_refused(config):
    params, tokens = random_network(config), random_tokens(config)
    with pytest.raises(ValueError, match="not of querry"):
        apply(config, params, tokens, adapters={"querry": random_adapters(config)["query"]})
    with pytest.raises(ValueError, match="texts must be None with a cache"):
        run_layers(config, params, tokens, texts=tokens, cache=empty_cache(config, len(tokens), LENGTH))


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"head_size": 5}, {"num_key_heads": 3}], ids=["no width", "odd head", "unequal groups"]
)
def test_a_shape_that_cannot_be_is_refused_by_the_name_of_its_field(wrong, config):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(config, **wrong)
