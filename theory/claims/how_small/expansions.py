"""Claim 2's change of the trait loss to second order: in closed form, and through both simulated steps."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.claims.evidence import VANISHING
from theory.curvature import expand
from theory.predictions import natural_units
from theory.problem import Problem, draw_instance, student_displacement, trait_descent

STEPS = np.geomspace(1e-3, 1e-2, 5)
r"""The teacher's step sizes for a third order, in natural units times $1 + \alpha$: small, yet well above rounding."""


class Expansions(NamedTuple):
    """Closed form and simulation of the change $g$ to second order in one instance; axis `learning_rates`."""

    first: jax.Array
    r"""$-\alpha A$, shape `(learning_rates,)`."""
    second: jax.Array
    r"""$c$, shape `(learning_rates,)`."""
    size: jax.Array
    """What $|c|$ would be if its two terms didn't cancel, shape `(learning_rates,)`."""
    simulated_first: jax.Array
    r"""$g'(0)$ through both simulated steps by forward mode, shape `(learning_rates,)`."""
    simulated_second: jax.Array
    r"""$g''(0)$ likewise, by forward mode twice, shape `(learning_rates,)`."""
    steps: jax.Array
    r"""$\epsilon$, shape `(learning_rates, steps)`."""
    measured: jax.Array
    r"""$g(\epsilon)$, shape `(learning_rates, steps)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, learning_rates: Sequence[float], shared: bool = True) -> Expansions:
    """Expand the change in closed form, then simulate both steps, measure it and differentiate through them.

    Args:
        problem: The problem.
        key: Random key of the instance.
        learning_rates: The student's step sizes, in natural units.
        shared: Whether the student starts where the teacher does; the closed form always assumes so.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key, shared=shared)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    expansion = expand(problem, instance, direction)
    before = problem.trait_loss(instance.student, instance.trait_key)

    def change(learning_rate: jax.Array, teacher_step: jax.Array) -> jax.Array:
        displacement = student_displacement(problem, instance, direction, teacher_step)
        after = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(after, instance.trait_key) - before

    def differentiate(learning_rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        def slope(teacher_step: jax.Array) -> jax.Array:
            return jax.jvp(partial(change, learning_rate), (teacher_step,), (1.0,))[1]

        return jax.jvp(slope, (0.0,), (1.0,))

    units = natural_units(problem, instance, direction)
    natural = jnp.array(learning_rates)
    rates = natural * units.learning_rate
    steps = jnp.array(STEPS)[None] * units.teacher_step / (1 + natural[:, None])
    first, second = jax.vmap(differentiate)(rates)
    return Expansions(
        first=expansion.first_derivative(rates),
        second=expansion.second_derivative(rates),
        size=expansion.size(rates),
        simulated_first=first,
        simulated_second=second,
        steps=steps,
        measured=jax.vmap(jax.vmap(change, in_axes=(None, 0)))(rates, steps),
        visible=units.visible,
    )


def curved(result: Expansions) -> np.ndarray:
    """Find the instances in which there is anything to expand.

    Args:
        result: A case's measurements.

    Returns:
        Whether imitation sees the trait and the change curves by more than rounding, shape `(num_seeds,)`.
    """
    second = np.asarray(result.size * result.steps[..., -1])
    return np.asarray(result.visible) & np.all(second > VANISHING * np.abs(result.first), axis=1)


def remainder(result: Expansions) -> np.ndarray:
    """Take the parabola from the change.

    Args:
        result: A case's measurements.

    Returns:
        What is left, shape `(num_seeds, learning_rates, steps)`.
    """
    first, second = result.first[..., None], result.second[..., None]
    return np.asarray(result.measured - first * result.steps - second * result.steps**2 / 2)


def is_parabola(result: Expansions) -> bool:
    """Whether nothing but rounding is left in any instance, even at the largest step.

    Args:
        result: A case's measurements.

    Returns:
        True where there is no order to fit.
    """
    leading = np.asarray(result.first * result.steps[..., -1])
    return bool(np.all(np.abs(remainder(result)[..., -1]) <= VANISHING * np.abs(leading)))
