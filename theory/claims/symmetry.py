r"""Claim 7: what a student of the same function but other parameters learns.

Let the trait loss be a function of the outputs, and $\theta_S^0 = S\theta_T^0$ with $S$ linear (`theory.symmetries`)
and $f_{S\theta} = f_\theta$ for every $\theta$. Then

$$L_T(\theta_S^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta_S^0)
= -\epsilon\alpha\,\Delta_T^\top (S^\top S)^{-1} K\Delta_T + O(\epsilon^2).$$

Reordered or (tanh) negated units make $S$ orthogonal: the change is that of a shared init, to rounding, at *every*
$\epsilon$ and $\alpha$. A ReLU's units may also be scaled (`rescaling`).

References:
    Derived here. Differentiating $F(f_{S\theta}) = F(f_\theta)$ gives $S^\top\nabla F|_{S\theta} = \nabla F|_\theta$
    for any $F$. So the student's step is $S^{-\top}$ times that of a student at $\theta_T^0$, and maps back to a step
    $\alpha(S^\top S)^{-1}\Delta_S$ from $\theta_T^0$: matched students are preconditioned ones. With
    $\Delta_S = \epsilon K\Delta_T + O(\epsilon^2)$ and $\nabla L_T = -\Delta_T$ there, the equation follows.
"""

from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from theory import zoo
from theory.claim import Claim, steps_and_rates
from theory.experiments import experiment, first_key
from theory.losses import Scalar
from theory.predictions import natural_units, output_change
from theory.problem import Instance, Params, Problem, stack_trees, student_displacement, trait_descent
from theory.runs.checks import ROUNDING, Check, every, every_case
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted
from theory.symmetries import enter_first, hidden_sizes, random_permutation, random_signs

RELU, TANH = "permuted: ReLU", "permuted: tanh, with signs"
"""Both cases; the units of the second are negated too."""


class Permuted(NamedTuple):
    r"""How far the change of $L_T$ in other students is from that in a student of the teacher's own init.

    The unit is one rounding error of what is subtracted: machine epsilon times $|L_T|$ before and after, plus what
    such an error in every label passes on to $L_T$, $\alpha\,\mathbb{E}\|J\Delta_T\|_1(1 + \max|y^\epsilon|)$.
    """

    matched: Float[Array, "learning_rates teacher_steps"]
    """With the units reordered (and negated, if the activation is odd)."""
    broken: Float[Array, "learning_rates teacher_steps"]
    """With what enters the first layer moved, and what leaves it not: another function."""
    ratio: Scalar
    """Median of the change with the units reordered over that of the shared init, over all step sizes."""


def measure(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float], learning_rates: Sequence[float], odd: bool
) -> Permuted:
    """Simulate a perceptron's student of a shared init, one with its units reordered, and one that is broken."""
    _, order_key, sign_key = jax.random.split(instance.key, 3)
    teacher = instance.teacher
    direction = trait_descent(problem, teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    rates = jnp.array(learning_rates) * units.learning_rate
    reorder = random_permutation(order_key, hidden_sizes(teacher))
    negate = random_signs(sign_key, hidden_sizes(teacher))
    matched = negate(reorder(teacher)) if odd else reorder(teacher)

    def change(student: Params) -> Float[Array, "learning_rates teacher_steps"]:
        return change_trait(problem, instance._replace(student=student), direction, rates, steps)

    students = stack_trees(teacher, matched, enter_first(reorder, teacher))
    shared, reordered, other = jax.lax.map(change, students)
    outputs, moved = output_change(problem, teacher, instance.inputs, direction)
    labels = 1 + jnp.max(jnp.abs(outputs)) + steps * jnp.max(jnp.abs(moved))
    passed_on = rates[:, None] * jnp.mean(jnp.sum(jnp.abs(moved), axis=-1)) * labels[None, :]
    before = problem.trait_loss(teacher, instance.trait_data)
    sizes = jnp.abs(before) + jnp.abs(before + shared) + passed_on
    unit = jnp.finfo(sizes.dtype).eps * sizes
    apart = [jnp.abs(changed - shared) / unit for changed in (reordered, other)]
    return Permuted(*apart, ratio=jnp.median(reordered / shared))


def change_trait(
    problem: Problem,
    instance: Instance,
    direction: Params,
    learning_rates: Float[Array, " learning_rates"],
    steps: Float[Array, " teacher_steps"],
) -> Float[Array, "learning_rates teacher_steps"]:
    """Simulate both steps and measure by how much the student's trait loss changes."""
    moved = jax.vmap(partial(student_displacement, problem, instance, direction))(steps)
    before = problem.trait_loss(instance.student, instance.trait_data)

    def change(learning_rate: Scalar, displacement: Params) -> Scalar:
        student = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(student, instance.trait_data) - before

    return jax.vmap(jax.vmap(change, in_axes=(None, 0)), in_axes=(0, None))(learning_rates, moved)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build both cases."""
    del sampling
    return [zoo.variant(RELU, activation="relu"), zoo.variant(TANH)]


def cases(problems: Sequence[Problem], sampling: Sampling) -> dict[str, Experiment]:
    """Reorder the units of every problem, and negate those of an odd activation."""
    keywords = steps_and_rates(sampling)
    return {
        problem.name: experiment(problem, measure, key_of=first_key(3), odd=problem.name == TANH, **keywords)
        for problem in problems
    }


CLAIM = Claim(
    number=7,
    name="symmetry",
    statement="same function, other parameters: units reordered change nothing",
    measurement=Permuted,
    problems=zoo_problems,
    cases=cases,
    checks=(
        Check(
            says="change of L_T, units reordered (tanh: and negated) − shared init, all ε and α, in rounding units",
            predicted="0 (rounding)",
            of=every_case(attrgetter("matched")),
            by=every,
            accepted=Accepted(low=0.0, high=ROUNDING),
            control="units' inputs reordered, their outputs not",
            broken=every_case(attrgetter("broken")),
        ),
    ),
    any_problem=False,
)
