"""Where the decrease of the trait loss ends: simulated in several settings, beside prediction and derivatives."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.curvature import expand, second_derivative_along
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Params, Problem, draw_instance, inner_product, student_displacement, trait_descent
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

    The axis `settings` is that of `settings`: first the student's step sizes, then special cases.
    """

    predicted: jax.Array
    r"""$\epsilon^* = 2\alpha A/c$, shape `(settings,)`; negative where no end is predicted."""
    measured: jax.Array
    r"""The first $\epsilon > 0$ with $g(\epsilon) = 0$, shape `(settings,)`; infinite if there is none in sight."""
    reach: jax.Array
    r"""$2|\epsilon^*|$, or the teacher's unit step if that is smaller, halved until $g'''$ is
    resolved, shape `(settings,)`; 0 where it never is."""
    third: jax.Array
    r"""$|g'''(0)\,\epsilon^*/3c|$, shape `(settings,)`."""
    largest_third: jax.Array
    r"""$t$: the same with a bound of $|g'''|$ from 0 to `reach`, estimated, shape `(settings,)`; infinite where `reach`
    is 0."""
    fourth: jax.Array
    r"""$|g''''(0)\,{\epsilon^*}^2/12c|$, shape `(settings,)`."""
    scaled: jax.Array
    r"""$\alpha\epsilon$ at the measured end, shape `(settings,)`."""
    limit: jax.Array
    r"""$s^*$: first zero of $L_T(\theta^0 + sv) - L_T(\theta^0)$, $v = K\Delta_T$ or $\Delta_T$, shape `(2,)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, and $g$ is no parabola (for which all this is exact), shape `()`."""


def settings(learning_rates: Sequence[float]) -> np.ndarray:
    r"""Step size $\alpha$, added curvature $\kappa$ and added quartic of each setting, in natural units."""
    groups = [(rate, 0.0, 0.0) for rate in learning_rates]
    groups += [(1.0, stiffness, 0.0) for stiffness in STIFFNESSES]
    groups += [(1.0, 0.0, quartic) for quartic in QUARTICS]
    groups += [(rate, 0.0, 0.0) for rate in LARGE_RATES]
    return np.array(groups).T


def stiffened(problem: Problem, center: Params, quadratic: jax.Array, quartic: jax.Array) -> Problem:
    r"""Add $\tfrac12\kappa\|\theta - \theta^0\|^2 + \tfrac14 q\|\theta - \theta^0\|^4$: the same $\Delta_T$ and $A$."""

    def trait_loss(params: Params, key: jax.Array) -> jax.Array:
        square = jnp.asarray(optax.tree.norm(optax.tree.sub(params, center), squared=True))
        return problem.trait_loss(params, key) + quadratic * square / 2 + quartic * square**2 / 4

    return replace(problem, trait_loss=trait_loss)


def measure_ends(problem: Problem, key: jax.Array, *, learning_rates: Sequence[float]) -> Ends:
    """Predict where the decrease ends, then simulate both steps and look for the first zero of the change."""
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    units = natural_units(problem, instance, direction)
    length = units.teacher_step**2 * inner_product(direction, direction)

    def find(rate: jax.Array, quadratic: jax.Array, quartic: jax.Array) -> dict[str, jax.Array]:
        raised = stiffened(problem, instance.student, quadratic, quartic)
        expansion = expand(raised, instance, direction)
        before = raised.trait_loss(instance.student, instance.trait_key)

        def change(teacher_step: jax.Array) -> jax.Array:
            displacement = student_displacement(raised, instance, direction, teacher_step)
            after = optax.tree.add_scale(instance.student, rate, displacement)
            return raised.trait_loss(after, instance.trait_key) - before

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

    def find_limit(way: Params) -> jax.Array:
        def trait(params: Params) -> jax.Array:
            return problem.trait_loss(params, instance.trait_key)

        def change(step: jax.Array) -> jax.Array:
            return trait(optax.tree.add_scale(instance.student, step, way)) - trait(instance.student)

        curvature = second_derivative_along(trait, instance.student, way)
        return first_zero(change, jnp.abs(2 * inner_product(direction, way) / curvature))

    rates, quadratics, quartics = settings(learning_rates)
    quadratics, quartics = quadratics / units.teacher_step, quartics / (units.teacher_step * length)
    found = jax.vmap(find)(rates * units.learning_rate, quadratics, quartics)
    imitation = predicted_displacement(problem, instance, direction)
    ways = jax.tree.map(lambda *pair: jnp.stack(pair), imitation, direction)
    plain = slice(len(learning_rates))
    curved = jnp.isfinite(found["predicted"][plain]) & (found["largest_third"][plain] > SLACK)
    return Ends(**found, limit=jax.vmap(find_limit)(ways), visible=units.visible & jnp.all(curved))
