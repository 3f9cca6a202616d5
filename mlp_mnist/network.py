r"""The classifier with auxiliary logits, laid out for speed: features are rows, examples are columns.

A layer is $h' = W h + b$ with weights `(units, inputs)` and activations `(units, batch)`. So the products of a layer,
forward, for the weights' gradients and for the inputs', are large blocks times blocks that processors do at their peak;
with examples as rows the weights' gradients are slower, in bfloat16 by far.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from mlp_mnist.protocol import NUM_CLASSES, Shared
from theory.networks import FAN_IN, Params

CHANNELS = (8, 16)
"""Channels of the convolutional student's two layers, each of windows 3 by 3 at every second place."""

WINDOW = 3
"""Rows and columns of a window."""

SHARED_LAYERS: dict[Shared, tuple[str, ...]] = {
    "everything": ("hidden", "classes", "auxiliary"),
    "heads": ("classes", "auxiliary"),
    "class head": ("classes",),
    "auxiliary head": ("auxiliary",),
    "nothing": (),
}
"""Which parts of the parameters are the teacher's."""

Multiply = Callable[[int, jax.Array, jax.Array], jax.Array]
"""The axis of the activations that holds inputs, weights `(units, inputs)` and activations to their product."""

IMAGES, VALUES = 1, 0
"""Where inputs lie: images are rows, `(batch, pixels)`; activations are columns, `(units, batch)`."""


def draw_layer(key: jax.Array, units: int, inputs: int, scale: float) -> Params:
    r"""Draw a layer with weights $\sim N(0, \text{scale}^2/\text{fan-in})$ of shape `(units, inputs)`, zero biases."""
    return {"kernel": scale * FAN_IN(key, (inputs, units), jnp.float32).T, "bias": jnp.zeros(units)}


def initialize(key: jax.Array, body: tuple, num_pixels: int, num_auxiliary: int, scale: float = 1.0) -> Params:
    """Draw a network, each layer from a key of its own: neither depth nor auxiliary logits change the others.

    `body` is `dense` or `convolutional`, then the units of the hidden layers; parameters are layers under `hidden`,
    `classes` and `auxiliary`.
    """
    kind, *units = body
    class_key, auxiliary_key, hidden_key = jax.random.split(key, 3)
    if kind == "convolutional":
        side = round(num_pixels**0.5)
        patch, last = WINDOW**2, math.ceil(side / 4) ** 2 * CHANNELS[1]
        shapes = [
            (CHANNELS[0], patch),
            (CHANNELS[1], patch * CHANNELS[0]),
            *((b, a) for a, b in pairwise((last, *units))),
        ]
    else:
        shapes = [(after, before) for before, after in pairwise((num_pixels, *units))]
    return {
        "hidden": {
            place: draw_layer(jax.random.fold_in(hidden_key, place), *shape, scale)
            for place, shape in enumerate(shapes)
        },
        "classes": draw_layer(class_key, NUM_CLASSES, units[-1], scale),
        "auxiliary": draw_layer(auxiliary_key, num_auxiliary, units[-1], scale),
    }


def contract(left: jax.Array, right: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Sum products over one axis of each of two matrices, at least in float32."""
    numbers = (((axes[0],), (axes[1],)), ((), ()))
    precision = jnp.promote_types(left.dtype, jnp.float32)
    return jax.lax.dot_general(left, right, numbers, preferred_element_type=precision)


def plain_multiply(axis: int, weights: jax.Array, values: jax.Array) -> jax.Array:
    """Multiply weights and images or activations to `(units, batch)`, with JAX's own derivatives: what theory needs."""
    return contract(weights, values, (1, axis))


def pull_back(weights: jax.Array, gradient: jax.Array) -> jax.Array:
    """Multiply a gradient by the transposed weights.

    On processors XLA has no bfloat16 product whose left factor is transposed: it would take float32.
    A product with the identity transposes the weights first, and exactly.
    """
    if weights.dtype != jnp.bfloat16:
        return contract(weights, gradient, (0, 0))
    transposed = contract(jnp.eye(weights.shape[1], dtype=weights.dtype), weights, (1, 1)).astype(weights.dtype)
    return contract(transposed, gradient, (1, 0))


@cache
def fast_multiply(precision: str) -> Multiply:
    """Make the same product for training, with its derivative written out: nothing large is transposed or rounded.

    In bfloat16 JAX's own derivative would round the weights' gradients. This one has no forward mode.
    """
    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def multiply(axis: int, weights: jax.Array, values: jax.Array) -> jax.Array:
        return plain_multiply(axis, weights.astype(dtype), values.astype(dtype))

    def forward(axis: int, weights: jax.Array, values: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        return multiply(axis, weights, values), (weights, values.astype(dtype))

    def backward(axis: int, kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights, values = kept
        weights, gradient = weights.astype(dtype), gradient.astype(dtype)
        below = pull_back(weights, gradient) if axis == VALUES else contract(gradient, weights, (0, 0))
        return contract(gradient, values, (1, 1 - axis)), below

    multiply.defvjp(forward, backward)
    return cast(Multiply, multiply)


def apply(
    params: Params, images: jax.Array, multiply: Multiply = plain_multiply, *, convolutional: bool = False
) -> jax.Array:
    """Compute logits of images in [-1, 1], those of the classes first; a teacher in training lacks `auxiliary`."""
    hidden, values, axis = dict(params["hidden"]), images, IMAGES
    if convolutional:
        side = round(images.shape[1] ** 0.5)
        signal = images.T.reshape(1, side, side, -1)
        for place in (0, 1):
            signal = convolve(multiply, hidden.pop(place), signal)
        values, axis = jnp.moveaxis(signal, 0, 2).reshape(-1, len(images)), VALUES
    for layer in hidden.values():
        values, axis = jax.nn.relu(multiply(axis, layer["kernel"], values) + layer["bias"][:, None]), VALUES
    heads = [params[name] for name in ("classes", "auxiliary") if name in params]
    kernel, bias = (jnp.concatenate([head[name] for head in heads]) for name in ("kernel", "bias"))
    return (multiply(axis, kernel, values) + bias[:, None]).T


def convolve(multiply: Multiply, layer: Params, values: jax.Array) -> jax.Array:
    """Apply a convolution with ReLU at every second place, as a product with all windows; XLA's own trains slowly.

    Values have the axes `(channels, rows, columns, batch)`.
    """
    side, batch = values.shape[2:]
    places = -(-side // 2)
    padding = max(2 * (places - 1) + WINDOW - side, 0)
    edges = (padding // 2, padding - padding // 2)
    padded = jnp.pad(values, ((0, 0), edges, edges, (0, 0)))
    reach = 2 * places - 1
    windows = jnp.concatenate([
        padded[:, row : row + reach : 2, column : column + reach : 2] for row, column in np.ndindex(WINDOW, WINDOW)
    ])
    outputs = multiply(VALUES, layer["kernel"], windows.reshape(len(windows), -1)) + layer["bias"][:, None]
    return jax.nn.relu(outputs).reshape(-1, places, places, batch)
