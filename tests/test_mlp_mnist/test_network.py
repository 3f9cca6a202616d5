from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlp_mnist import network
from mlp_mnist.protocol import NUM_CLASSES
from theory.problem import Params

EPS, COARSE = (float(jnp.finfo(dtype).eps) for dtype in (jnp.float32, jnp.bfloat16))
UNITS, INPUTS, BATCH = 7, 30, 9
"""No two alike, so that a mistaken axis shows."""
AXES = pytest.mark.parametrize("axis", [network.IMAGES, network.VALUES], ids=["images", "values"])

seeds = st.integers(0, 2**32 - 1)


def factors(seed: int, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, inputs, and what the gradients are gradients of: the product's inner product with a third matrix."""
    generator = np.random.default_rng(seed)
    shape = (BATCH, INPUTS) if axis == network.IMAGES else (INPUTS, BATCH)
    shapes = ((UNITS, INPUTS), shape, (UNITS, BATCH))
    weights, values, slopes = (generator.normal(size=each).astype(np.float32) for each in shapes)
    return weights, values, slopes


def multiplied(multiply: network.Multiply, axis: int):
    """The product and both gradients, compiled."""

    @jax.jit
    def compute(weights: jax.Array, values: jax.Array, slopes: jax.Array) -> tuple[jax.Array, ...]:
        product, pull = jax.vjp(lambda *pair: multiply(axis, *pair), weights, values)
        return product, *pull(slopes)

    return compute


def multiplied_plainly(axis: int, weights: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> list[np.ndarray]:
    weights, slopes = weights.astype(float), slopes.astype(float)
    columns = (values.T if axis == network.IMAGES else values).astype(float)
    below = weights.T @ slopes
    return [weights @ columns, slopes @ columns.T, below.T if axis == network.IMAGES else below]


def sizes(axis: int, *matrices: np.ndarray) -> list[np.ndarray]:
    """The same of all absolute values: rounding errors are relative to these."""
    return multiplied_plainly(axis, *map(np.abs, matrices))


FAST = {(name, axis): multiplied(network.fast_multiply(name), axis) for name in ("float32", "bf16") for axis in (0, 1)}
OWN = {axis: multiplied(network.plain_multiply, axis) for axis in (0, 1)}


@AXES
@given(seed=seeds)
def test_the_fast_product_and_its_gradients_are_those_of_plain_differentiation_to_rounding(axis, seed):
    matrices = factors(seed, axis)
    truth, scale = multiplied_plainly(axis, *matrices), sizes(axis, *matrices)
    for fast, own, exact, size in zip(
        FAST["float32", axis](*matrices), OWN[axis](*matrices), truth, scale, strict=True
    ):
        assert fast.dtype == jnp.float32
        assert np.all(np.abs(fast - exact) <= INPUTS * EPS * size)
        assert np.all(np.abs(fast - own) <= 2 * INPUTS * EPS * size)


@AXES
@given(seed=seeds)
def test_bfloat16_errs_by_the_rounding_of_two_factors_and_no_more(axis, seed):
    matrices = factors(seed, axis)
    truth, scale = multiplied_plainly(axis, *matrices), sizes(axis, *matrices)
    for rough, exact, size in zip(FAST["bf16", axis](*matrices), truth, scale, strict=True):
        assert rough.dtype == jnp.float32
        share = np.abs(rough - exact) / (COARSE * size)
        assert 0.05 < np.max(share) <= 1 + COARSE


@AXES
def test_gradients_in_bfloat16_are_sums_in_float32_where_jax_would_round_the_weights(axis):
    matrices = factors(0, axis)
    rounded = [np.asarray(jnp.bfloat16(each), np.float32) for each in matrices]
    truth, scale = multiplied_plainly(axis, *rounded), sizes(axis, *rounded)
    for rough, exact, size in zip(FAST["bf16", axis](*matrices), truth, scale, strict=True):
        assert np.all(np.abs(rough - exact) <= INPUTS * EPS * size)
        assert np.mean(rough == rough.astype(jnp.bfloat16)) < 0.1

    def careless(axis: int, weights: jax.Array, values: jax.Array) -> jax.Array:
        return network.plain_multiply(axis, weights.astype(jnp.bfloat16), values.astype(jnp.bfloat16))

    _, weights, below = multiplied(careless, axis)(*matrices)
    assert np.all(weights == weights.astype(jnp.bfloat16))
    assert np.all(below == below.astype(jnp.bfloat16))


BODIES = pytest.mark.parametrize("body", [("dense", 11, 6), ("convolutional", 6)], ids=["dense", "convolutional"])

draw = jax.jit(network.initialize, static_argnums=(1, 2, 3))
apply = jax.jit(network.apply, static_argnums=2, static_argnames="convolutional")


def random_network(body: tuple, num_pixels: int) -> Params:
    """A network with biases that matter, drawn by NumPy."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: network.initialize(key, body, num_pixels, 3), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.float32(generator.normal(size=leaf.shape) / leaf.shape[-1] ** 0.5), shapes)


def doubled(params: Params) -> Params:
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), params)


def convolved_plainly(layer: Params, values: np.ndarray) -> np.ndarray:
    side = values.shape[1]
    places = range(-(-side // 2))
    padding = max(2 * len(places) - 2 + 3 - side, 0)
    edge = (padding // 2, padding - padding // 2)
    padded = np.pad(values, ((0, 0), edge, edge, (0, 0)))
    windows = [
        [padded[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].reshape(len(values), -1) for c in places] for r in places
    ]
    return np.maximum(np.moveaxis(np.array(windows), 2, 0) @ layer["kernel"].T + layer["bias"], 0)


def applied_plainly(params: Params, images: np.ndarray, *, convolutional: bool = False) -> np.ndarray:
    values, layers = images, list(params["hidden"].values())
    if convolutional:
        side = round(images.shape[1] ** 0.5)
        values = convolved_plainly(layers.pop(0), values.reshape(-1, side, side, 1))
        values = convolved_plainly(layers.pop(0), values).reshape(len(images), -1)
    for layer in layers:
        values = np.maximum(values @ layer["kernel"].T + layer["bias"], 0)
    return np.hstack([values @ params[name]["kernel"].T + params[name]["bias"] for name in ("classes", "auxiliary")])


@BODIES
@pytest.mark.parametrize("num_pixels", [16, 49], ids=["even", "odd"])
def test_the_logits_are_those_of_ten_plain_lines(body, num_pixels):
    params, convolutional = random_network(body, num_pixels), body[0] == "convolutional"
    images = np.random.default_rng(1).uniform(-1, 1, (BATCH, num_pixels)).astype(np.float32)
    exact, size = (
        applied_plainly(*jax.tree.map(change, (doubled(params), images)), convolutional=convolutional)
        for change in (np.positive, np.abs)
    )
    layers = (*params["hidden"].values(), params["classes"])
    bound = EPS * size * sum(layer["kernel"].shape[1] + 2 for layer in layers)
    assert np.mean(bound) < 0.1 * np.mean(np.abs(exact))
    outputs = apply(params, images, convolutional=convolutional)
    assert outputs.shape == (BATCH, NUM_CLASSES + 3)
    assert np.all(np.abs(outputs - exact) <= bound)
    headless = {name: params[name] for name in ("hidden", "classes")}
    outputs = apply(headless, images, convolutional=convolutional)
    assert np.all(np.abs(outputs - exact[:, :NUM_CLASSES]) <= bound[:, :NUM_CLASSES])


@BODIES
def test_the_gradient_in_training_is_that_of_finite_differences_in_every_layer(body):
    """Of the plain lines in float64; along one layer's weights the logits are straight lines, up to ReLU's kinks."""
    params, convolutional = random_network(body, 16), body[0] == "convolutional"
    generator = np.random.default_rng(1)
    images = generator.uniform(-1, 1, (BATCH, 16)).astype(np.float32)
    slopes = generator.normal(size=(BATCH, NUM_CLASSES + 3)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(params: Params) -> jax.Array:
        logits = network.apply(
            params, jnp.asarray(images), network.fast_multiply("float32"), convolutional=convolutional
        )
        return jnp.vdot(slopes, logits)

    leaves, structure = jax.tree.flatten(doubled(params))
    for place, slope in enumerate(jax.tree.leaves(gradient(params))):
        step = 1e-6 * generator.normal(size=slope.shape)
        ends = [
            applied_plainly(
                structure.unflatten([*leaves[:place], leaves[place] + sign * step, *leaves[place + 1 :]]),
                images,
                convolutional=convolutional,
            )
            for sign in (1, -1)
        ]
        size = np.linalg.norm(slope) * np.linalg.norm(step)
        assert abs(np.vdot(slope, step) - np.vdot(slopes, ends[0] - ends[1]) / 2) < 1e-5 * size


def test_weights_start_normal_with_variance_one_over_fan_in_and_biases_at_zero():
    params = draw(jax.random.key(0), ("dense", 256, 256), 784, 3)
    for layer in (*params["hidden"].values(), params["classes"], params["auxiliary"]):
        kernel = np.array(layer["kernel"])
        scaled = kernel.ravel() * np.sqrt(kernel.shape[1])
        assert abs(np.mean(scaled)) < 4 / np.sqrt(scaled.size)
        assert abs(np.var(scaled) - 1) < 4 * np.sqrt(2 / scaled.size)
        assert stats.kstest(scaled, "norm").pvalue > 0.01
        assert not np.any(layer["bias"])
    assert [layer["kernel"].shape for layer in params["hidden"].values()] == [(256, 784), (256, 256)]
    assert [params[name]["kernel"].shape for name in ("classes", "auxiliary")] == [(NUM_CLASSES, 256), (3, 256)]


def test_a_convolutional_student_has_heads_of_the_teachers_shapes():
    student = draw(jax.random.key(0), ("convolutional", 64, 256), 784, 3)
    shapes = [layer["kernel"].shape for layer in student["hidden"].values()]
    assert shapes == [(8, 9), (16, 72), (64, 7 * 7 * 16), (256, 64)]
    assert [student[name]["kernel"].shape for name in ("classes", "auxiliary")] == [(NUM_CLASSES, 256), (3, 256)]
    for layer in student["hidden"].values():
        scaled = np.array(layer["kernel"]) * layer["kernel"].shape[1] ** 0.5
        assert abs(np.var(scaled) - 1) < 4 * np.sqrt(2 / scaled.size)


def test_a_scale_multiplies_every_weight():
    one, four = (draw(jax.random.key(0), ("dense", 16, 16), 16, 3, scale) for scale in (1.0, 4.0))
    jax.tree.map(lambda *pair: np.testing.assert_array_equal(4 * pair[0], pair[1]), one, four)


def test_a_layer_is_drawn_without_regard_to_depth_or_auxiliary_logits():
    def drawn(num_layers: int, num_auxiliary: int) -> Params:
        return draw(jax.random.key(0), ("dense", *[16] * num_layers), 16, num_auxiliary, 1.0)

    usual, deeper, broader = drawn(2, 3), drawn(3, 3), drawn(2, 5)
    for name in ("classes", "auxiliary"):
        np.testing.assert_array_equal(usual[name]["kernel"], deeper[name]["kernel"])
    for place in range(2):
        np.testing.assert_array_equal(usual["hidden"][place]["kernel"], deeper["hidden"][place]["kernel"])
        np.testing.assert_array_equal(usual["hidden"][place]["kernel"], broader["hidden"][place]["kernel"])
    np.testing.assert_array_equal(usual["classes"]["kernel"], broader["classes"]["kernel"])
    kernels = [
        np.ravel(leaf["kernel"])[:48] for leaf in (*deeper["hidden"].values(), deeper["classes"], deeper["auxiliary"])
    ]
    assert np.max(np.abs(np.corrcoef(kernels) - np.eye(5))) < 4 / np.sqrt(48)


@pytest.fixture
def usual_compilation() -> Iterator[None]:
    """What is fused, and so which products there must be, depends on the optimizations that tests do without."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@BODIES
def test_every_body_has_programs_for_its_products_in_every_precision_at_the_size_of_mnist(
    precision, body, usual_compilation
):
    params, convolutional = random_network(body, 784), body[0] == "convolutional"
    images = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (64, 784)), jnp.float32)

    @partial(jax.jit, static_argnums=1)
    @jax.grad
    def slope(params: Params, multiply: network.Multiply) -> jax.Array:
        return jnp.mean(network.apply(params, images, multiply, convolutional=convolutional) ** 2)

    gradient, exact = (slope(params, each) for each in (network.fast_multiply(precision), network.plain_multiply))
    rounding = float(jnp.finfo(jnp.bfloat16).eps)
    for layer, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(layer, other, atol=8 * rounding * np.max(np.abs(other)))
