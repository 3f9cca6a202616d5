r"""Claim 5: between different inits what the teacher learned still arrives, but with no sign of its own.

For $\theta_S^0 \ne \theta_T^0$ the student moves even if the teacher learned nothing. What the teacher's step adds is

$$\big(\Delta_S(\epsilon) - \Delta_S(0)\big)\cdot v = \epsilon\,B(v, \Delta_T) + O(\epsilon^2), \qquad
B(v, u) = \mathbb{E}_x\big[(J_S v)^\top M (J_T u)\big],$$

so that at a finite step size $\alpha$ of the student, with $v = -\nabla L_T$ at $\theta_S^0 + \alpha\Delta_S(0)$,

$$L_T(\theta_S^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta_S^0 + \alpha\Delta_S(0))
= -\epsilon\,\alpha\,B(v, \Delta_T) + O(\epsilon^2).$$

If the student imitates auxiliary outputs that the trait doesn't use, $B$ is *odd* in the student's auxiliary head:
a head with the opposite sign learns the opposite. A random head whose sign is a fair coin makes the transfer one.
By parameter group $B$ splits exactly, into channels from the teacher's groups to the student's (see `channels`).

References:
    Derived here: differentiate the student's step in $\epsilon$ (see `transfer_form`); for the oddness, note that
    $v$ does not move the auxiliary head, so $J_S v$ is linear in it, while $M$ knows the teacher's outputs alone.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claims.different_initialization.channels import verify_channels
from theory.claims.different_initialization.signs import verify_signs
from theory.claims.evidence import SECOND_ORDER, Claim, Comparison, Report, count, curved, num_visible, worst_order
from theory.problem import Params
from theory.predictions import natural_units, transfer_channels, transfer_form
from theory.problem import (
    Problem,
    draw_instance,
    imitation_descent,
    inner_product,
    student_displacement,
    trait_descent,
)
from theory.runs.statistics import Estimate, range_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


class Transfer(NamedTuple):
    """What the teacher's step adds to the student's, in one instance."""

    predicted_alignment: jax.Array
    r"""$\epsilon B(\Delta_T, \Delta_T)$, shape `(teacher_steps,)`."""
    alignment: jax.Array
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T$, shape `(teacher_steps,)`."""
    predicted_change: jax.Array
    r"""$-\epsilon\alpha B(v, \Delta_T)$, shape `(learning_rates, teacher_steps)`."""
    change: jax.Array
    r"""$L_T$ after the step minus $L_T$ after the step that a teacher with $\epsilon = 0$ causes,
    shape `(learning_rates, teacher_steps)`."""
    idle_alignment: jax.Array
    r"""$\Delta_S(0)\cdot\Delta_T$: the teacher has learned nothing, shape `()`."""
    idle_change: jax.Array
    r"""$L_T(\theta_S^0 + \alpha\Delta_S(0)) - L_T(\theta_S^0)$, likewise, shape `(learning_rates,)`."""
    channels: jax.Array
    r"""$B(P_g \Delta_T, P_h \Delta_T)$ by parameter group of student and teacher, shape `(groups, groups)`."""
    form: jax.Array
    r"""$B(\Delta_T, \Delta_T)$ in one piece, shape `()`."""
    rounding: jax.Array
    """Bound on the rounding of either: a rounding error of every product's size for each term of a sum, shape `()`."""
    visible: jax.Array
    """Whether imitation sees the trait at all, shape `()`."""


