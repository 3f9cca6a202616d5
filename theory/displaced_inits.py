r"""Students that start elsewhere than their teacher: noise around its init, and ways from there to another init."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.predictions import natural_units, predicted_displacement
from theory.problem import Instance, Params, Problem, draw_instance, inner_product, student_displacement, trait_descent


class Neighborhood(NamedTuple):
    r"""A teacher's init and what the surrounding inits are measured by."""

    instance: Instance
    """The instance; its student has an init of its own, independent of the teacher's."""
    direction: Params
    r"""The teacher's displacement per unit of step size $\Delta_T$."""
    uphill: Params
    r"""Unit vector along $K\Delta_T$, the one direction in which a small displacement matters."""
    slope: jax.Array
    r"""$\|K\Delta_T\|$, shape `()`."""
    curvature: jax.Array
    r"""$A = \Delta_T^\top K\Delta_T$, shape `()`."""
    teacher_unit: jax.Array
    """Natural unit of the teacher's step size, shape `()`."""
    noise_unit: jax.Array
    r"""$A/\|K\Delta_T\|$ times the teacher's unit: noise of this size weighs as much as a step of that unit."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, boolean."""


def draw_neighborhood(problem: Problem, key: jax.Array) -> Neighborhood:
    """Draw an instance and compute what its neighborhood is measured by.

    Args:
        problem: The problem.
        key: Random key of the instance.

    Returns:
        The neighborhood; where imitation doesn't see the trait, the unit of noise is the teacher's.
    """
    instance = draw_instance(problem, key, shared=False)
    shared = instance._replace(student=instance.teacher)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
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


def displaced_alignment(problem: Problem, around: Neighborhood, teacher_step: jax.Array, student: Params) -> jax.Array:
    r"""Simulate both steps with a student that starts elsewhere.

    Args:
        problem: The problem.
        around: The teacher's init and direction.
        teacher_step: The teacher's step size $\epsilon$, shape `()`.
        student: The student's init.

    Returns:
        $\Delta_S\cdot\Delta_T$, shape `()`.
    """
    instance = around.instance._replace(student=student)
    return inner_product(student_displacement(problem, instance, around.direction, teacher_step), around.direction)


def draw_noise(around: Neighborhood, key: jax.Array) -> Params:
    """Draw a direction in which to displace the student.

    Args:
        around: The teacher's init.
        key: Random key.

    Returns:
        A tree like the parameters, of independent standard normal entries.
    """
    return optax.tree.random_like(key, around.instance.teacher, jax.random.normal)


def with_height(around: Neighborhood, noise: Params, height: float | jax.Array) -> Params:
    r"""Give noise a component along $K\Delta_T$ and leave the rest of it as it is.

    Args:
        around: The neighborhood.
        noise: Standard normal noise, whose component there is standard normal too.
        height: The component it shall have, in standard deviations.

    Returns:
        A tree like `noise`.
    """
    return optax.tree.add_scale(noise, height - inner_product(noise, around.uphill), around.uphill)


def rotate(start: Params, end: Params, angle: jax.Array) -> Params:
    r"""Go from one random init to another at constant variance: $\cos\varphi\,\theta_1 + \sin\varphi\,\theta_2$.

    Entries that do not depend on the draw, such as the unit scales of a layer norm, stay as they are.

    Args:
        start: $\theta_1$, at $\varphi = 0$; independent of `end` and, where the two differ, of mean zero.
        end: $\theta_2$, at $\varphi = \pi/2$, a tree like `start`.
        angle: $\varphi$ in radians, shape `()`.

    Returns:
        A tree like `start`, distributed as both ends are if they are Gaussian.

    References:
        Derived here: $\cos^2\varphi\,\sigma^2 + \sin^2\varphi\,\sigma^2 = \sigma^2$.
    """

    def turn(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(one == other, one, jnp.cos(angle) * one + jnp.sin(angle) * other)

    return jax.tree.map(turn, start, end)


def interpolate(start: Params, end: Params, angle: jax.Array) -> Params:
    r"""Go from one random init to another in a straight line, through weights of less variance.

    Weights have the direction of those of `rotate`, and are shorter by $\cos\varphi + \sin\varphi$.

    Args:
        start: $\theta_1$, at $\varphi = 0$.
        end: $\theta_2$, at $\varphi = \pi/2$, a tree like `start`.
        angle: $\varphi$ in radians, shape `()`.

    Returns:
        $(\cos\varphi\,\theta_1 + \sin\varphi\,\theta_2) / (\cos\varphi + \sin\varphi)$, a tree like `start`.
    """
    share = jnp.sin(angle) / (jnp.cos(angle) + jnp.sin(angle))
    return jax.tree.map(lambda one, other: (1 - share) * one + share * other, start, end)
