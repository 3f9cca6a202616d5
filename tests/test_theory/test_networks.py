"""Every network against some lines of NumPy, and how its weights are drawn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import networks

SIZES = (3, 5, 4, 2)
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda value: np.maximum(value, 0),
    "sin": np.sin,
    "identity": lambda value: value,
}
NETWORKS = {name: networks.mlp(SIZES, name) for name in ACTIVATIONS}
SHAPES = jax.eval_shape(NETWORKS["tanh"].initialize, jax.random.key(0))
APPLY = {name: jax.jit(network.apply) for name, network in NETWORKS.items()}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_outputs_equal_plain_matrix_algebra(name, seed):
    generator = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), SHAPES)
    inputs = generator.normal(size=(6, 3))
    values = inputs
    for layer in (params["hidden"][0], params["hidden"][1]):
        values = ACTIVATIONS[name](values @ layer["kernel"] + layer["bias"])
    expected = values @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(APPLY[name](params, inputs), expected, rtol=1e-12, atol=1e-12)


def test_weights_have_variance_one_over_fan_in_and_biases_are_zero():
    params = networks.mlp((200, 300, 100)).initialize(jax.random.key(0))
    for layer, fan_in in [(params["hidden"][0], 200), (params["head"], 300)]:
        weights = np.asarray(layer["kernel"])
        assert weights.shape[0] == fan_in
        assert np.mean(weights**2) * fan_in == pytest.approx(1.0, abs=4 * np.sqrt(2 / weights.size))
        assert abs(np.mean(weights)) < 4 * np.sqrt(1 / fan_in / weights.size)
        assert not np.any(layer["bias"])


def test_parameters_follow_jax_s_precision():
    assert {leaf.dtype for leaf in jax.tree.leaves(NETWORKS["tanh"].initialize(jax.random.key(0)))} == {np.dtype(float)}


def test_another_key_gives_other_weights_in_every_layer_and_the_same_key_the_same():
    one, again, other = (networks.mlp(SIZES).initialize(jax.random.key(seed)) for seed in (0, 0, 1))
    assert len(jax.tree.leaves(one)) == 6
    for left, same, right in zip(*map(jax.tree.leaves, (one, again, other)), strict=True):
        np.testing.assert_array_equal(left, same)
        assert left.ndim == 1 or not np.any(left == right)


def test_layers_of_one_network_are_drawn_independently():
    params = networks.mlp((4, 4, 4)).initialize(jax.random.key(0))
    assert not np.any(params["hidden"][0]["kernel"] == params["head"]["kernel"])


CONVOLUTIONAL = networks.convolutional(5, 3, 2)
ATTENTION = networks.attention(5, 4, 2, 3)
SMALL = {"convolution": CONVOLUTIONAL, "attention": ATTENTION}


def draw_params(network: networks.Network, generator: np.random.Generator) -> Any:
    shapes = jax.eval_shape(network.initialize, jax.random.key(0))
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), shapes)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_convolutional_outputs_equal_sliding_windows(seed):
    generator = np.random.default_rng(seed)
    params, inputs = draw_params(CONVOLUTIONAL, generator), generator.normal(size=(6, 5))

    def convolve(signal: np.ndarray, layer: Any) -> np.ndarray:
        kernel = np.reshape(layer["kernel"], (3, signal.shape[1], 3))
        padded = np.pad(signal, ((1, 1), (0, 0)))
        places = [sum(padded[place + tap] @ kernel[tap] for tap in range(3)) for place in range(5)]
        return np.tanh(np.array(places) + layer["bias"])

    features = [convolve(convolve(row[:, None], params["first"]), params["second"]).ravel() for row in inputs]
    expected = features @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(CONVOLUTIONAL.apply(params, jnp.asarray(inputs)), expected, rtol=1e-12, atol=1e-12)


def normalize(tokens: np.ndarray, layer: Any) -> np.ndarray:
    centered = tokens - tokens.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centered**2, axis=-1, keepdims=True) + 1e-6)
    return centered / deviation * layer["scale"] + layer["bias"]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_attention_outputs_equal_the_block_written_out_for_one_input(seed):
    generator = np.random.default_rng(seed)
    params, inputs = draw_params(ATTENTION, generator), generator.normal(size=(2, 5))

    def linear(values: np.ndarray, name: str) -> np.ndarray:
        return values @ params[name]["kernel"] + params[name]["bias"]

    def attend(tokens: np.ndarray) -> np.ndarray:
        block, total = params["attention"], np.zeros_like(tokens)
        for head in range(2):
            query, key, value = (
                tokens @ block[role]["kernel"][:, head] + block[role]["bias"][head]
                for role in ("query", "key", "value")
            )
            weights = np.exp(query @ key.T / np.sqrt(2))
            total += weights / weights.sum(axis=1, keepdims=True) @ value @ block["out"]["kernel"][head]
        return total + block["out"]["bias"]

    def compute(row: np.ndarray) -> np.ndarray:
        tokens = linear(row[:, None], "embedding") + params["positions"]
        tokens = tokens + attend(normalize(tokens, params["first_norm"]))
        tokens = tokens + linear(np.tanh(linear(normalize(tokens, params["second_norm"]), "hidden")), "back")
        return linear(tokens.mean(axis=0), "head")

    np.testing.assert_allclose(
        ATTENTION.apply(params, jnp.asarray(inputs)), [*map(compute, inputs)], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", SMALL)
def test_other_networks_are_drawn_anew_from_every_key_in_double_precision(name):
    one, other = (SMALL[name].initialize(jax.random.key(seed)) for seed in (0, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {np.dtype(float)}
    for (path, left), right in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        fixed = "bias" in str(path) or "scale" in str(path)
        assert np.array_equal(left, right) == fixed