def measure(
    problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> Transfer:
    """Predict the transfer in closed form, then simulate the steps with and without the teacher's and subtract.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        learning_rates: The student's step sizes, in natural units.

    Returns:
        Predictions, measurements, and what was subtracted.
    """
    instance = draw_instance(problem, key, shared=False)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    labels = problem.apply(instance.teacher, instance.inputs)
    idle = imitation_descent(problem, instance.student, instance.inputs, labels)
    before = problem.trait_loss(instance.student, instance.trait_key)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    moved = jax.lax.map(partial(student_displacement, problem, instance, direction), steps)

    def trait_after(displacement: Params, learning_rate: jax.Array) -> jax.Array:
        params = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(params, instance.trait_key)

    def at_rate(learning_rate: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        idle_student = optax.tree.add_scale(instance.student, learning_rate, idle)
        own = trait_descent(problem, idle_student, instance.trait_key)
        predicted = -learning_rate * transfer_form(problem, instance, own, direction)
        after = jax.vmap(trait_after, in_axes=(0, None))(moved, learning_rate)
        return predicted, after, trait_after(idle, learning_rate)

    predicted_change, after, after_idle = jax.vmap(at_rate)(jnp.array(learning_rates) * units.learning_rate)
    idle_alignment = inner_product(idle, direction)
    form = transfer_form(problem, instance, direction, direction)
    channels = transfer_channels(problem, instance, direction, direction)
    num_terms = optax.tree.size(direction) + labels.size
    return Transfer(
        predicted_alignment=form * steps,
        alignment=jax.vmap(inner_product, in_axes=(0, None))(moved, direction) - idle_alignment,
        predicted_change=predicted_change[:, None] * steps[None, :],
        change=after - after_idle[:, None],
        idle_alignment=idle_alignment,
        idle_change=after_idle - before,
        channels=channels.forms,
        form=form,
        rounding=num_terms * jnp.finfo(form.dtype).eps * jnp.sum(channels.sizes),
        visible=units.visible,
    )


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the remainders' orders; the control forgets to subtract the student of a teacher that learned nothing.

    Args:
        problems: The cases; the first also serves for the control.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps, learning_rates=sampling.learning_rates)
    results = sampling.sweep_all({problem.name: partial(measure_one, problem) for problem in problems}, NAME)
    rates = ", ".join(f"{rate:g}" for rate in sampling.learning_rates)

    def verdict(quantity: str, compared: list[Comparison], control: Comparison) -> Verdict:
        fitted = curved(compared)
        return Verdict(
            claim=NAME,
            check=f"order of {quantity}, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="ε = 0 student not subtracted",
            control_measured=worst_order([control], sampling),
            instances=num_visible(fitted),
        )

    first = results[problems[0].name]
    alignment = verdict(
        "(Δ_S(ε) − Δ_S(0))·Δ_T − εB(Δ_T, Δ_T)",
        [Comparison(result.predicted_alignment, result.alignment, result.visible) for result in results.values()],
        Comparison(first.predicted_alignment, first.alignment + first.idle_alignment[:, None], first.visible),
    )
    change = verdict(
        f"change of L_T + εαB(v, Δ_T) at α = {rates}",
        [Comparison(result.predicted_change, result.change, result.visible) for result in results.values()],
        Comparison(first.predicted_change, first.change + first.idle_change[..., None], first.visible),
    )
    return Report([alignment, change, channel_verdict(list(results.values()))], results)


def channel_verdict(results: Sequence[Transfer]) -> Verdict:
    """Check that the channels, student's groups by teacher's, sum to the form.

    Args:
        results: Measurements, one for each case.

    Returns:
        The verdict; its control leaves out each instance's largest channel.
    """
    seen = [jax.tree.map(lambda array, visible=result.visible: array[visible], result) for result in results]
    gaps = [result.channels.sum(axis=(1, 2)) - result.form for result in seen]
    largest = [np.abs(result.channels).max(axis=(1, 2)) for result in seen]

    def bounded(gaps: list[np.ndarray]) -> Estimate:
        shares = [np.abs(gap) / result.rounding for gap, result in zip(gaps, seen, strict=True)]
        return range_estimate(np.concatenate(shares))

    return Verdict(
        claim=NAME,
        check=f"B summed over channels − B, in bounds of rounding, {count(results)}",
        predicted="0 (≤ 1)",
        measured=bounded(gaps),
        accepted=Accepted(low=0.0, high=1.0),
        control="largest channel left out",
        control_measured=bounded(largest),
        instances=sum(len(gap) for gap in gaps),
    )


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the orders over the zoo, the oddness and the fair coin, and report the rates that nothing guarantees.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    squared = zoo.variant("ReLU, squared error", activation="relu", loss="squared error")
    falling = {"tanh, cross-entropy": "reference", "ReLU, squared error": squared.name}
    orders = verify([*zoo.neighborhood(sampling), *[squared] * (sampling.cases == "all")], sampling)
    signs = verify_signs(NAME, sampling)
    channels = verify_channels(NAME, sampling)
    middle = len(sampling.learning_rates) // 2
    falls = [
        Verdict(
            claim=NAME,
            check=f"share where L_T falls though ε = 0: {label}, all outputs, α = {sampling.learning_rates[middle]:g}",
            predicted="no guarantee",
            measured=rate_estimate(orders.measurements[case].idle_change[:, middle] < 0),
            instances=sampling.num_seeds,
        )
        for label, case in falling.items()
        if case in orders.measurements
    ]
    return Report(
        [*orders.verdicts, *signs.verdicts, *channels.verdicts, *falls],
        orders.measurements | signs.measurements | channels.measurements,
    )


NAME = "different-initialization"
CLAIM = Claim(
    name=NAME,
    statement="another init: what the teacher learned adds εB + O(ε²), a bilinear form without a sign of its own",
    verify=verify,
    verify_zoo=verify_zoo,
)
