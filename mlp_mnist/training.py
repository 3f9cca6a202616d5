"""Training: Adam over shuffled batches, for one network or for a stack of networks side by side."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.networks import Params

BatchLoss = Callable[[Params, jax.Array, jax.Array], jax.Array]
"""Parameters, example indices `(batch,)` and their weights `(batch,)`, which sum to 1, to a scalar."""


def train(
    loss: BatchLoss,
    params: Params,
    key: jax.Array,
    *,
    num_examples: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> Params:
    """Minimize a loss by Adam, over all examples in a fresh order every epoch.

    The last batch of an epoch takes what is left: it is filled up with examples of weight 0. Adam acts on every
    parameter alone, so networks stacked along a leading axis, whose losses are summed, train as each would by itself.

    Args:
        loss: Loss of a batch.
        params: Parameters at the start.
        key: Random key of the orders.
        num_examples: Number of examples.
        epochs: Passes over all examples.
        batch_size: Examples in a step.
        learning_rate: Step size of Adam.

    Returns:
        Parameters at the end.
    """
    optimizer = optax.adam(learning_rate)
    num_steps = -(-num_examples // batch_size)
    padding = num_steps * batch_size - num_examples
    weights = np.ones(num_examples + padding, np.float32)
    weights[num_examples:] = 0
    batch_weights = weights.reshape(num_steps, batch_size)
    batch_weights /= batch_weights.sum(axis=1, keepdims=True)

    def step(state: tuple[Params, optax.OptState], batch: tuple[jax.Array, jax.Array]) -> tuple:
        params, moments = state
        gradient = jax.grad(loss)(params, *batch)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    def epoch(state: tuple[Params, optax.OptState], key: jax.Array) -> tuple:
        order = jnp.pad(jax.random.permutation(key, num_examples), (0, padding))
        return jax.lax.scan(step, state, (order.reshape(num_steps, batch_size), jnp.array(batch_weights)))

    state = (params, optimizer.init(params))
    (params, _), _ = jax.lax.scan(epoch, state, jax.random.split(key, epochs))
    return params
