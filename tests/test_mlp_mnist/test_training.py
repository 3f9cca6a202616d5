from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_mnist.training import BatchLoss, train
from theory.networks import Params

NUM_EXAMPLES = 20
generator = np.random.default_rng(0)
features = generator.normal(size=(NUM_EXAMPLES, 3))
targets = generator.normal(size=NUM_EXAMPLES)
start = generator.normal(size=3)
ROUNDING = 10 * float(np.finfo(np.float32).eps)
"""Relative error of the batches' weights, which are float32, and so of a step."""


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def squared_error(coefficients: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
    """Linear regression."""
    residual = jnp.array(features)[indices] @ coefficients - jnp.array(targets)[indices]
    return weights @ residual**2 / 2


def fitted(loss: BatchLoss = squared_error, init: Params = start, *, seed=0, epochs=3, batch_size=8, learning_rate=0.1):
    init = jax.tree.map(jnp.asarray, init)
    return train(
        loss,
        init,
        jax.random.key(seed),
        num_examples=NUM_EXAMPLES,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


def fitted_plainly(features, targets, *, seed=0, epochs=3, batch_size=8, learning_rate=0.1):
    """Adam, written out; the last batch of an epoch is simply shorter."""
    params, first, second, step = start, 0.0, 0.0, 0
    for key in jax.random.split(jax.random.key(seed), epochs):
        order = np.array(jax.random.permutation(key, NUM_EXAMPLES))
        for begin in range(0, NUM_EXAMPLES, batch_size):
            batch = order[begin : begin + batch_size]
            gradient = features[batch].T @ (features[batch] @ params - targets[batch]) / len(batch)
            step += 1
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            params = params - learning_rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return params


def seen_batches(*, seed: int, batch_size: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights of every step, shape `(epochs, steps, batch)`."""
    seen = []

    def watched(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        jax.debug.callback(lambda *batch: seen.append(batch), indices, weights, ordered=True)
        return squared_error(params, indices, weights)

    fitted(watched, seed=seed, batch_size=batch_size, epochs=epochs)
    jax.effects_barrier()
    indices, weights = (np.array(each).reshape(epochs, -1, batch_size) for each in zip(*seen, strict=True))
    return indices, weights


@pytest.mark.parametrize("batch_size", [5, 8, 20, 32], ids=["whole", "ragged", "full", "oversized"])
def test_training_equals_adam_written_out_over_the_same_batches(batch_size):
    moved = fitted(batch_size=batch_size)
    num_steps = 3 * -(-NUM_EXAMPLES // batch_size)
    expected = fitted_plainly(features, targets, batch_size=batch_size)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=ROUNDING * 0.1 * num_steps)


def test_filling_up_the_last_batch_with_weight_would_show():
    def careless(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        return squared_error(params, indices, jnp.ones_like(weights) / len(weights))

    expected = fitted_plainly(features, targets)
    assert np.max(np.abs(fitted(careless) - expected)) > 1e4 * ROUNDING * 0.1 * 9


@pytest.mark.parametrize("batch_size", [5, 8, 20, 32])
def test_every_example_counts_once_an_epoch_and_padding_not_at_all(batch_size):
    indices, weights = seen_batches(seed=0, batch_size=batch_size, epochs=3)
    for epoch_indices, epoch_weights in zip(indices, weights, strict=True):
        assert sorted(epoch_indices[epoch_weights > 0]) == list(range(NUM_EXAMPLES))
        for step_weights in epoch_weights:
            counted = np.sum(step_weights > 0)
            np.testing.assert_array_equal(step_weights[step_weights > 0], np.float32(1) / np.float32(counted))
            assert np.all(step_weights[counted:] == 0)


def test_orders_are_fresh_every_epoch_and_follow_from_the_key_alone():
    first, again, other = (seen_batches(seed=seed, batch_size=20, epochs=3)[0][:, 0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other]), axis=0)) == 6


def test_networks_in_one_tree_train_as_each_would_alone():
    def both(pair: list[jax.Array], indices: jax.Array, weights: jax.Array) -> jax.Array:
        left, right = (squared_error(params, indices, weights) for params in pair)
        return left + 100 * right

    left, right = fitted(both, [start, -start])
    np.testing.assert_allclose(left, fitted(), rtol=1e-12)
    scaled = fitted(lambda *batch: 100 * squared_error(*batch), -start)
    np.testing.assert_allclose(right, scaled, rtol=1e-12)


def test_the_first_step_moves_every_parameter_by_the_learning_rate_against_its_gradient():
    gradient = features.T @ (features @ start - targets) / NUM_EXAMPLES
    assert np.min(np.abs(gradient)) > 1e-3
    moved = fitted(epochs=1, batch_size=20, learning_rate=0.01)
    np.testing.assert_allclose(moved - start, -0.01 * np.sign(gradient), rtol=1e-8 / 1e-3)


def test_without_learning_rate_or_gradient_nothing_moves():
    np.testing.assert_array_equal(fitted(learning_rate=0.0), start)
    np.testing.assert_array_equal(fitted(lambda params, indices, weights: weights.sum()), start)


def test_long_training_ends_at_the_least_squares_solution():
    noiseless = features @ np.array([1.0, -2.0, 3.0])

    def loss(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        return weights @ (jnp.array(features)[indices] @ params - jnp.array(noiseless)[indices]) ** 2

    np.testing.assert_allclose(fitted(loss, epochs=1000, learning_rate=0.05), [1.0, -2.0, 3.0], atol=1e-6)
