"""Networks as pure functions of a tree of parameters, with independent random initializations."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

Params = Any
"""Any tree of arrays."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "sin": jnp.sin,
    "identity": lambda value: value,
}
"""Activation functions by name."""


class Network(NamedTuple):
    """A network split once into a pure function and a way to draw its parameters."""

    initialize: Callable[[jax.Array], Params]
    """Random key to parameters."""
    apply: Callable[[Params, jax.Array], jax.Array]
    """Parameters and inputs `(batch, features)` to outputs `(batch, outputs)`."""


class MLP(nnx.Module):
    r"""A multilayer perceptron with weights $\sim N(0, 1/\text{fan-in})$ and zero biases."""

    def __init__(self, sizes: Sequence[int], activation: str, *, rngs: nnx.Rngs):
        """Draw the layers.

        Args:
            sizes: Number of features, of units in each hidden layer, and of outputs.
            activation: A name in `ACTIVATIONS`.
            rngs: Source of the weights.
        """
        weights = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
        layers = [
            nnx.Linear(fan_in, fan_out, kernel_init=weights, param_dtype=float, rngs=rngs)
            for fan_in, fan_out in pairwise(sizes)
        ]
        self.hidden = nnx.List(layers[:-1])
        self.head = layers[-1]
        self.activation = ACTIVATIONS[activation]

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Compute the outputs.

        Args:
            inputs: Shape `(batch, features)`.

        Returns:
            Logits, shape `(batch, outputs)`.
        """
        for layer in self.hidden:
            inputs = self.activation(layer(inputs))
        return self.head(inputs)


def mlp(sizes: Sequence[int], activation: str = "tanh") -> Network:
    """Build a multilayer perceptron; without hidden layers it is a linear model.

    Args:
        sizes: Number of features, of units in each hidden layer, and of outputs.
        activation: A name in `ACTIVATIONS`.

    Returns:
        The network. Its parameters are `{"hidden": {0: …}, "head": {"kernel": …, "bias": …}}`, in JAX's default
        floating-point type.
    """
    return split(lambda key: MLP(sizes, activation, rngs=nnx.Rngs(key)))


def split(build: Callable[[jax.Array], nnx.Module]) -> Network:
    """Split a Flax NNX module into a pure function and its parameters.

    Args:
        build: Random key to module; the module maps inputs `(batch, features)` to outputs `(batch, outputs)`.

    Returns:
        The network; its parameters are plain nested dictionaries of arrays.
    """
    graph, _ = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))

    def initialize(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key)))

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        return nnx.merge(graph, params)(inputs)

    return Network(initialize, apply)
