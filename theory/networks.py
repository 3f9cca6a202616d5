"""Networks as pure functions of a tree of parameters, with independent random initializations."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from theory.problem import BatchOutputs, Inputs, Params

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "sin": jnp.sin,
    "identity": lambda value: value,
}
"""Activation functions by name."""


FAN_IN = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
r"""Weights $\sim N(0, 1/\text{fan-in})$."""


class Network(NamedTuple):
    """A network split once into a pure function and a way to draw its parameters."""

    initialize: Callable[[jax.Array], Params]
    """Random key to parameters."""
    apply: Callable[[Params, Inputs], BatchOutputs]
    """Parameters and inputs to outputs."""


class MLP(nnx.Module):
    r"""A multilayer perceptron with weights $\sim N(0, 1/\text{fan-in})$ and zero biases."""

    def __init__(self, sizes: Sequence[int], activation: str, *, rngs: nnx.Rngs):
        layers = [
            nnx.Linear(fan_in, fan_out, kernel_init=FAN_IN, param_dtype=float, rngs=rngs)
            for fan_in, fan_out in pairwise(sizes)
        ]
        self.hidden = nnx.List(layers[:-1])
        self.head = layers[-1]
        self.activation = ACTIVATIONS[activation]

    def __call__(self, inputs: Float[Array, "batch features"]) -> BatchOutputs:
        """Compute the outputs."""
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


class ConvolutionalNetwork(nnx.Module):
    """Two one-dimensional convolutions over the features, and a linear head on all their channels.

    A convolution is a linear layer on `windows`: under `vmap` over parameters XLA's own is slower by a factor of 100.
    """

    def __init__(self, num_features: int, channels: int, num_outputs: int, activation: str, *, rngs: nnx.Rngs):
        make = {"kernel_init": FAN_IN, "param_dtype": float, "rngs": rngs}
        self.first = nnx.Linear(3, channels, **make)
        self.second = nnx.Linear(3 * channels, channels, **make)
        self.head = nnx.Linear(num_features * channels, num_outputs, **make)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, inputs: Float[Array, "batch features"]) -> BatchOutputs:
        """Compute the outputs."""
        signal = self.activation(self.first(windows(inputs[..., None])))
        signal = self.activation(self.second(windows(signal)))
        return self.head(signal.reshape(len(inputs), -1))


def windows(signal: Float[Array, "batch length channels"]) -> Float[Array, "batch length 3*channels"]:
    """Put each place of a signal together with its two neighbors, zeros beyond the ends."""
    padded = jnp.pad(signal, ((0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, :-2], signal, padded[:, 2:]], axis=-1)


Heads = Float[Array, "batch tokens heads depth"]


def attend(queries: Heads, keys: Heads, values: Heads, **_: Any) -> Heads:
    """Average values by the softmax of scaled inner products, in the precision of the inputs.

    JAX's own `dot_product_attention` takes its logits in single precision, which hides every order of a remainder.
    """
    logits = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / queries.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits), values)


class AttentionBlock(nnx.Module):
    """A transformer block over the features as tokens: layer norms, self-attention, a hidden layer, a linear head."""

    def __init__(
        self, num_features: int, width: int, num_heads: int, num_outputs: int, activation: str, *, rngs: nnx.Rngs
    ):
        make = {"kernel_init": FAN_IN, "param_dtype": float, "rngs": rngs}
        self.embedding = nnx.Linear(1, width, **make)
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (num_features, width)))
        self.first_norm = nnx.LayerNorm(width, param_dtype=float, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads, width, attention_fn=attend, decode=False, **make)
        self.second_norm = nnx.LayerNorm(width, param_dtype=float, rngs=rngs)
        self.hidden = nnx.Linear(width, 2 * width, **make)
        self.back = nnx.Linear(2 * width, width, **make)
        self.head = nnx.Linear(width, num_outputs, **make)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, inputs: Float[Array, "batch features"]) -> BatchOutputs:
        """Compute the outputs."""
        tokens = self.embedding(inputs[..., None]) + self.positions.get_value()[None]
        tokens += self.attention(self.first_norm(tokens))
        tokens += self.back(self.activation(self.hidden(self.second_norm(tokens))))
        return self.head(jnp.mean(tokens, axis=1))


def convolutional(num_features: int, channels: int, num_outputs: int, activation: str = "tanh") -> Network:
    """Build a small convolutional network over one-dimensional signals.

    Args:
        num_features: Length of the signal.
        channels: Channels of each of its two convolutions.
        num_outputs: Number of outputs.
        activation: A name in `ACTIVATIONS`.

    Returns:
        The network; its last layer is called `head`, as in `mlp`.
    """
    sizes = (num_features, channels, num_outputs)
    return split(lambda key: ConvolutionalNetwork(*sizes, activation, rngs=nnx.Rngs(key)))


def attention(num_features: int, width: int, num_heads: int, num_outputs: int, activation: str = "tanh") -> Network:
    """Build one block of self-attention with layer norms, whose tokens are the features.

    Args:
        num_features: Number of tokens.
        width: Width of a token's representation.
        num_heads: Attention heads.
        num_outputs: Number of outputs.
        activation: A name in `ACTIVATIONS`.

    Returns:
        The network; its last layer is called `head`, as in `mlp`.
    """
    return split(
        lambda key: AttentionBlock(num_features, width, num_heads, num_outputs, activation, rngs=nnx.Rngs(key))
    )


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

    def apply(params: Params, inputs: Inputs) -> BatchOutputs:
        return nnx.merge(graph, params)(inputs)

    return Network(initialize, apply)
