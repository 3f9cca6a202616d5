r"""Claim 3.1: under the cosine distance nothing is transferred of the outputs' scale, though the teacher changes it.

Along a direction $v$ that scales all outputs, $Jv = f$, claim 3 asks for $v^\top K v = 0$ and $\Delta_S(\epsilon)\cdot
v = 0$ whatever the labels: the null space of $M = (I - \hat y\hat y^\top)/\|y\|^2$ is $y(x)$, another one for each
input, and $\nabla_z L_S \perp z$, since the loss doesn't depend on $\|z\|$.

References: derived here; see `imitation_losses`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory import losses, outside_losses, zoo
from theory.claim import Claim, measure_with, steps
from theory.loss_table import UNNORMALIZED
from theory.losses import Scalar
from theory.predictions import natural_units, transfer_form
from theory.problem import Instance, Problem, inner_product, student_displacement, trait_descent
from theory.runs.checks import ROUNDING, Check, case, every
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted


class Scaling(NamedTuple):
    r"""What a step of imitation does along a direction $v$ that scales all outputs, $Jv = f$."""

    curvature: Scalar
    r"""$v^\top K v$."""
    alignment: Float[Array, " teacher_steps"]
    r"""$\Delta_S(\epsilon)\cdot v$ for labels of a teacher that learned something."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float | Scalar]) -> Scaling:
    """Look along the last layer of a network of the zoo: it is linear and called `head`."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    scaling = jax.tree.map(jnp.zeros_like, instance.teacher) | {"head": instance.teacher["head"]}
    steps = jnp.array(teacher_steps) * natural_units(problem, instance, direction).teacher_step

    def simulate(teacher_step: Scalar) -> Scalar:
        return inner_product(student_displacement(problem, instance, direction, teacher_step), scaling)

    return Scaling(transfer_form(problem, instance, scaling, scaling), jax.vmap(simulate)(steps))


def largest(one: Scaling) -> np.ndarray:
    """Largest of curvature and alignment over all steps, in units of rounding, in every instance."""
    both = np.concatenate([one.curvature[:, None], one.alignment], axis=1)
    return np.max(np.abs(both), axis=1) / np.finfo(both.dtype).eps


LOSSES = {
    "scaling: cosine distance": losses.cosine_distance,
    "scaling: control": outside_losses.negative_inner_product,
}
"""The loss that doesn't see the scale, and one that does, by case."""


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The reference under both losses."""
    del sampling
    reference = zoo.build(zoo.REFERENCE)
    return [replace(reference, name=name, imitation_loss=loss) for name, loss in LOSSES.items()]


CLAIM = Claim(
    number=3.1,
    name="output-scale",
    statement="under the cosine distance nothing is transferred of the outputs' scale, at any ε",
    measurement=Scaling,
    problems=zoo_problems,
    cases=measure_with(measure, steps),
    checks=(
        Check(
            says="vᵀKv and Δ_S·v over all ε under cosine distance, Jv = f, in rounding units",
            predicted="0 (rounding)",
            of=case("scaling: cosine distance", largest),
            by=every,
            accepted=Accepted(low=0.0, high=ROUNDING),
            control=UNNORMALIZED,
            broken=case("scaling: control", largest),
        ),
    ),
    any_problem=False,
)
