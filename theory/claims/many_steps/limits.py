r"""What limits the transfer fraction of claim 10: how many inputs the student sees, and how many outputs it imitates.

$$\rho_t \to \frac{\|P\Delta_T\|^2}{\|\Delta_T\|^2}, \qquad \mathrm{rank}\,P \le N\,\mathrm{rank}\,M,$$

$P$ the projection on the range of $K$, $N$ the number of different inputs; $\mathrm{rank}\,M$ is $m$ for $m$ imitated
outputs under squared error and $m - 1$ under a softmax. A teacher displaced in a random direction therefore reaches its
student in a share of at most $N(m - 1)/p$ of its displacement, on average, with $p$ parameters.

References:
    Derived here: $K = \mathbb{E}_x[J^\top M J]$ is a sum of $N$ terms of rank at most $\mathrm{rank}\,M$, and
    $\mathbb{E}\|Pu\|^2 = \mathrm{tr}\,P / p$ for an isotropic unit vector $u$.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from theory import networks, traits, zoo
from theory.claims.evidence import LEAST_SEEDS, SECOND_ORDER, Report
from theory.problem import Params
from theory.predictions import natural_units
from theory.problem import Instance, Problem, draw_instance, inner_product, trait_descent
from theory.runs.statistics import CONFIDENCE, Estimate, mean_estimate, median_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict
from theory.transfer import train_student, transfer_fraction, transfer_spectrum

NUM_TEACHERS, NUM_INPUTS = 6, (2, 3)
"""Students of six teachers that differ in nothing but their displacement; two inputs, and three for the control."""

BOUND = NUM_INPUTS[0] * (len(zoo.AUXILIARY) - 1)
"""Dimensions within which all those students stay, to first order, under a softmax."""

SHORT = 10
"""Steps of gradient descent in which the dimensions are counted."""

BATCH, WIDE, LONG, NUM_PRODUCTS = 16, 16, 50, 32
"""Inputs and auxiliary outputs of the network whose limits are drawn, steps of its training, Lanczos's products."""

LIMITS = (*((outputs, BATCH) for outputs in (2, 4, 8, WIDE)), *((WIDE, inputs) for inputs in (1, 2, 4, 8)))
"""How many auxiliary outputs the student imitates, and on how many different inputs."""

SMALL_STEP = 1e-4
"""The teacher's step size, in natural units."""


class Dimensions(NamedTuple):
    """How many dimensions the students of many teachers span after real training."""

    products: jax.Array
    """Inner products of their displacements, shape `(num_inputs, teacher_steps, teachers, teachers)`."""

    def singular_values(self) -> np.ndarray:
        """Find the singular values of the matrix whose rows are the displacements.

        Returns:
            Largest first, shape `(num_seeds, num_inputs, teacher_steps, teachers)`.
        """
        return np.sqrt(np.abs(np.linalg.eigvalsh(np.asarray(self.products))[..., ::-1]))


def restrict_inputs(instance: Instance, num_inputs: jax.Array) -> Instance:
    """Repeat the first inputs in place of all others.

    Args:
        instance: The instance.
        num_inputs: How many inputs to keep; a divisor of the batch.

    Returns:
        The instance with a batch of the same size.
    """
    return instance._replace(inputs=instance.inputs[jnp.arange(len(instance.inputs)) % num_inputs])


def measure_dimensions(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float]) -> Dimensions:
    """Train students of several random teachers on the same few inputs.

    Args:
        problem: The problem; its batch has a multiple of two and of three inputs.
        key: Random key of the instance.
        teacher_steps: The teachers' step sizes, in natural units.

    Returns:
        Inner products of the students' displacements.
    """
    instance = draw_instance(problem, key)
    keys = jax.random.split(instance.trait_key, NUM_TEACHERS)
    directions = jax.vmap(lambda key: optax.tree.random_like(key, instance.teacher, jax.random.normal))(keys)

    def displacement_products(num_inputs: jax.Array) -> jax.Array:
        chosen = restrict_inputs(instance, num_inputs)
        first = jax.tree.map(lambda leaves: leaves[0], directions)
        rate = 1 / transfer_spectrum(problem, chosen, first, 2 * NUM_TEACHERS).largest

        def displacement(direction: Params, teacher_step: jax.Array) -> jax.Array:
            step = teacher_step * natural_units(problem, chosen, direction).teacher_step
            labels = problem.apply(optax.tree.add_scale(instance.teacher, step, direction), chosen.inputs)
            return ravel_pytree(train_student(problem, chosen, labels, rate, (SHORT,)))[0]

        students = jax.vmap(jax.vmap(displacement, (0, None)), (None, 0))(directions, jnp.array(teacher_steps))
        return students @ students.swapaxes(1, 2)

    return Dimensions(jax.vmap(displacement_products)(jnp.array(NUM_INPUTS)))


class Limits(NamedTuple):
    """Transfer fractions under every limit, predicted and in real training."""

    predicted: jax.Array
    """Of what the teacher learned, shape `(limits,)`."""
    measured: jax.Array
    """The same in real training, shape `(limits,)`."""
    random: jax.Array
    """In real training behind a teacher displaced in a random direction, shape `(limits,)`."""
    ceiling: jax.Array
    """$N(m - 1)/p$, shape `(limits,)`."""


