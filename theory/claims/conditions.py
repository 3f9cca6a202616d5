r"""The theorem's conditions: whether an imitation loss lies in its class, checked at $z = y$ on the problem's inputs.

The class asks of $L_S(z, y)$, with $M = -\partial^2 L_S/\partial y\,\partial z$ at $z = y = f_{\theta_T^0}(x)$:

1. a minimum at $z = y$, so that $\nabla_z L_S = 0$ there;
2. $M$ symmetric and positive semi-definite;
3. $\nabla_z L_S(f_{\theta_T^0}(x), y)$ orthogonal to the null space of $M$, whatever the labels $y$.

References: Cloud et al. (2025), arXiv:2507.14805, appendix C.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory import zoo
from theory.claim import Claim, measure_with
from theory.experiments import experiment
from theory.losses import Outputs, Scalar
from theory.predictions import output_change, transfer_form
from theory.problem import Instance, Problem, own_key, trait_descent
from theory.runs.checks import CONTROL, Check, Evidence, case, every, every_case
from theory.runs.verdicts import Accepted

TOLERANCE = 1e-6
"""Share of the loss's own scale that passes as zero: a hundredth of what a teacher's smallest step does to it."""

PERTURBATION = 0.1
"""How far the labels are moved from the outputs, relative to these: softmaxes stay away from their ends."""

BROKEN = (
    "condition 1: its gradient at z = y is not zero",
    "condition 2: M is not symmetric",
    "condition 2: M is not positive semi-definite",
    "condition 3: its gradient is not orthogonal to the null space of M",
)
"""What is wrong with a loss, in the order of `Conditions`."""


class Conditions(NamedTuple):
    """By how much one instance breaks each condition, worst over its inputs, and the sign of $A$."""

    gradient: Scalar
    r"""$\|\nabla_z L_S\|$ at $z = y$, relative to that with perturbed labels."""
    asymmetry: Scalar
    r"""$\|M - M^\top\|$ relative to $\|M\|$."""
    negative: Scalar
    r"""Size of the lowest negative eigenvalue of $M$, relative to the largest in size."""
    null: Scalar
    """Part of the gradient with perturbed labels in the null space of $M$, relative to that gradient."""
    curvature: Scalar
    r"""$A$ where the teacher's outputs move by 1, root mean square over inputs and outputs."""


def measure(problem: Problem, instance: Instance) -> Conditions:
    """Look at the loss where student and teacher agree; NaN where it has no second derivative."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    scale = jnp.sqrt(jnp.mean(outputs**2))
    noise = jax.random.normal(own_key(instance.key), outputs.shape, outputs.dtype)
    labels = outputs + PERTURBATION * jnp.where(scale > 0, scale, 1.0) * noise
    slope = jax.grad(problem.imitation_loss)

    def look(pair: tuple[Outputs, Outputs]) -> tuple[Scalar, ...]:
        output, label = pair
        matrix = -jax.jacfwd(slope, argnums=1)(output, output)
        values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        at_minimum, perturbed = slope(output, output), slope(output, label)
        largest = jnp.max(jnp.abs(values))
        flat = jnp.abs(values) <= 1e3 * jnp.finfo(output.dtype).eps * largest
        hidden = jnp.where(flat, vectors.T @ perturbed, 0.0)
        sizes = (at_minimum, perturbed, matrix - matrix.T, hidden)
        return (*map(jnp.linalg.norm, sizes), largest, -jnp.minimum(values[0], 0.0))

    sizes_and_spectra = jax.lax.map(look, (outputs, labels))
    at_minimum, perturbed, asymmetry, hidden, largest, negative = map(jnp.max, sizes_and_spectra)

    def relative(size: Scalar, whole: Scalar) -> Scalar:
        return jnp.where(size == 0, 0.0, size / whole)

    curvature = transfer_form(problem, instance, direction, direction)
    return Conditions(
        relative(at_minimum, perturbed),
        relative(asymmetry, largest),
        relative(negative, largest),
        relative(hidden, perturbed),
        relative(curvature, jnp.mean(change**2)),
    )


def reverse(problem: Problem) -> dict[str, Any]:
    """The problem with its loss reversed, from whose minimum a student walks away."""
    loss = problem.imitation_loss
    reversed_loss = replace(problem, imitation_loss=lambda student, teacher: -loss(student, teacher))
    return {"reversed loss": partial(experiment, reversed_loss, measure)}


def what_breaks(evidence: Evidence) -> str:
    """Say of each problem whose loss lies outside the class which condition it breaks first."""
    outside = {name: broken(conditions) for name, conditions in evidence.proper.items()}
    return "; ".join(f"{name}: imitation loss breaks {words}" for name, words in outside.items() if words)


def broken(conditions: Conditions) -> str:
    """Name the first condition that a loss breaks; empty if there is none."""
    for part, words in zip(conditions[:4], BROKEN, strict=True):
        if np.isnan(part).any():
            return "condition 2: it has no second derivative at z = y"
        if np.max(part) > TOLERANCE:
            return words
    return ""


def worst(one: Conditions) -> np.ndarray:
    """By how much the condition that is broken most is broken, in every instance."""
    return np.max(np.stack(one[:4]), axis=0)


def curvature(one: Conditions) -> np.ndarray:
    """$A$ where outputs move by 1, in every instance."""
    return np.asarray(one.curvature)


CLAIM = Claim(
    number=0,
    name="conditions",
    statement="the imitation loss has its minimum at z = y, and M is symmetric and positive semi-definite: A ≥ 0",
    measurement=Conditions,
    problems=zoo.spread,
    cases=measure_with(measure, controls=reverse),
    checks=(
        Check(
            says="what a loss breaks at z = y, relative to its own scale, every instance of {cases}",
            predicted="0: ∇L_S = 0, M symmetric, M ⪰ 0, null space",
            of=every_case(worst),
            by=every,
            accepted=Accepted(low=0.0, high=TOLERANCE),
            control="reversed loss",
            broken=case(f"{CONTROL}reversed loss", worst),
        ),
        Check(
            says="A where outputs move by 1, every instance of {cases}",
            predicted="≥ 0 (rounding)",
            of=every_case(curvature),
            by=every,
            accepted=Accepted(low=-1e3 * float(np.finfo(float).eps), high=np.inf),
            control="reversed loss",
            broken=case(f"{CONTROL}reversed loss", curvature),
        ),
    ),
)
