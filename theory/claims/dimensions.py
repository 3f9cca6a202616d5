r"""Claim 10.1: few inputs and outputs confine the students of all teachers to few dimensions.

After any number of steps, and to first order, a student has moved within the range of $K$, with

$$\mathrm{rank}\,K \le N\,\mathrm{rank}\,M,$$

$N$ the number of different inputs; $\mathrm{rank}\,M$ is $m$ for $m$ imitated outputs under squared error and $m - 1$
under a softmax. So does any number of students, whatever their teachers learned: of their displacements all but so many
singular values are $O(\epsilon^2)$.

References:
    Derived here: $K = \mathbb{E}_x[J^\top M J]$ is a sum of $N$ terms of rank at most $\mathrm{rank}\,M$.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int

from theory import zoo
from theory.claim import Claim, fitted_steps, measure_with
from theory.losses import Scalar
from theory.predictions import natural_units
from theory.problem import Instance, Params, Problem, repeat_inputs, trait_key
from theory.runs.checks import SECOND_ORDER, Check, Evidence, median
from theory.runs.sweeps import Sampling
from theory.tangent_kernel import train_student, transfer_spectrum

NUM_TEACHERS, NUM_INPUTS = 6, (2, 3)
"""Students of six teachers that differ in nothing but their displacement; two inputs, and three for the control."""

BOUND = NUM_INPUTS[0] * (len(zoo.AUXILIARY) - 1)
"""Dimensions within which all those students stay, to first order, under a softmax."""

SHORT = 10
"""Steps of gradient descent in which the dimensions are counted."""


class Dimensions(NamedTuple):
    """How many dimensions the students of many teachers span after real training."""

    singular_values: Float[np.ndarray, "num_seeds num_inputs teacher_steps teachers"]
    """Of the matrix whose rows are the students' displacements, largest first."""


def measure(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]
) -> Float[Array, "num_inputs teacher_steps teachers teachers"]:
    """Train students of several random teachers on the same few inputs; inner products of their displacements."""
    keys = jax.random.split(trait_key(instance.key), NUM_TEACHERS)
    directions = jax.vmap(lambda key: optax.tree.random_like(key, instance.teacher, jax.random.normal))(keys)

    def displacement_products(num_inputs: Int[Array, ""]) -> Float[Array, "teacher_steps teachers teachers"]:
        chosen = repeat_inputs(instance, num_inputs)
        first = jax.tree.map(lambda leaves: leaves[0], directions)
        rate = 1 / transfer_spectrum(problem, chosen, first, 2 * NUM_TEACHERS).largest

        def displacement(direction: Params, teacher_step: Scalar) -> Float[Array, " params"]:
            step = teacher_step * natural_units(problem, chosen, direction).teacher_step
            labels = problem.apply(optax.tree.add_scale(instance.teacher, step, direction), chosen.inputs)
            return ravel_pytree(train_student(problem, chosen, labels, rate, (SHORT,)))[0]

        students = jax.vmap(jax.vmap(displacement, (0, None)), (None, 0))(directions, jnp.array(teacher_steps))
        return students @ students.swapaxes(1, 2)

    return jax.vmap(displacement_products)(jnp.array(NUM_INPUTS))


def keep(products: ArrayLike) -> Dimensions:
    """Keep the singular values of what has these inner products."""
    return Dimensions(np.sqrt(np.abs(np.linalg.eigvalsh(np.asarray(products))[..., ::-1])))


def orders(index: int) -> Callable[[Evidence], list[np.ndarray]]:
    """Order of the first singular value beyond the bound, in every instance, for one of the numbers of inputs."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        beyond = [one.singular_values[:, index, :, BOUND] for one in evidence.proper.values()]
        return [evidence.settings.orders(values) for values in beyond]

    return select


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The reference under a softmax over its auxiliary outputs, with a batch that both numbers of inputs divide."""
    del sampling
    auxiliary, batch = zoo.variant("dimensions", imitated=zoo.AUXILIARY), NUM_INPUTS[0] * NUM_INPUTS[1]
    return [replace(auxiliary, draw_inputs=partial(jax.random.normal, shape=(batch, zoo.NUM_FEATURES)))]


CLAIM = Claim(
    number=10.1,
    name="dimensions",
    statement="N inputs confine the students of all teachers to N·rank M dimensions, up to O(ε²)",
    measurement=Dimensions,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps),
    keep=keep,
    checks=(
        Check(
            says=f"order of singular value {BOUND + 1} of {NUM_TEACHERS} students' displacements, "
            f"{NUM_INPUTS[0]} inputs, softmax over {len(zoo.AUXILIARY)} outputs",
            predicted=f"2 (rank of K ≤ {BOUND})",
            of=orders(0),
            by=median,
            accepted=SECOND_ORDER,
            control=f"{NUM_INPUTS[1]} inputs",
            broken=orders(1),
        ),
    ),
    any_problem=False,
)
