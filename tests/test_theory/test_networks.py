"""The multilayer perceptron against ten lines of NumPy, and how its weights are drawn."""

import jax
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
