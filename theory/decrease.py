"""Where the decrease of the trait loss ends: simulated in several settings, beside prediction and derivatives."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory.curvature import expand, second_derivative_along
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement
from theory.problem import (
    Instance,
    Params,
    Problem,
    inner_product,
    stack_trees,
    student_displacement,
    trait_descent,
)
from theory.step_limits import bend, first_zero

STIFFNESSES = np.geomspace(1, 1e4, 5)
r"""Curvatures $\kappa$ added to the trait loss, in units of one over the teacher's unit step."""

FITTED = STIFFNESSES[2:]
"""Those to which an order is fitted."""

QUARTICS = STIFFNESSES[3:]
r"""Quartics added instead, which have no curvature at $\theta^0$: a control."""

LARGE_RATES = np.geomspace(1e3, 1e4, 3)
"""The student's step sizes at which only a tiny step of the teacher is small enough, in natural units."""

SLACK = 1e-6
"""Rounding of a measured end, in units of the predicted one."""


class Ends(NamedTuple):
    """Predicted and measured ends of the decrease in one instance, in several settings.

    Axis `settings` as the function says: first the student's step sizes, then special cases.
    """

    predicted: Float[Array, " settings"]
    r"""$\epsilon^\ast = 2\alpha A/c$; negative where no end is predicted."""
    measured: Float[Array, " settings"]
    r"""The first $\epsilon > 0$ with $g(\epsilon) = 0$; infinite if there is none in sight."""
    reach: Float[Array, " settings"]
    r"""$2|\epsilon^\ast|$, or the teacher's unit step if that is smaller, halved until $g'''$ is resolved; 0 where it
    never is."""
    third: Float[Array, " settings"]
    r"""$|g'''(0)\,\epsilon^\ast/3c|$."""
    largest_third: Float[Array, " settings"]
    r"""$t$: the same with a bound of $|g'''|$ from 0 to `reach`, estimated; infinite where that is 0."""
    fourth: Float[Array, " settings"]
    r"""$|g''''(0)\,{\epsilon^\ast}^2/12c|$."""
    scaled: Float[Array, " settings"]
    r"""$\alpha\epsilon$ at the measured end."""
    limit: Float[Array, " directions"]
    r"""$s^\ast$: first zero of $L_T(\theta^0 + sv) - L_T(\theta^0)$, along $v = K\Delta_T$ and $\Delta_T$."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding, and $g$ is no parabola (for which all this is exact)."""


def settings(learning_rates: Sequence[float]) -> Float[np.ndarray, "3 settings"]:
    r"""Step size $\alpha$, added curvature $\kappa$ and added quartic of each setting, in natural units."""
    groups = [(rate, 0.0, 0.0) for rate in learning_rates]
    groups += [(1.0, stiffness, 0.0) for stiffness in STIFFNESSES]
    groups += [(1.0, 0.0, quartic) for quartic in QUARTICS]
    groups += [(rate, 0.0, 0.0) for rate in LARGE_RATES]
    return np.array(groups).T


def stiffened(problem: Problem, center: Params, quadratic: Scalar, quartic: Scalar) -> Problem:
    r"""Add $\tfrac12\kappa\|\theta - \theta^0\|^2 + \tfrac14 q\|\theta - \theta^0\|^4$: the same $\Delta_T$ and $A$."""

    def trait_loss(params: Params, data: Any) -> Scalar:
        square = jnp.asarray(optax.tree.norm(optax.tree.sub(params, center), squared=True))
        return problem.trait_loss(params, data) + quadratic * square / 2 + quartic * square**2 / 4

    return replace(problem, trait_loss=trait_loss)


def measure_ends(problem: Problem, instance: Instance, *, learning_rates: Sequence[float]) -> Ends:
    """Predict where the decrease ends, then simulate both steps and look for the first zero of the change."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    length = units.teacher_step**2 * inner_product(direction, direction)

    def measure_setting(rate: Scalar, quadratic: Scalar, quartic: Scalar) -> dict[str, Scalar]:
        raised = stiffened(problem, instance.student, quadratic, quartic)
        expansion = expand(raised, instance, direction)
        before = raised.trait_loss(instance.student, instance.trait_data)

        def change(teacher_step: Scalar) -> Scalar:
            displacement = student_displacement(raised, instance, direction, teacher_step)
            after = optax.tree.add_scale(instance.student, rate, displacement)
            return raised.trait_loss(after, instance.trait_data) - before

        end, curvature = expansion.end(rate), expansion.second_derivative(rate)
        measured = first_zero(change, jnp.abs(end))
        reach = jnp.minimum(2 * jnp.abs(end), units.teacher_step)
        share = jnp.abs(end / (3 * curvature))
        bent = bend(change, reach, SLACK / share)
        return {
            "predicted": end,
            "measured": measured,
            "reach": bent.reach,
            "third": bent.third * share,
            "largest_third": bent.largest_third * share,
            "fourth": bent.fourth * jnp.abs(end**2 / (12 * curvature)),
            "scaled": rate * measured,
        }

    def find_limit(along: Params) -> Scalar:
        def trait(params: Params) -> Scalar:
            return problem.trait_loss(params, instance.trait_data)

        def change(step: Scalar) -> Scalar:
            return trait(optax.tree.add_scale(instance.student, step, along)) - trait(instance.student)

        curvature = second_derivative_along(trait, instance.student, along)
        return first_zero(change, jnp.abs(2 * inner_product(direction, along) / curvature))

    rates, quadratics, quartics = settings(learning_rates)
    quadratics, quartics = quadratics / units.teacher_step, quartics / (units.teacher_step * length)
    measured = jax.vmap(measure_setting)(rates * units.learning_rate, quadratics, quartics)
    imitation = predicted_displacement(problem, instance, direction)
    both = stack_trees(imitation, direction)
    plain = slice(len(learning_rates))
    curved = jnp.isfinite(measured["predicted"][plain]) & (measured["largest_third"][plain] > SLACK)
    return Ends(**measured, limit=jax.vmap(find_limit)(both), visible=units.visible & jnp.all(curved))
