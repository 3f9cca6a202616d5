"""Training: an epoch of any optimizer over shuffled batches, for one network or for a list of networks side by side."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.problem import Params

BatchLoss = Callable[[Params, jax.Array, jax.Array], jax.Array]
"""Parameters, example indices `(batch,)` and their weights `(batch,)`, which sum to 1, to a scalar."""

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "sign": optax.sign_sgd,
}
"""Step size to optimizer, by name."""


class State(NamedTuple):
    """A network, or a tree of networks, in training."""

    params: Params
    """Parameters."""
    moments: optax.OptState
    """What the optimizer remembers."""


def start_training(params: Params, optimizer: str) -> State:
    """Begin with fresh moments.

    Args:
        params: Parameters.
        optimizer: A name in `OPTIMIZERS`.

    Returns:
        The state before the first step.
    """
    return State(params, OPTIMIZERS[optimizer](0.0).init(params))


def train_epoch(
    loss: BatchLoss,
    state: State,
    key: jax.Array,
    rate: jax.Array,
    *,
    optimizer: str,
    num_examples: int,
    batch_size: int,
    restrict: Callable[[Params], Params] = lambda updates: updates,
) -> State:
    """Minimize a loss over all examples once, in random order.

    The last batch takes what is left: it is filled up with examples of weight 0. Every optimizer here acts on each
    parameter alone, so networks in one tree, whose losses are summed, train as each would by itself.

    Args:
        loss: Loss of a batch.
        state: The state before.
        key: Random key of the order.
        rate: Step size, shape `()`.
        optimizer: A name in `OPTIMIZERS`.
        num_examples: Number of examples.
        batch_size: Examples in a step.
        restrict: What becomes of the steps before they are taken.

    Returns:
        The state after.
    """
    update = OPTIMIZERS[optimizer](rate).update
    num_steps = -(-num_examples // batch_size)
    padding = num_steps * batch_size - num_examples
    weights = np.ones(num_examples + padding, np.float32)
    weights[num_examples:] = 0
    batch_weights = weights.reshape(num_steps, batch_size)
    batch_weights /= batch_weights.sum(axis=1, keepdims=True)

    def step(state: State, batch: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
        gradient = jax.grad(loss)(state.params, *batch)
        updates, moments = update(gradient, state.moments, state.params)
        return State(optax.apply_updates(state.params, restrict(updates)), moments), None

    order = jnp.pad(jax.random.permutation(key, num_examples), (0, padding)).reshape(num_steps, batch_size)
    return jax.lax.scan(step, state, (order, jnp.array(batch_weights)))[0]
