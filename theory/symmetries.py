r"""Symmetries of multilayer perceptrons: other parameters, the same function.

Hidden units may be reordered under any activation, change sign under an odd one (tanh), and be scaled by positive
factors under a ReLU. Each is a linear map of the parameters, and orthogonal but for the scaling.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from theory.problem import Params

Layer = dict[str, jax.Array]
"""Kernel `(inputs, units)` and bias `(units,)`."""


class UnitMap(NamedTuple):
    """A reordering and a rescaling of the hidden units."""

    orders: Sequence[Int[Array, " units"]]
    """For each hidden layer, which old unit stands at each place."""
    factors: Sequence[Float[Array, " units"]]
    """For each hidden layer, the factor on each unit's output in the new order, none zero."""

    def __call__(self, params: Params) -> Params:
        """Move parameters or directions: incoming weights times the factors, outgoing ones divided by them."""
        layers = layers_of(params)
        for index, (order, factor) in enumerate(zip(self.orders, self.factors, strict=True)):
            above = layers[index + 1]
            layers[index] = enter(layers[index], order, factor)
            layers[index + 1] = above | {"kernel": above["kernel"][order] / factor[:, None]}
        return {"hidden": dict(enumerate(layers[:-1])), "head": layers[-1]}

    def inverse(self) -> "UnitMap":
        """The map that takes moved parameters back."""
        orders = [jnp.argsort(order) for order in self.orders]
        return UnitMap(orders, [1 / factor[order] for factor, order in zip(self.factors, orders, strict=True)])


def layers_of(params: Params) -> list[Layer]:
    """List the layers of a multilayer perceptron as `networks.mlp` lays them out, the head last."""
    return [*(params["hidden"][index] for index in range(len(params["hidden"]))), params["head"]]


def enter(layer: Layer, order: Int[Array, " units"], factor: Float[Array, " units"]) -> Layer:
    """Reorder and scale what enters the units of a layer."""
    return {"kernel": layer["kernel"][:, order] * factor[None, :], "bias": layer["bias"][order] * factor}


def enter_first(unit_map: UnitMap, params: Params) -> Params:
    """Move what enters the first hidden layer and forget what leaves it: not a symmetry, a control."""
    first = enter(params["hidden"][0], unit_map.orders[0], unit_map.factors[0])
    return params | {"hidden": params["hidden"] | {0: first}}


def hidden_sizes(params: Params) -> list[int]:
    """Count the units of each hidden layer."""
    return [len(layer["bias"]) for layer in layers_of(params)[:-1]]


def random_permutation(key: jax.Array, hidden: Sequence[int]) -> UnitMap:
    """Shuffle the units of every hidden layer."""
    keys = jax.random.split(key, len(hidden))
    orders = [jax.random.permutation(key, units) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap(orders, [jnp.ones(units) for units in hidden])


def random_signs(key: jax.Array, hidden: Sequence[int]) -> UnitMap:
    """Negate every hidden unit with probability one half: a symmetry if the activation is odd."""
    keys = jax.random.split(key, len(hidden))
    signs = [jax.random.rademacher(key, (units,), float) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap([jnp.arange(units) for units in hidden], signs)


def random_rescaling(key: jax.Array, hidden: Sequence[int], spread: ArrayLike) -> UnitMap:
    r"""Scale every hidden unit by $s$, $\log s \sim N(0, \text{spread}^2)$: a symmetry if the activation is a ReLU."""
    keys = jax.random.split(key, len(hidden))
    factors = [jnp.exp(spread * jax.random.normal(key, (units,))) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap([jnp.arange(units) for units in hidden], factors)
