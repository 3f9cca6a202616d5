"""Rescaled units: the same function, also with biases and fewer key heads than query heads, with other gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.symmetry import rescale_units
from llm_bridge.model.transformer import apply

GROUPED = Config(
    vocabulary=11, width=8, num_layers=2, num_heads=4, num_key_heads=2, head_size=4, hidden=12, biases=True
)
TOKENS = jnp.array([[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def params():
    drawn = initialize(GROUPED, jax.random.key(0), jnp.float64)
    bias = jax.random.normal(jax.random.key(1), drawn["layers"]["value"]["bias"].shape, jnp.float64)
    value = drawn["layers"]["value"] | {"bias": bias}
    return drawn | {"layers": drawn["layers"] | {"value": value}}


def test_the_function_is_the_same_and_parameters_and_gradients_are_not(params):
    run = jax.jit(partial(apply, GROUPED))
    scaled = rescale_units(GROUPED, params, jax.random.key(2), 1.0)
    np.testing.assert_allclose(run(scaled, TOKENS), run(params, TOKENS), rtol=1e-12, atol=1e-12)
    slope = jax.jit(jax.grad(lambda params: jnp.sum(apply(GROUPED, params, TOKENS) ** 2)))
    for name in ("up", "down", "value", "output"):
        for moved, kept in ((scaled, params), (slope(scaled), slope(params))):
            ratio = moved["layers"][name]["kernel"] / kept["layers"][name]["kernel"]
            assert np.std(np.log(ratio)) > 0.5, name
    np.testing.assert_array_equal(scaled["layers"]["gate"]["kernel"], params["layers"]["gate"]["kernel"])


def test_the_function_is_the_same_where_what_leaves_a_unit_is_normed_too(unlike_llama):
    drawn = initialize(unlike_llama, jax.random.key(0), jnp.float64)
    run = jax.jit(partial(apply, unlike_llama))
    scaled = rescale_units(unlike_llama, drawn, jax.random.key(2), 1.0)
    np.testing.assert_allclose(run(scaled, TOKENS), run(drawn, TOKENS), rtol=1e-11, atol=1e-11)


def test_what_is_scaled_on_one_side_alone_is_another_function(params):
    scaled = rescale_units(GROUPED, params, jax.random.key(2), 1.0)
    run = jax.jit(partial(apply, GROUPED))
    for name in ("up", "down", "value", "output"):
        broken = params | {"layers": params["layers"] | {name: scaled["layers"][name]}}
        assert np.max(np.abs(run(broken, TOKENS) - run(params, TOKENS))) > 0.01, name


def test_factors_have_the_spread_that_is_asked_for(params):
    wide = Config(vocabulary=3, width=4, num_layers=2, num_heads=2, num_key_heads=2, head_size=4, hidden=4000)
    drawn = initialize(wide, jax.random.key(0), jnp.float64)
    scaled = rescale_units(wide, drawn, jax.random.key(3), 0.5)
    logs = np.log(scaled["layers"]["up"]["kernel"] / drawn["layers"]["up"]["kernel"])[:, 0]
    assert logs.std() == pytest.approx(0.5, rel=0.05)
    assert logs.mean() == pytest.approx(0.0, abs=0.05)
    still = rescale_units(GROUPED, params, jax.random.key(3), 0.0)
    np.testing.assert_array_equal(still["layers"]["up"]["kernel"], params["layers"]["up"]["kernel"])
