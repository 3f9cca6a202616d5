"""Steps that are not plain gradient descent: preconditioned ones, matrix-free, and first steps of optimizers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from theory.losses import Scalar
from theory.problem import Params, inner_product


class Preconditioner(NamedTuple):
    r"""A symmetric positive-definite matrix $P = \mathrm{diag}(d) + \sum_i w_i w_i^\top$, never formed."""

    diagonal: Params
    """$d > 0$, a tree like the parameters."""
    factors: Params
    """$w_i$, a tree like the parameters with a leading axis `(rank,)`."""


def draw_diagonal(key: jax.Array, params: Params, condition: Scalar) -> Params:
    """Draw positive numbers from 1 to a largest one, evenly in their logarithm."""
    powers = optax.tree.random_like(key, params, jax.random.uniform)
    return jax.tree.map(lambda power: condition**power, powers)


def draw_preconditioner(key: jax.Array, params: Params, *, rank: int, largest_condition: float) -> Preconditioner:
    """Draw a symmetric positive-definite matrix, the condition number of its diagonal evenly in its logarithm.

    Beside the coordinates it stretches `rank` random directions, each about as far as the largest of them.
    """
    condition_key, diagonal_key, factors_key = jax.random.split(key, 3)
    condition = largest_condition ** jax.random.uniform(condition_key)
    diagonal = draw_diagonal(diagonal_key, params, condition)
    draws = jax.vmap(lambda key: optax.tree.random_like(key, params, jax.random.normal))
    factors = draws(jax.random.split(factors_key, rank))
    size = jnp.sqrt(condition / optax.tree.size(params))
    return Preconditioner(diagonal, optax.tree.scale(size, factors))


def precondition(matrix: Preconditioner, direction: Params) -> Params:
    r"""Apply a symmetric positive-definite matrix, $P v$."""
    weights = jax.vmap(inner_product, in_axes=(0, None))(matrix.factors, direction)
    low_rank = jax.tree.map(lambda factor: jnp.tensordot(weights, factor, axes=1), matrix.factors)
    return optax.tree.add(optax.tree.mul(matrix.diagonal, direction), low_rank)


def stretch(axis: Params, amount: Scalar, direction: Params) -> Params:
    r"""Apply $I + \tau w w^\top$, $w$ the axis and $\tau$ the amount."""
    return optax.tree.add_scale(direction, amount * inner_product(axis, direction), axis)


def turn(key: jax.Array, strength: float, direction: Params) -> Params:
    r"""Apply $I + tS$ with a random skew-symmetric $S$: not symmetric, yet positive, $v^\top(I + tS)v = \|v\|^2$.

    $$S = \tfrac12 D (C - C^\top) D,$$

    where $C$ moves every coordinate on by one, cyclically, $D$ changes random signs, and $t$ is the strength.
    """
    flat, restore = ravel_pytree(direction)
    signs = jax.random.rademacher(key, flat.shape, flat.dtype)
    skewed = signs * (jnp.roll(signs * flat, 1) - jnp.roll(signs * flat, -1)) / 2
    return restore(flat + strength * skewed)


def first_step(optimizer: optax.GradientTransformation, direction: Params) -> Params:
    """Take an optimizer's first step, from its initial state."""
    step, _ = optimizer.update(direction, optimizer.init(direction))
    return step


def largest_safe_condition(cosine: Scalar) -> Scalar:
    r"""Condition number up to which $u^\top P v \ge 0$ for every symmetric positive-definite $P$.

    $$\kappa = \frac{1 + \cos\varphi}{1 - \cos\varphi}, \qquad \varphi = \angle(u, v) < 90°.$$

    It is sharp: $I + \tau w w^\top$, with $w$ the unit vector along $\hat u - \hat v$, has
    $u^\top P v = u^\top v\,(1 - \tau/(\kappa - 1))$.

    References:
        Derived here, for unit vectors: $4\,u^\top P v = (u + v)^\top P (u + v) - (u - v)^\top P (u - v)$ is at least
        $\lambda_\text{min}(2 + 2\cos\varphi) - \lambda_\text{max}(2 - 2\cos\varphi)$, and equal to it if the orthogonal
        $u + v$ and $u - v$ are eigenvectors to those eigenvalues. With $P = I + \tau w w^\top$ they are, and
        $2\,u^\top P v = (1 + \cos\varphi) - (1 + \tau)(1 - \cos\varphi)$, which is 0 at $\tau = \kappa - 1$.
    """
    return (1 + cosine) / (1 - cosine)


def unit_vector(direction: Params) -> Params:
    """Scale a direction to length 1."""
    return optax.tree.scale(1 / optax.tree.norm(direction), direction)


def cosine(left: Params, right: Params) -> Scalar:
    """Cosine of the angle between two directions."""
    return inner_product(unit_vector(left), unit_vector(right))
