"""Symmetries of a ReLU network: other parameters, the same function."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from theory.problem import Params


class UnitMap(NamedTuple):
    """A reordering and a rescaling of the hidden units; acts linearly on parameters and keeps the function."""

    orders: Sequence[jax.Array]
    """For each hidden layer, which old unit stands at each place, shape `(units,)`."""
    scales: Sequence[jax.Array]
    """For each hidden layer, positive factor on each unit's output, in the new order, shape `(units,)`."""

    def __call__(self, params: Params) -> Params:
        """Move parameters to others of the same function: incoming weights and biases up, outgoing weights down."""
        hidden, heads = dict(params["hidden"]), {name: params[name] for name in params if name != "hidden"}

        def leave(layer: Params, order: jax.Array, scale: jax.Array) -> Params:
            return layer | {"kernel": layer["kernel"][:, order] / scale[None, :]}

        for index, (order, scale) in enumerate(zip(self.orders, self.scales, strict=True)):
            layer = hidden[index]
            hidden[index] = {"kernel": layer["kernel"][order] * scale[:, None], "bias": layer["bias"][order] * scale}
            if index + 1 in hidden:
                hidden[index + 1] = leave(hidden[index + 1], order, scale)
            else:
                heads = {name: leave(head, order, scale) for name, head in heads.items()}
        return {"hidden": hidden, **heads}

    def inverse(self) -> "UnitMap":
        """Make the map that takes moved parameters back."""
        orders = [jnp.argsort(order) for order in self.orders]
        return UnitMap(orders, [1 / scale[order] for scale, order in zip(self.scales, orders, strict=True)])


def identity(hidden: Sequence[int]) -> UnitMap:
    """Move nothing."""
    return UnitMap([jnp.arange(units) for units in hidden], [jnp.ones(units) for units in hidden])


def random_permutation(key: jax.Array, hidden: Sequence[int]) -> UnitMap:
    """Shuffle the units of every hidden layer."""
    keys = jax.random.split(key, len(hidden))
    orders = [jax.random.permutation(key, units) for key, units in zip(keys, hidden, strict=True)]
    return identity(hidden)._replace(orders=orders)


def random_rescaling(key: jax.Array, hidden: Sequence[int], spread: float) -> UnitMap:
    r"""Scale every hidden unit by $s$ with $\log s \sim N(0, \text{spread}^2)$.

    The function is the same since a ReLU commutes with positive factors.
    """
    keys = jax.random.split(key, len(hidden))
    scales = [jnp.exp(spread * jax.random.normal(key, (units,))) for key, units in zip(keys, hidden, strict=True)]
    return identity(hidden)._replace(scales=scales)
