"""Functions of one step size: where they first turn positive, and how far they are from a parabola on the way."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.polynomial import chebyshev

from theory.losses import Scalar

Line = Callable[[Scalar], Scalar]
"""Step size to value."""

SCANNED = np.geomspace(0.02, 50, 32)
"""Where a sign is looked up, relative to the scale that one expects."""

NUM_BISECTIONS = 16
"""They narrow a bracket, 29 % wide, to a few millionths; one secant step squares that."""

NUM_NODES = 17
"""Chebyshev points that carry a function of one step size; every other one carries it once more, coarsely."""

AGREEMENT = 0.1
"""Up to which share of its largest value both must agree on a derivative, for it to count as resolved."""

MARGIN = 0.1
"""What a bound adds to the largest value at the points, as a share of it: larger ones may lie between them."""

MOST_HALVINGS = 24
"""How often the interval is halved until they do, before one gives up."""


def first_zero(function: Line, scale: Scalar) -> Scalar:
    r"""Find where a function that starts at 0 and falls first comes back to 0: scan, bisect, and one secant step.

    The scale is about where the zero is expected; infinite if the function stays negative up to 50 scales.
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


class Bend(NamedTuple):
    """Higher derivatives of a function of one step size, on the longest interval from 0 on which they are resolved."""

    reach: Scalar
    """End of that interval; 0 where there is none."""
    third: Scalar
    """Size of the third derivative at 0; infinite where there is none, as are all that follow."""
    fourth: Scalar
    """Size of the fourth derivative at 0."""
    largest_third: Scalar
    """Estimated bound of the third derivative's size on the interval."""


@cache
def chebyshev_derivative(num_nodes: int, order: int) -> Float[np.ndarray, "places nodes"]:
    """From values at Chebyshev points on the unit interval to derivatives at `NUM_NODES` of their polynomial."""
    nodes, places = chebyshev.chebpts2(num_nodes), chebyshev.chebpts2(NUM_NODES)
    coefficients = np.linalg.inv(chebyshev.chebvander(nodes, num_nodes - 1))
    derivatives = chebyshev.chebder(coefficients, order)
    return 2.0**order * chebyshev.chebvander(places, num_nodes - 1 - order) @ derivatives


def bend(function: Line, reach: Scalar, rounding: Scalar) -> Bend:
    r"""Bound the third derivative on the longest interval on which two polynomials agree about it.

    One goes through `NUM_NODES` Chebyshev points, one through every other of them. Where their third derivatives differ
    by more than `AGREEMENT` of the largest, the points don't resolve the function, and the interval is halved. The
    bound is the largest value and a margin: an estimate, since nothing is known between the points. `rounding` is the
    difference that doesn't matter, in units of the third derivative.
    """
    nodes = (1 + chebyshev.chebpts2(NUM_NODES)) / 2
    fine, fourth = (chebyshev_derivative(NUM_NODES, order) for order in (3, 4))
    coarse = chebyshev_derivative((NUM_NODES + 1) // 2, 3)

    def resolve(reach: Scalar) -> tuple[Float[Array, " nodes"], Scalar, Bool[Array, ""]]:
        values = jax.lax.map(function, nodes * reach)
        third = fine @ values / reach**3
        difference = jnp.max(jnp.abs(third - coarse @ values[::2] / reach**3))
        largest = jnp.max(jnp.abs(third))
        return values, (1 + MARGIN) * largest, difference <= AGREEMENT * largest + rounding

    def halve(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        halvings, reach = state[0] + 1, state[1] / 2
        return halvings, reach, *resolve(reach)

    start = (jnp.zeros((), int), reach, *resolve(reach))
    state = jax.lax.while_loop(lambda state: ~state[-1] & (state[0] < MOST_HALVINGS), halve, start)
    _, reach, values, largest, resolved = state
    return Bend(
        reach=jnp.where(resolved, reach, 0.0),
        third=jnp.where(resolved, jnp.abs(fine[0] @ values / reach**3), jnp.inf),
        fourth=jnp.where(resolved, jnp.abs(fourth[0] @ values / reach**4), jnp.inf),
        largest_third=jnp.where(resolved, largest, jnp.inf),
    )
