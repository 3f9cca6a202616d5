from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_mnist.training import OPTIMIZERS, BatchLoss, State, start_training, train_epoch
from theory.problem import Params

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


def epoch_keys(seed: int, epochs: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), epochs)


def trained(
    loss: BatchLoss = squared_error,
    init: Params = start,
    *,
    seed: int = 0,
    epochs: int = 3,
    batch_size: int = 8,
    rate: float = 0.1,
    optimizer: str = "adam",
    **options: Callable[[Params], Params],
) -> State:
    epoch = partial(train_epoch, loss, optimizer=optimizer, num_examples=NUM_EXAMPLES, batch_size=batch_size, **options)
    state = start_training(jax.tree.map(jnp.asarray, init), optimizer)
    compiled = jax.jit(lambda state, key: epoch(state, key, jnp.asarray(rate)))
    for key in epoch_keys(seed, epochs):
        state = compiled(state, key)
    return state


def step_plainly(optimizer: str, gradient: np.ndarray, step: int, first: np.ndarray, second: np.ndarray):
    """The way of one step in units of its size, and what is remembered."""
    match optimizer:
        case "adam":
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            return -first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8), first, second
        case "momentum":
            return -(gradient + 0.9 * first), gradient + 0.9 * first, second
        case "sgd":
            return -gradient, first, second
        case _:
            return -np.sign(gradient), first, second


def trained_plainly(*, seed=0, epochs=3, batch_size=8, rate=0.1, optimizer="adam") -> np.ndarray:
    """The last batch of an epoch is simply shorter."""
    params, first, second, step = start, np.zeros(3), np.zeros(3), 0
    for key in epoch_keys(seed, epochs):
        order = np.array(jax.random.permutation(key, NUM_EXAMPLES))
        for begin in range(0, NUM_EXAMPLES, batch_size):
            batch = order[begin : begin + batch_size]
            gradient = features[batch].T @ (features[batch] @ params - targets[batch]) / len(batch)
            step += 1
            way, first, second = step_plainly(optimizer, gradient, step, first, second)
            params = params + rate * way
    return params


def seen_batches(*, seed: int, batch_size: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights of every step, shape `(epochs, steps, batch)`."""
    seen = []

    def watched(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        jax.debug.callback(lambda *batch: seen.append(batch), indices, weights, ordered=True)
        return squared_error(params, indices, weights)

    trained(watched, seed=seed, batch_size=batch_size, epochs=epochs)
    jax.effects_barrier()
    indices, weights = (
        np.array(each).reshape(epochs, -1, min(batch_size, NUM_EXAMPLES)) for each in zip(*seen, strict=True)
    )
    return indices, weights


@pytest.mark.parametrize("batch_size", [5, 8, 20, 32], ids=["whole", "ragged", "full", "oversized"])
def test_training_equals_adam_written_out_over_the_same_batches(batch_size):
    num_steps = 3 * -(-NUM_EXAMPLES // batch_size)
    moved, expected = trained(batch_size=batch_size).params, trained_plainly(batch_size=batch_size)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=ROUNDING * 0.1 * num_steps)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_the_one_written_out(optimizer):
    moved, expected = trained(optimizer=optimizer).params, trained_plainly(optimizer=optimizer)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=ROUNDING * 0.1 * 9)
    others = [trained_plainly(optimizer=other) for other in OPTIMIZERS if other != optimizer]
    assert min(np.max(np.abs(expected - other)) for other in others) > 0.01


def test_filling_up_the_last_batch_with_weight_would_show():
    def careless(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        return squared_error(params, indices, jnp.ones_like(weights) / len(weights))

    assert np.max(np.abs(trained(careless).params - trained_plainly())) > 1e4 * ROUNDING * 0.1 * 9


@pytest.mark.parametrize("batch_size", [5, 8, 20, 32])
def test_every_example_counts_once_an_epoch_and_padding_not_at_all(batch_size):
    indices, weights = seen_batches(seed=0, batch_size=batch_size, epochs=3)
    for epoch_indices, epoch_weights in zip(indices, weights, strict=True):
        assert sorted(epoch_indices[epoch_weights > 0]) == list(range(NUM_EXAMPLES))
        for step_weights in epoch_weights:
            counted = np.sum(step_weights > 0)
            np.testing.assert_array_equal(step_weights[step_weights > 0], np.float32(1) / np.float32(counted))
            assert np.all(step_weights[counted:] == 0)


def test_a_batch_larger_than_the_set_is_the_set_and_takes_no_more_room():
    np.testing.assert_array_equal(trained(batch_size=2**31 - 1).params, trained(batch_size=NUM_EXAMPLES).params)


def test_an_epochs_order_follows_from_its_key_alone():
    first, again, other = (seen_batches(seed=seed, batch_size=20, epochs=3)[0][:, 0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other]), axis=0)) == 6


def test_networks_in_one_tree_train_as_each_would_alone():
    def both(pair: list[jax.Array], indices: jax.Array, weights: jax.Array) -> jax.Array:
        left, right = (squared_error(params, indices, weights) for params in pair)
        return left + 100 * right

    left, right = trained(both, [start, -start]).params
    np.testing.assert_allclose(left, trained().params, rtol=1e-12)
    scaled = trained(lambda *batch: 100 * squared_error(*batch), -start).params
    np.testing.assert_allclose(right, scaled, rtol=1e-12)


def test_the_first_step_moves_every_parameter_by_the_learning_rate_against_its_gradient():
    gradient = features.T @ (features @ start - targets) / NUM_EXAMPLES
    assert np.min(np.abs(gradient)) > 1e-3
    moved = trained(epochs=1, batch_size=20, rate=0.01).params
    np.testing.assert_allclose(moved - start, -0.01 * np.sign(gradient), rtol=1e-8 / 1e-3)


def test_without_learning_rate_or_gradient_nothing_moves():
    np.testing.assert_array_equal(trained(rate=0.0).params, start)
    np.testing.assert_array_equal(trained(lambda params, indices, weights: weights.sum()).params, start)


def test_what_is_restricted_are_the_steps_and_not_what_the_optimizer_remembers():
    kept = np.array([1.0, 0.0, 1.0])
    moved = trained(restrict=lambda updates: updates * kept, batch_size=20, epochs=1)
    free = trained(batch_size=20, epochs=1)
    np.testing.assert_array_equal(moved.params, np.where(kept, free.params, start))
    jax.tree.map(np.testing.assert_array_equal, moved.moments, free.moments)


def test_long_training_ends_at_the_least_squares_solution():
    noiseless = features @ np.array([1.0, -2.0, 3.0])

    def loss(params: jax.Array, indices: jax.Array, weights: jax.Array) -> jax.Array:
        return weights @ (jnp.array(features)[indices] @ params - jnp.array(noiseless)[indices]) ** 2

    np.testing.assert_allclose(trained(loss, epochs=1000, rate=0.05).params, [1.0, -2.0, 3.0], atol=1e-6)
