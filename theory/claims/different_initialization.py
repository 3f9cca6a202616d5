r"""Claim 5: between different inits what the teacher learned still arrives, but with no sign of its own.

For $\theta_S^0 \ne \theta_T^0$ the student moves even if the teacher learned nothing. What the teacher's step adds is

$$\big(\Delta_S(\epsilon) - \Delta_S(0)\big)\cdot v = \epsilon\,B(v, \Delta_T) + O(\epsilon^2), \qquad
B(v, u) = \mathbb{E}_x\big[(J_S v)^\top M (J_T u)\big],$$

so that at a finite step size $\alpha$ of the student, with $v = -\nabla L_T$ at $\theta_S^0 + \alpha\Delta_S(0)$,

$$L_T(\theta_S^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta_S^0 + \alpha\Delta_S(0))
= -\epsilon\,\alpha\,B(v, \Delta_T) + O(\epsilon^2).$$

The sign of $B$ may be a fair coin (see `signs`). By parameter group $B$ splits exactly, into channels from the
teacher's groups to the student's (see `channels`).

References:
    Derived here: differentiate the student's step in $\epsilon$ (see `transfer_form`).
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
from theory.claim import Claim, fitted_steps_and_rates, measure_with
from theory.losses import Scalar
from theory.predictions import natural_units, transfer_channels, transfer_form
from theory.problem import (
    Instance,
    Params,
    Problem,
    imitation_descent,
    inner_product,
    student_displacement,
    trait_descent,
)
from theory.runs.checks import Check, Comparison, Evidence, case, every, every_case, first_case, second_order, share
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted


class Transfer(NamedTuple):
    """What the teacher's step adds to the student's, in one instance."""

    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ in natural units, the same in every instance."""
    predicted_alignment: Scalar
    r"""$\epsilon B(\Delta_T, \Delta_T)$ for a natural step of 1."""
    alignment: Float[Array, " teacher_steps"]
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T$."""
    predicted_change: Float[Array, " learning_rates"]
    r"""$-\epsilon\alpha B(v, \Delta_T)$ for a natural step of 1."""
    change: Float[Array, "learning_rates teacher_steps"]
    r"""$L_T$ after the step minus $L_T$ after the step that a teacher with $\epsilon = 0$ causes."""
    idle_alignment: Scalar
    r"""$\Delta_S(0)\cdot\Delta_T$: the teacher has learned nothing."""
    idle_change: Float[Array, " learning_rates"]
    r"""$L_T(\theta_S^0 + \alpha\Delta_S(0)) - L_T(\theta_S^0)$, likewise."""
    gap: Scalar
    r"""What the sum of $B(P_g \Delta_T, P_h \Delta_T)$ over parameter groups of student and teacher lacks of
    $B(\Delta_T, \Delta_T)$, in bounds of the rounding of either: an error of every product's size for each term."""
    largest_channel: Scalar
    """What it would lack without its largest channel, likewise."""
    visible: Bool[Array, ""]
    """Whether imitation sees the trait at all."""


