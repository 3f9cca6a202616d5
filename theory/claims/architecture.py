r"""Claim 17.1: a student of another architecture has no guarantee; what it learns is a form without a sign of its own.

The teacher's network $g$ and the student's network $f$ each read their part of one tree. With $v = -\nabla L_T$, the
trait in the student's own terms, a step that is behind the teacher's lowers it, relative to the step behind a teacher
that stood still, by $\alpha$ times

$$(\Delta_S(\epsilon) - \Delta_S(0))\cdot v = \epsilon\,B(v, \Delta_T) + O(\epsilon^2), \qquad
B(v, u) = \mathbb{E}_x[(J_f v)^\top M\,(J_g u)],$$

$M$ at the outputs of $f$ and $g$: claim 5's form, in which the two networks meet in their outputs alone. If auxiliary
outputs are imitated that the trait doesn't use, it is odd in the student's auxiliary head: a fair coin, as for any
stranger. The same network with the same values has $B \ge 0$: lemma 1.

References:
    Derived here: $\Delta_S(\epsilon) = -\mathbb{E}[J_f^\top \nabla_z L_S(f, y^\epsilon)]$ with
    $dy^\epsilon/d\epsilon = J_g\Delta_T$; for the coin see `signs`.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps, measure_with
from theory.predictions import natural_units, transfer_form
from theory.problem import Instance, Params, Problem, inner_product, student_displacement, trait_descent
from theory.runs.checks import (
    FAIR_COIN,
    LEAST_SEEDS,
    Check,
    Comparison,
    Evidence,
    case,
    every_case,
    second_order,
    share,
)
from theory.runs.sweeps import Sampling

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Architecture(NamedTuple):
    """How much farther a student goes along its own trait than one whose teacher stood still."""

    predicted: Array
    r"""$\epsilon B(v, \Delta_T)$, shape `(teacher_steps,)`."""
    measured: Array
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot v$, same shape."""
    unrelated: Array
    r"""$\epsilon B(v, u)$ for a teacher that learned from other data, same shape."""
    visible: Array
    """Whether imitation sees the trait in the teacher's outputs, shape `()`."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]) -> Architecture:
    """Predict the transfer between two networks in closed form, then simulate teacher and student."""
    others = problem.draw_trait_data(instance.key)
    direction, other = (trait_descent(problem, instance.teacher, data) for data in (instance.trait_data, others))
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    still = student_displacement(problem, instance, direction, jnp.zeros(()))

    def along(step: jax.Array) -> jax.Array:
        moved = student_displacement(problem, instance, direction, step)
        return inner_product(optax.tree.sub(moved, still), direction)

    form, unrelated = (transfer_form(problem, instance, direction, one) for one in (direction, other))
    return Architecture(steps * form, jax.lax.map(along, steps), steps * unrelated, units.visible)


def pair(name: str, teacher: Problem, student: Problem, *, same_values: bool = False) -> Problem:
    """Put two problems with the same inputs together: the teacher's network is the one's, the student's the other's.

    Args:
        name: What to call it.
        teacher: Gives the teacher's network and what it learns.
        student: Gives everything else.
        same_values: Whether both start from the same values.

    Returns:
        The problem, whose parameters are those of both and whose trait loss is the sum of theirs.
    """

    def initialize(key: jax.Array) -> Params:
        one, other = jax.random.split(key)
        return {"teacher": teacher.initialize(one), "student": student.initialize(one if same_values else other)}

    def trait_loss(params: Params, data: tuple[Any, Any]) -> jax.Array:
        return teacher.trait_loss(params["teacher"], data[0]) + student.trait_loss(params["student"], data[1])

    return Problem(
        name=name,
        apply=lambda params, inputs: student.apply(params["student"], inputs),
        initialize=initialize,
        draw_inputs=student.draw_inputs,
        imitation_loss=student.imitation_loss,
        trait_loss=trait_loss,
        draw_trait_data=lambda key: (teacher.draw_trait_data(key), student.draw_trait_data(key)),
        teacher_apply=lambda params, inputs: teacher.apply(params["teacher"], inputs),
    )


COIN = "convolution to perceptron, auxiliary outputs"
"""The case whose sign is a fair coin."""

SAME = "perceptron to itself, the same values, auxiliary outputs"
"""The case that has lemma 1's guarantee."""

