"""Functions of one step size: where they first turn positive, and how far they are from a parabola on the way."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

Line = Callable[[jax.Array], jax.Array]
"""Step size to value, both of shape `()`."""

SCANNED = np.geomspace(0.02, 50, 32)
"""Where a sign is looked up, relative to the scale that one expects."""

NUM_BISECTIONS = 16
"""They narrow a bracket, 29 % wide, to a few millionths; one secant step squares that."""

NUM_NODES = 16
"""Chebyshev points that carry a function of one step size."""


def first_zero(function: Line, scale: jax.Array) -> jax.Array:
    r"""Find where a function that starts at 0 and falls first comes back to 0: scan, bisect, and one secant step.

    Args:
        function: The function, vectorizable.
        scale: About where the zero is expected, shape `()`, positive.

    Returns:
        The smallest positive zero, shape `()`; infinite if the function stays negative up to 50 scales.
    """
    steps = jnp.concatenate([jnp.zeros(1), SCANNED * scale])
    values = jax.lax.map(function, steps)
    index = jnp.argmax(values[1:] > 0)

    def halve(bracket: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], None]:
        low, high, value_low, value_high = bracket
        middle = (low + high) / 2
        value = function(middle)
        above = value > 0
        return (
            jnp.where(above, low, middle),
            jnp.where(above, middle, high),
            jnp.where(above, value_low, value),
            jnp.where(above, value, value_high),
        ), None

    bracket = steps[index], steps[index + 1], values[index], values[index + 1]
    (low, high, value_low, value_high), _ = jax.lax.scan(halve, bracket, length=NUM_BISECTIONS)
    zero = low - value_low * (high - low) / (value_high - value_low)
    return jnp.where(jnp.any(values[1:] > 0), zero, jnp.inf)


@cache
def chebyshev_derivatives() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prepare differentiation of a polynomial through Chebyshev points on the unit interval.

    Returns:
        The points, from 0 to 1, shape `(nodes,)`, and the matrices that turn values there into third and fourth
        derivatives there, each `(nodes, nodes)`.
    """
    nodes = chebyshev.chebpts2(NUM_NODES)
    coefficients = np.linalg.inv(chebyshev.chebvander(nodes, NUM_NODES - 1))
    third, fourth = (
        2.0**order * chebyshev.chebvander(nodes, NUM_NODES - 1 - order) @ chebyshev.chebder(coefficients, order)
        for order in (3, 4)
    )
    return (1 + nodes) / 2, third, fourth


def higher_derivatives(function: Line, reach: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differentiate the polynomial through a function's values at Chebyshev points, three and four times.

    Args:
        function: The function, vectorizable.
        reach: End of the interval, which starts at 0, shape `()`.

    Returns:
        Third and fourth derivatives at the points, from 0 to the end, each of shape `(nodes,)`. Spectrally accurate
        where the function is smooth on the interval; large where it is not.
    """
    nodes, third, fourth = chebyshev_derivatives()
    values = jax.lax.map(function, nodes * reach)
    return third @ values / reach**3, fourth @ values / reach**4
