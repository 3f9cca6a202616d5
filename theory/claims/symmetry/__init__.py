r"""Claim 7: what a student of the same function but other parameters learns.

Let the trait loss be a function of the outputs, and $\theta_S^0 = S\theta_T^0$ with $S$ linear (`theory.symmetries`)
and $f_{S\theta} = f_\theta$ for every $\theta$. Then

$$L_T(\theta_S^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta_S^0)
= -\epsilon\alpha\,\Delta_T^\top (S^\top S)^{-1} K\Delta_T + O(\epsilon^2).$$

Reordered or (tanh) negated units make $S$ orthogonal: the change is that of a shared init, to rounding, at *every*
$\epsilon$ and $\alpha$. A ReLU's units may also be scaled, with $\log s \sim N(0, \text{spread}^2)$. Then $S$ is
diagonal, with $s_j$ for the bias of unit $j$ and $s_j/s_i$ for the weight from unit $i$ to unit $j$ ($s = 1$ for inputs
and outputs); $S^{-2}K$ is not symmetric, and the sign is not guaranteed (`rescaling`).

References:
    Derived here. Differentiating $F(f_{S\theta}) = F(f_\theta)$ gives $S^\top\nabla F|_{S\theta} = \nabla F|_\theta$
    for any $F$. So the student's step is $S^{-\top}$ times that of a student at $\theta_T^0$, and maps back to a step
    $\alpha(S^\top S)^{-1}\Delta_S$ from $\theta_T^0$: matched students are preconditioned ones. With
    $\Delta_S = \epsilon K\Delta_T + O(\epsilon^2)$ and $\nabla L_T = -\Delta_T$ there, the equation follows.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory import zoo
from theory.claims.evidence import Claim, Report
from theory.claims.null_space import ROUNDING
from theory.claims.symmetry.rescaling import change_trait, verify_rescaled
from theory.problem import Params
from theory.predictions import natural_units, output_change
from theory.problem import Problem, draw_instance, trait_descent
from theory.runs.statistics import Estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict
from theory.symmetries import enter_first, hidden_sizes, random_permutation, random_signs


class Permuted(NamedTuple):
    """How the trait loss changes in a student with reordered units, beside one of a shared init."""

    shared: jax.Array
    r"""Change of $L_T$ in a student of the teacher's own init, shape `(learning_rates, teacher_steps)`."""
    matched: jax.Array
    """The same with the units reordered (and negated, if the activation is odd), same shape."""
    broken: jax.Array
    """The same with what enters the first layer moved, and what leaves it not: another function, same shape."""
    unit: jax.Array
    r"""One rounding error of what is subtracted, same shape: machine epsilon times $|L_T|$ before and after, plus what
    such an error in every label passes on to $L_T$, $\alpha\,\mathbb{E}\|J\Delta_T\|_1(1 + \max|y^\epsilon|)$."""


def measure(
    problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], learning_rates: Sequence[float], odd: bool
) -> Permuted:
    """Simulate a student of a shared init, one with its units reordered, and one that is broken.

    Args:
        problem: A problem whose network is a multilayer perceptron and whose trait is a function of its outputs.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        learning_rates: The student's step sizes, in natural units.
        odd: Whether the activation is odd, so that units may be negated too.

    Returns:
        The three changes, and the unit in which to compare them.
    """
    instance_key, order_key, sign_key = jax.random.split(key, 3)
    instance = draw_instance(problem, instance_key)
    teacher = instance.teacher
    direction = trait_descent(problem, teacher, instance.trait_key)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    rates = jnp.array(learning_rates) * units.learning_rate
    reorder = random_permutation(order_key, hidden_sizes(teacher))
    negate = random_signs(sign_key, hidden_sizes(teacher))
    matched = negate(reorder(teacher)) if odd else reorder(teacher)

    def change(student: Params) -> jax.Array:
        return change_trait(problem, instance._replace(student=student), direction, rates, steps)

    students = jax.tree.map(lambda *leaves: jnp.stack(leaves), teacher, matched, enter_first(reorder, teacher))
    changes = jax.lax.map(change, students)
    outputs, moved = output_change(problem, teacher, instance.inputs, direction)
    labels = 1 + jnp.max(jnp.abs(outputs)) + steps * jnp.max(jnp.abs(moved))
    passed_on = rates[:, None] * jnp.mean(jnp.sum(jnp.abs(moved), axis=-1)) * labels[None, :]
    before = problem.trait_loss(teacher, instance.trait_key)
    sizes = jnp.abs(before) + jnp.abs(before + changes[0]) + passed_on
    return Permuted(*changes, unit=jnp.finfo(sizes.dtype).eps * sizes)


def verify_zoo(sampling: Sampling) -> Report:
    """Check equality under permutations and the first-order change under rescalings.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    relu, tanh = zoo.variant("permuted: ReLU", activation="relu"), zoo.variant("permuted: tanh, with signs")
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps, learning_rates=sampling.learning_rates)
    measures = {problem.name: partial(measure_one, problem, odd=problem is tanh) for problem in (relu, tanh)}
    results = sampling.sweep_all(measures, NAME)
    rescaled = verify_rescaled(NAME, sampling)
    return Report([verdict_on_equality(results), *rescaled.verdicts], results | rescaled.measurements)


def verdict_on_equality(results: dict[str, Permuted]) -> Verdict:
    """Hold students with reordered units against those of a shared init.

    Args:
        results: Measurements by case.

    Returns:
        The verdict; its control moves what enters the first layer alone.
    """

    def difference(quantity: str) -> Estimate:
        gaps = [np.abs(getattr(result, quantity) - result.shared) / result.unit for result in results.values()]
        return range_estimate(np.stack(gaps))

    return Verdict(
        claim=NAME,
        check="change of L_T, units reordered (tanh: and negated) − shared init, all ε and α, in rounding units",
        predicted="0 (rounding)",
        measured=difference("matched"),
        accepted=Accepted(low=0.0, high=ROUNDING),
        control="units' inputs reordered, their outputs not",
        control_measured=difference("broken"),
        instances=sum(len(result.shared) for result in results.values()),
    )


NAME = "symmetry"
CLAIM = Claim(
    name=NAME,
    statement="same function, other parameters: units reordered change nothing, units rescaled precondition by S⁻²",
    verify=None,
    verify_zoo=verify_zoo,
)