ALL, RECTIFIED = "convolution to perceptron, all outputs", "ReLU to tanh, the same values, auxiliary outputs"
"""Cases of which nothing is known."""


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """A perceptron as the student of a convolutional network, of one of other activation, and of itself."""
    auxiliary = partial(zoo.variant, imitated=zoo.AUXILIARY)
    perceptron, convolution = auxiliary("perceptron"), auxiliary("convolution", network="convolution")
    few = [pair(COIN, convolution, perceptron), pair(SAME, perceptron, perceptron, same_values=True)]
    others = [
        pair(ALL, zoo.variant("convolution", network="convolution"), zoo.build(zoo.REFERENCE)),
        pair(RECTIFIED, auxiliary("ReLU", activation="relu"), perceptron, same_values=True),
    ]
    return few + others * (sampling.cases == "all")


def forms(one: Architecture) -> Comparison:
    """What the student does along its own trait, beside the form."""
    return Comparison(*map(np.asarray, (one.predicted, one.measured, one.visible)))


def unrelated(one: Architecture) -> Comparison:
    """The same beside the form of a teacher that learned from other data."""
    return Comparison(*map(np.asarray, (one.unrelated, one.measured, one.visible)))


def positive(one: Architecture) -> np.ndarray:
    """Whether the student goes farther along its trait, at the smallest step."""
    return np.asarray(one.measured)[one.visible, 0] > 0


def checks(evidence: Evidence) -> list[Check]:
    """The form's order, the fair coin and the rates that nothing guarantees."""
    judged = (COIN, SAME) if SAME in evidence.cases else ()
    coin = Check(
        says=f"share with (Δ_S(ε) − Δ_S(0))·v > 0: {COIN}",
        predicted="0.5 (fair coin)",
        of=case(COIN, positive),
        by=share(),
        accepted=FAIR_COIN,
        control=SAME,
        broken=case(SAME, positive),
        least=LEAST_SEEDS,
    )
    rates = [
        Check(
            says=f"share with (Δ_S(ε) − Δ_S(0))·v > 0: {name}",
            predicted="no guarantee",
            of=case(name, positive),
            by=share(),
        )
        for name in evidence.proper
        if name not in judged
    ]
    order = second_order(
        "(Δ_S(ε) − Δ_S(0))·v − εB(v, Δ_T)",
        of=every_case(forms),
        control="B of a teacher that learned from other data",
        broken=every_case(unrelated),
    )
    return [*order, *[coin] * bool(judged), *rates]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How often each case's student goes along its own trait."""
    from theory.runs.statistics import rate_estimate
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, stated

    looks = zip(evidence.proper.values(), (ORANGE, BLUE, GREEN, PURPLE), ("o", "^", "s", "D"), strict=False)
    for row, (one, color, marker) in enumerate(looks):
        rate = rate_estimate(positive(one))
        reach = [[rate.value - rate.low], [rate.high - rate.value]]
        axes.errorbar(rate.value, row, xerr=reach, fmt=marker, color=color, capsize=3)
        axes.text(rate.low - 0.02, row, f"{rate.value:.2f}", ha="right", va="center", fontsize=8, color=color)
    axes.axvline(0.5, color=BLACK, lw=0.8, ls=":")
    axes.text(0.49, -0.62, "fair coin", ha="right", fontsize=7.5)
    labels = [name.replace(", ", ",\n", 1) for name in evidence.proper]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(ylim=(len(labels) - 0.5, -0.8), xlim=(0.0, 1.03))
    axes.set_xlabel(
        "share of seeds that go farther along the trait\nthan behind an untaught teacher (intervals as judged)"
    )
    axes.set_title(stated("Another architecture: no sure sign", evidence))


CLAIM = Claim(
    number=17.1,
    name="architecture",
    statement="a student of another architecture learns εB + O(ε²) of the trait, a form without a sign of its own",
    measurement=Architecture,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps),
    checks=checks,
    panels={"architecture": Panel(draw=draw, shows=("measured", "visible"))},
    two_networks=True,
)
