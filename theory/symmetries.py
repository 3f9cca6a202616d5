r"""Symmetries of multilayer perceptrons: other parameters, the same function.

Hidden units may be reordered under any activation, change sign under an odd one (tanh), and be scaled by positive
factors under a ReLU. Each is a linear map of the parameters, and orthogonal but for the scaling.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from theory.problem import Params


class UnitMap(NamedTuple):
    """A reordering and a rescaling of the hidden units."""

    orders: Sequence[jax.Array]
    """For each hidden layer, which old unit stands at each place, shape `(units,)`."""
    factors: Sequence[jax.Array]
    """For each hidden layer, the factor on each unit's output in the new order, shape `(units,)`, none zero."""

    def __call__(self, params: Params) -> Params:
        """Move parameters, or a direction in their space.

        Args:
            params: A tree like the parameters of a multilayer perceptron.

        Returns:
            Incoming weights and biases multiplied by the factors, outgoing weights divided by them.
        """
        layers = layers_of(params)
        for index, (order, factor) in enumerate(zip(self.orders, self.factors, strict=True)):
            above = layers[index + 1]
            layers[index] = enter(layers[index], order, factor)
            layers[index + 1] = above | {"kernel": above["kernel"][order] / factor[:, None]}
        return {"hidden": dict(enumerate(layers[:-1])), "head": layers[-1]}

    def inverse(self) -> "UnitMap":
        """Undo.

        Returns:
            The map that takes moved parameters back.
        """
        orders = [jnp.argsort(order) for order in self.orders]
        return UnitMap(orders, [1 / factor[order] for factor, order in zip(self.factors, orders, strict=True)])


def layers_of(params: Params) -> list[dict[str, jax.Array]]:
    """List the layers of a multilayer perceptron.

    Args:
        params: Its parameters, as `networks.mlp` lays them out.

    Returns:
        Kernel and bias of each hidden layer, then of the head.
    """
    return [*(params["hidden"][index] for index in range(len(params["hidden"]))), params["head"]]


def enter(layer: dict[str, jax.Array], order: jax.Array, factor: jax.Array) -> dict[str, jax.Array]:
    """Reorder and scale what enters the units of a layer.

    Args:
        layer: Kernel `(inputs, units)` and bias `(units,)`.
        order: Which old unit stands at each place, shape `(units,)`.
        factor: Factor on each unit in the new order, shape `(units,)`.

    Returns:
        The layer.
    """
    return {"kernel": layer["kernel"][:, order] * factor[None, :], "bias": layer["bias"][order] * factor}


def enter_first(unit_map: UnitMap, params: Params) -> Params:
    """Move what enters the first hidden layer and forget what leaves it: not a symmetry, a control.

    Args:
        unit_map: The map.
        params: Parameters of a multilayer perceptron.

    Returns:
        Parameters of another function.
    """
    first = enter(params["hidden"][0], unit_map.orders[0], unit_map.factors[0])
    return params | {"hidden": params["hidden"] | {0: first}}


def hidden_sizes(params: Params) -> list[int]:
    """Count the units of each hidden layer.

    Args:
        params: Parameters of a multilayer perceptron.

    Returns:
        Units, layer by layer.
    """
    return [len(layer["bias"]) for layer in layers_of(params)[:-1]]


def random_permutation(key: jax.Array, hidden: Sequence[int]) -> UnitMap:
    """Shuffle the units of every hidden layer.

    Args:
        key: Random key.
        hidden: Units in each hidden layer.

    Returns:
        The map.
    """
    keys = jax.random.split(key, len(hidden))
    orders = [jax.random.permutation(key, units) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap(orders, [jnp.ones(units) for units in hidden])


def random_signs(key: jax.Array, hidden: Sequence[int]) -> UnitMap:
    """Negate every hidden unit with probability one half: a symmetry if the activation is odd.

    Args:
        key: Random key.
        hidden: Units in each hidden layer.

    Returns:
        The map.
    """
    keys = jax.random.split(key, len(hidden))
    signs = [jax.random.rademacher(key, (units,), float) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap([jnp.arange(units) for units in hidden], signs)


def random_rescaling(key: jax.Array, hidden: Sequence[int], spread: float | jax.Array) -> UnitMap:
    r"""Scale every hidden unit by $s$ with $\log s \sim N(0, \text{spread}^2)$: a symmetry if the activation is a ReLU.

    Args:
        key: Random key.
        hidden: Units in each hidden layer.
        spread: Standard deviation of the factors' logarithm.

    Returns:
        The map.
    """
    keys = jax.random.split(key, len(hidden))
    factors = [jnp.exp(spread * jax.random.normal(key, (units,))) for key, units in zip(keys, hidden, strict=True)]
    return UnitMap([jnp.arange(units) for units in hidden], factors)