def measure(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> Transfer:
    """Predict the transfer in closed form, then simulate the steps with and without the teacher's and subtract."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    labels = problem.apply(instance.teacher, instance.inputs)
    idle = imitation_descent(problem, instance.student, instance.inputs, labels)
    before = problem.trait_loss(instance.student, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps)
    moved = jax.lax.map(partial(student_displacement, problem, instance, direction), steps * units.teacher_step)

    def trait_after(displacement: Params, learning_rate: Scalar) -> Scalar:
        params = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(params, instance.trait_data)

    def at_rate(learning_rate: Scalar) -> tuple[Scalar, Float[Array, " teacher_steps"], Scalar]:
        idle_student = optax.tree.add_scale(instance.student, learning_rate, idle)
        own = trait_descent(problem, idle_student, instance.trait_data)
        predicted = -learning_rate * transfer_form(problem, instance, own, direction)
        after = jax.vmap(trait_after, in_axes=(0, None))(moved, learning_rate)
        return predicted, after, trait_after(idle, learning_rate)

    predicted_change, after, after_idle = jax.vmap(at_rate)(jnp.array(learning_rates) * units.learning_rate)
    idle_alignment = inner_product(idle, direction)
    form = transfer_form(problem, instance, direction, direction)
    channels = transfer_channels(problem, instance, direction, direction)
    num_terms = optax.tree.size(direction) + labels.size
    rounding = num_terms * jnp.finfo(form.dtype).eps * jnp.sum(channels.sizes)
    return Transfer(
        steps=steps,
        predicted_alignment=form * units.teacher_step,
        alignment=jax.vmap(inner_product, in_axes=(0, None))(moved, direction) - idle_alignment,
        predicted_change=predicted_change * units.teacher_step,
        change=after - after_idle[:, None],
        idle_alignment=idle_alignment,
        idle_change=after_idle - before,
        gap=jnp.abs(jnp.sum(channels.forms) - form) / rounding,
        largest_channel=jnp.max(jnp.abs(channels.forms)) / rounding,
        visible=units.visible,
    )


def aligned(one: Transfer) -> Comparison:
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T$ beside $\epsilon B(\Delta_T, \Delta_T)$."""
    return Comparison(*map(np.asarray, (one.predicted_alignment[:, None] * one.steps, one.alignment, one.visible)))


def changed(one: Transfer) -> Comparison:
    r"""The change of $L_T$ beside $-\epsilon\alpha B(v, \Delta_T)$."""
    leading = one.predicted_change[..., None] * one.steps[:, None]
    return Comparison(*map(np.asarray, (leading, one.change, one.visible)))


def forgetful(one: Transfer) -> Transfer:
    """The same, had one forgotten to subtract the student of a teacher that learned nothing."""
    alignment = one.alignment + one.idle_alignment[:, None]
    return one._replace(alignment=alignment, change=one.change + one.idle_change[..., None])


def gap(one: Transfer) -> np.ndarray:
    """What the channels' sum lacks of the form, in bounds of rounding, in every visible instance."""
    return np.asarray(one.gap)[one.visible]


def largest_channel(one: Transfer) -> np.ndarray:
    """What it would lack without its largest channel, likewise."""
    return np.asarray(one.largest_channel)[one.visible]


SQUARED = zoo.Case(name="ReLU, squared error", activation="relu", loss="squared error")
"""A case of its own, beside the neighborhood."""

FALLING = {"tanh, cross-entropy": zoo.REFERENCE.name, "ReLU, squared error": SQUARED.name}
"""Cases of which is reported how often the trait loss falls though nothing was taught, by what they are."""


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build the reference and its neighbors, and ReLUs under squared error."""
    return [*zoo.neighborhood(sampling), *[zoo.build(SQUARED)] * (sampling.cases == "all")]


def checks(evidence: Evidence) -> list[Check]:
    """Both remainders' orders and the sum over channels; and the rates that nothing guarantees."""
    learning_rates = evidence.settings.learning_rates
    middle = len(learning_rates) // 2
    orders = {
        "(Δ_S(ε) − Δ_S(0))·Δ_T − εB(Δ_T, Δ_T)": aligned,
        f"change of L_T + εαB(v, Δ_T) at α = {', '.join(f'{rate:g}' for rate in learning_rates)}": changed,
    }
    return [
        *(
            check
            for quantity, compare in orders.items()
            for check in second_order(
                quantity,
                of=every_case(compare),
                control="ε = 0 student not subtracted",
                broken=first_case(lambda one, compare=compare: compare(forgetful(one))),
            )
        ),
        Check(
            says="B summed over channels − B, in bounds of rounding, {cases}",
            predicted="0 (≤ 1)",
            of=every_case(gap),
            by=every,
            accepted=Accepted(low=0.0, high=1.0),
            control="largest channel left out",
            broken=every_case(largest_channel),
        ),
        *(
            Check(
                says=f"share where L_T falls though ε = 0: {label}, all outputs, α = {learning_rates[middle]:g}",
                predicted="no guarantee",
                of=case(name, lambda one: one.idle_change[:, middle] < 0),
                by=share(),
            )
            for label, name in FALLING.items()
            if name in evidence.proper
        ),
    ]


CLAIM = Claim(
    number=5,
    name="different-initialization",
    statement="another init: what the teacher learned adds εB + O(ε²), a bilinear form without a sign of its own",
    measurement=Transfer,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps_and_rates, shared=False),
    checks=checks,
)