def measure_limits(problem: Problem, key: jax.Array) -> Limits:
    """Train students that imitate few outputs, or on few inputs; one program does them all, as masks.

    Args:
        problem: A problem whose outputs from the fourth on are auxiliary; its imitation loss is replaced.
        key: Random key of the instance.

    Returns:
        Transfer fractions after `LONG` steps at the largest rate of steady growth.
    """
    drawn = draw_instance(problem, key)
    learned = trait_descent(problem, drawn.teacher, drawn.trait_key)
    random = optax.tree.random_like(jax.random.fold_in(key, 1), drawn.teacher, jax.random.normal)

    def measure_one(num_outputs: jax.Array, num_inputs: jax.Array) -> Limits:
        limited = replace(problem, imitation_loss=partial(cross_entropy_on_first, num_outputs))
        instance = restrict_inputs(drawn, num_inputs)
        spectrum = transfer_spectrum(limited, instance, learned, NUM_PRODUCTS)
        rate = 1 / spectrum.largest

        def fraction(direction: Params) -> jax.Array:
            step = SMALL_STEP * natural_units(limited, instance, direction).teacher_step
            labels = problem.apply(optax.tree.add_scale(drawn.teacher, step, direction), instance.inputs)
            moved = train_student(limited, instance, labels, rate, (LONG,))
            moved = jax.tree.map(lambda leaves: leaves[0], moved)
            return inner_product(moved, direction) / (step * inner_product(direction, direction))

        measured, behind_random = jax.vmap(fraction)(jax.tree.map(lambda *leaves: jnp.stack(leaves), learned, random))
        predicted = transfer_fraction(spectrum, rate, jnp.array(LONG))
        ceiling = num_inputs * (num_outputs - 1) / len(ravel_pytree(drawn.teacher)[0])
        return Limits(predicted, measured, behind_random, ceiling)

    return jax.vmap(measure_one)(*jnp.array(LIMITS).T)


def cross_entropy_on_first(num_outputs: jax.Array, student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Cross-entropy over the first few auxiliary outputs.

    Args:
        num_outputs: How many of them; may be traced.
        student: Student's outputs, shape `(outputs,)`.
        teacher: Teacher's outputs, shape `(outputs,)`.

    Returns:
        The loss, in nats.
    """
    student, teacher = student[zoo.NUM_CLASSES :], teacher[zoo.NUM_CLASSES :]
    chosen = jnp.arange(len(teacher)) < num_outputs
    labels = jax.nn.softmax(teacher, where=chosen)
    return optax.losses.softmax_cross_entropy(student, labels, where=chosen)


def wide_problem() -> Problem:
    """Build the reference network with three class outputs and many auxiliary ones.

    Returns:
        The problem.
    """
    network = networks.mlp((zoo.NUM_FEATURES, 16, 16, zoo.NUM_CLASSES + WIDE))
    return replace(
        zoo.build(zoo.REFERENCE),
        name="limits",
        apply=network.apply,
        initialize=network.initialize,
        draw_inputs=partial(jax.random.normal, shape=(BATCH, zoo.NUM_FEATURES)),
        trait_loss=traits.classification(network.apply, zoo.NUM_FEATURES, zoo.NUM_CLASSES),
    )


def verify_limits(name: str, sampling: Sampling) -> Report:
    """Check that few inputs and outputs confine every student to few dimensions.

    Args:
        name: The claim's name.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    auxiliary = zoo.variant("dimensions", imitated=zoo.AUXILIARY)
    batch = NUM_INPUTS[0] * NUM_INPUTS[1]
    few = replace(auxiliary, draw_inputs=partial(jax.random.normal, shape=(batch, zoo.NUM_FEATURES)))
    steps = sampling.teacher_steps[: sampling.num_fitted]
    measures = {"dimensions": partial(measure_dimensions, few, teacher_steps=steps)}
    results = sampling.sweep_all(measures | {"limits": partial(measure_limits, wide_problem())}, name)
    return Report(judge_limits(name, results["dimensions"], results["limits"], sampling), results)


def judge_limits(name: str, dimensions: Dimensions, limits: Limits, sampling: Sampling) -> list[Verdict]:
    """Hold what few inputs and outputs allow against real training.

    Args:
        name: The claim's name.
        dimensions: Measurements of the spanned dimensions.
        limits: Measurements of transfer fractions.
        sampling: The step sizes.

    Returns:
        The verdicts on the rank, and on the share of a random teacher that passes.
    """
    orders = sampling.orders(dimensions.singular_values()[..., BOUND])
    one, two = LIMITS.index((WIDE, 1)), LIMITS.index((WIDE, 2))

    def share(index: int) -> Estimate:
        return mean_estimate(np.asarray(limits.random[:, index] / limits.ceiling[:, one]), CONFIDENCE)

    return [
        Verdict(
            claim=name,
            check=f"order of singular value {BOUND + 1} of {NUM_TEACHERS} students' displacements, "
            f"{NUM_INPUTS[0]} inputs, softmax over {len(zoo.AUXILIARY)} outputs",
            predicted=f"2 (rank of K ≤ {BOUND})",
            measured=median_estimate(orders[:, 0]),
            accepted=SECOND_ORDER,
            control=f"{NUM_INPUTS[1]} inputs",
            control_measured=median_estimate(orders[:, 1]),
            instances=sampling.num_seeds,
        ),
        Verdict(
            claim=name,
            check=f"ρ_{LONG} / ((m − 1)/p), teacher in a random direction, one input, softmax over m = {WIDE}, mean",
            predicted="→ 1 from below",
            measured=share(one),
            accepted=Accepted(low=0.9, high=1.0, rule="covers"),
            control="two inputs",
            control_measured=share(two),
            instances=sampling.num_seeds,
            least_instances=LEAST_SEEDS,
        ),
    ]
