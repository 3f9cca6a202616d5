r"""Students that start elsewhere than their teacher: noise around its init, and ways from there to another init."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Instance, Params, Problem, inner_product, student_displacement, trait_descent


class Neighborhood(NamedTuple):
    r"""A teacher's init and what the surrounding inits are measured by."""

    instance: Instance
    """The instance; its student has an init of its own, independent of the teacher's."""
    direction: Params
    r"""The teacher's displacement per unit of step size $\Delta_T$."""
    uphill: Params
    r"""Unit vector along $K\Delta_T$, the one direction in which a small displacement matters."""
    slope: Scalar
    r"""$\|K\Delta_T\|$."""
    curvature: Scalar
    r"""$A = \Delta_T^\top K\Delta_T$."""
    teacher_unit: Scalar
    """Natural unit of the teacher's step size."""
    noise_unit: Scalar
    r"""$A/\|K\Delta_T\|$ times the teacher's unit: noise of this size weighs as much as a step of that unit."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding; else the unit of noise is the teacher's."""


def measure_neighborhood(problem: Problem, instance: Instance) -> Neighborhood:
    """Compute what an instance's neighborhood is measured by."""
    shared = instance._replace(student=instance.teacher)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    kernel = predicted_displacement(problem, shared, direction)
    units = natural_units(problem, instance, direction)
    slope = jnp.asarray(optax.tree.norm(kernel))
    curvature = inner_product(kernel, direction)
    positive = jnp.where(units.visible, slope, 1.0)
    return Neighborhood(
        instance,
        direction,
        optax.tree.scale(1 / positive, kernel),
        slope,
        curvature,
        units.teacher_step,
        units.teacher_step * jnp.where(units.visible, curvature / positive, 1.0),
        units.visible,
    )


def displaced_alignment(problem: Problem, around: Neighborhood, teacher_step: Scalar, student: Params) -> Scalar:
    r"""Simulate both steps with a student that starts elsewhere: $\Delta_S\cdot\Delta_T$."""
    instance = around.instance._replace(student=student)
    return inner_product(student_displacement(problem, instance, around.direction, teacher_step), around.direction)


def draw_noise(around: Neighborhood, key: jax.Array) -> Params:
    """Draw a direction in which to displace the student, of independent standard normal entries."""
    return optax.tree.random_like(key, around.instance.teacher, jax.random.normal)


def with_height(around: Neighborhood, noise: Params, height: ArrayLike) -> Params:
    r"""Give standard normal noise that component along $K\Delta_T$ and leave the rest of it as it is."""
    return optax.tree.add_scale(noise, height - inner_product(noise, around.uphill), around.uphill)


def rotate(start: Params, end: Params, angle: Scalar) -> Params:
    r"""Go from one random init to another at constant variance: $\cos\varphi\,\theta_1 + \sin\varphi\,\theta_2$.

    Independent Gaussian inits of mean zero keep their distribution on the way. Entries that do not depend on the draw,
    such as the unit scales of a layer norm, stay as they are.

    References:
        Derived here: $\cos^2\varphi\,\sigma^2 + \sin^2\varphi\,\sigma^2 = \sigma^2$.
    """

    def turn(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(one == other, one, jnp.cos(angle) * one + jnp.sin(angle) * other)

    return jax.tree.map(turn, start, end)


def interpolate(start: Params, end: Params, angle: Scalar) -> Params:
    r"""Go from one random init to another in a straight line, through weights of less variance.

    Weights have the direction of those of `rotate`, and are shorter by $\cos\varphi + \sin\varphi$: at
    $\varphi = 0$ and $\pi/2$ they are $\theta_1$ and $\theta_2$.
    """
    share = jnp.sin(angle) / (jnp.cos(angle) + jnp.sin(angle))
    return jax.tree.map(lambda one, other: (1 - share) * one + share * other, start, end)
