r"""Claim 2.5, how small is sufficiently small? Theorem 1's open question, answered to second order.

The student's step changes the teacher's trait loss by

$$g(\epsilon) = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0)
= -\epsilon\,\alpha A + \tfrac12 c\,\epsilon^2 + O(\epsilon^3), \qquad
c = -\alpha\,\Delta_T\cdot\Delta_S''(0) + \alpha^2 (K\Delta_T)^\top H (K\Delta_T),$$

so for $c > 0$ the decrease ends near $\epsilon^\ast = 2\alpha A/c$. How near, says `ends`.

References: derived here; see `theory.curvature`.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, measure_with, rates
from theory.curvature import expand
from theory.experiments import experiment
from theory.losses import Scalar
from theory.predictions import natural_units
from theory.problem import Instance, Problem, student_displacement, trait_descent
from theory.runs.checks import (
    CONTROL,
    LEAST_SEEDS,
    THIRD_ORDER,
    VANISHING,
    Check,
    Evidence,
    case,
    every,
    every_case,
    worst_median,
)
from theory.runs.statistics import fitted_order
from theory.runs.verdicts import Accepted

STEPS = np.geomspace(1e-3, 1e-2, 5)
r"""The teacher's step sizes for a third order, in natural units times $1 + \alpha$: small, yet well above rounding."""

EXACT = Accepted(low=0.0, high=1e-10)
"""Two ways to the same derivative agree to rounding."""

ANOTHER_INIT = "another init"


class Expansions(NamedTuple):
    r"""Change $g$ to second order in one instance, in natural units of $\epsilon$; axis `learning_rates`."""

    first: Float[Array, " learning_rates"]
    r"""$-\alpha A$."""
    second: Float[Array, " learning_rates"]
    r"""$c$."""
    size: Float[Array, " learning_rates"]
    """What $|c|$ would be if its two terms didn't cancel."""
    simulated_first: Float[Array, " learning_rates"]
    r"""$g'(0)$ through both simulated steps by forward mode."""
    simulated_second: Float[Array, " learning_rates"]
    r"""$g''(0)$ likewise, by forward mode twice."""
    steps: Float[Array, "learning_rates steps"]
    r"""$\epsilon$, the same in every instance."""
    measured: Float[Array, "learning_rates steps"]
    r"""$g(\epsilon)$."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, learning_rates: Sequence[float]) -> Expansions:
    """Expand the change in closed form, which assumes a shared init; then simulate and differentiate both steps."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    expansion = expand(problem, instance, direction)
    before = problem.trait_loss(instance.student, instance.trait_data)

    def change(learning_rate: Scalar, teacher_step: Scalar) -> Scalar:
        displacement = student_displacement(problem, instance, direction, teacher_step)
        after = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(after, instance.trait_data) - before

    def differentiate(learning_rate: Scalar) -> tuple[Scalar, Scalar]:
        def slope(teacher_step: Scalar | float) -> Scalar:
            return jax.jvp(partial(change, learning_rate), (teacher_step,), (1.0,))[1]

        return jax.jvp(slope, (0.0,), (1.0,))

    units = natural_units(problem, instance, direction)
    natural, unit = jnp.array(learning_rates), units.teacher_step
    rates = natural * units.learning_rate
    steps = jnp.array(STEPS)[None] / (1 + natural[:, None])
    first, second = jax.vmap(differentiate)(rates)
    return Expansions(
        first=expansion.first_derivative(rates) * unit,
        second=expansion.second_derivative(rates) * unit**2,
        size=expansion.size(rates) * unit**2,
        simulated_first=first * unit,
        simulated_second=second * unit**2,
        steps=steps,
        measured=jax.vmap(jax.vmap(change, in_axes=(None, 0)))(rates, steps * unit),
        visible=units.visible,
    )


def curved(one: Expansions) -> Expansions:
    """The instances in which imitation sees the trait and the change curves by more than rounding."""
    bent = one.size * one.steps[..., -1] > VANISHING * np.abs(one.first)
    return Expansions(*(part[one.visible & np.all(bent, axis=1)] for part in one))


def errors(one: Expansions) -> np.ndarray:
    """Closed form beside simulation: both derivatives in every instance that curves, relative to their terms."""
    one = curved(one)
    parts = [one.simulated_first / one.first - 1, (one.simulated_second - one.second) / one.size]
    return np.abs(np.stack(parts, axis=1))


def remainder(one: Expansions) -> np.ndarray:
    """What the parabola leaves of the change, in every instance."""
    return np.asarray(one.measured - one.first[..., None] * one.steps - one.second[..., None] * one.steps**2 / 2)


def orders(one: Expansions) -> np.ndarray:
    """Order of that, in every instance that curves."""
    return fitted_order(STEPS, remainder(curved(one)))


def has_order(one: Expansions) -> bool:
    """Whether enough instances curve, and more than rounding is left of one even at the largest step."""
    left = np.abs(remainder(one)[..., -1]) > VANISHING * np.abs(one.first * one.steps[..., -1])
    return len(curved(one).visible) >= LEAST_SEEDS and bool(left.any())


def checks(evidence: Evidence) -> Sequence[Check]:
    """The derivatives, and the order of what they leave at every step size of the student."""
    rates = ", ".join(f"{rate:g}" for rate in evidence.settings.learning_rates)
    return (
        Check(
            says="error of −αA and c against derivatives at 0 by forward mode through the steps, {cases}",
            predicted="0 (rounding)",
            of=every_case(errors),
            by=every,
            accepted=EXACT,
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", errors),
        ),
        Check(
            says=f"order of g + εαA − ½cε², worst of {{cases}} × α = {rates}",
            predicted="3.00",
            of=lambda evidence: [orders(one) for one in evidence.proper.values() if has_order(one)],
            by=worst_median(3.0),
            accepted=THIRD_ORDER,
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", orders),
            optional=True,
        ),
    )


CLAIM = Claim(
    number=2.5,
    name="how-small",
    statement="the trait loss changes by −εαA + ½cε² + O(ε³): to second order its decrease ends at ε* = 2αA/c",
    measurement=Expansions,
    problems=zoo.spread,
    cases=measure_with(
        measure, rates, lambda problem: {ANOTHER_INIT: partial(experiment, problem, measure, shared=False)}
    ),
    checks=checks,
)
