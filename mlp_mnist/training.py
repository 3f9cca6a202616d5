"""Training: an epoch of any optimizer over shuffled batches, for one network or a list of networks side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
    moments: Any
    """What the optimizer remembers."""


def start_training(params: Params, optimizer: str) -> State:
    """Begin with fresh moments of an optimizer in `OPTIMIZERS`."""
    return State(params, OPTIMIZERS[optimizer](0.0).init(params))


def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function over seeds, the leading axis of all its arguments.

    One seed alone is spared `vmap`, whose batched products are slow on processors.
    """

    def mapped(*arguments: Any) -> Any:
        if len(jax.tree.leaves(arguments)[0]) == 1:
            result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
            return jax.tree.map(lambda leaf: leaf[None], result)
        return jax.vmap(function)(*arguments)

    return mapped


@partial(jax.jit, static_argnums=1)
def start_together(params: Params, optimizer: str) -> State:
    """Begin the training of all seeds."""
    return over_seeds(lambda params: start_training(params, optimizer))(params)


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
    parameter alone, so networks in one tree, whose losses are summed, train as each would by itself. `restrict` changes
    the steps before they are taken.
    """
    update = OPTIMIZERS[optimizer](rate).update
    batch_size = min(batch_size, num_examples)
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
