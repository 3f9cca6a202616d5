"""The bilinear form of claim 5 on one instance, by what the student imitates, where it starts, and parameter group."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory import zoo
from theory.problem import Params
from theory.predictions import natural_units, predicted_displacement, split_by_group, transfer_channels
from theory.problem import (
    Instance,
    Problem,
    draw_instance,
    inner_product,
    student_displacement,
    trait_descent,
)

IMITATED = {
    "all outputs": (*zoo.CLASSES, *zoo.AUXILIARY),
    "disjoint outputs": zoo.AUXILIARY,
    "trait outputs": zoo.CLASSES,
}
"""What the student imitates: everything, auxiliary outputs that the trait doesn't read, or those that it reads."""

INITS = ("shared", "different")
"""Where the student starts: at the teacher's init, or at one of its own."""


class Forms(NamedTuple):
    """One instance's form under each set of outputs and each init, axes `imitated` and `inits` as above."""

    channels: jax.Array
    r"""$B(P_g v, P_h \Delta_T)$ along the student's own descent $v = -\nabla L_T(\theta_S^0)$,
    shape `(imitated, inits, groups, groups)`."""
    cosine: jax.Array
    r"""Between $v$ and what the teacher's step adds to the student's, to first order, shape `(imitated, inits)`."""
    predicted: jax.Array
    r"""$\epsilon B(P_g v, P_h \Delta_T)$ for all outputs, different inits, shape `(groups, groups, teacher_steps)`."""
    simulated: jax.Array
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot P_g v$ if the teacher moves by $\epsilon P_h \Delta_T$, same shape."""
    visible: jax.Array
    """Whether imitation of all outputs sees the trait, shape `()`."""


def measure_forms(problems: Sequence[Problem], key: jax.Array, *, teacher_steps: Sequence[float]) -> Forms:
    """Split the form by parameter group for several sets of outputs on one instance, and simulate the first.

    Args:
        problems: Problems that differ in nothing but the imitation loss.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.

    Returns:
        The forms, and what the first problem's steps did.
    """
    drawn = draw_instance(problems[0], key, shared=False)
    direction = trait_descent(problems[0], drawn.teacher, drawn.trait_key)
    students = jax.tree.map(lambda *inits: jnp.stack(inits), drawn.teacher, drawn.student)

    def evaluate(problem: Problem, student: Params) -> tuple[jax.Array, jax.Array]:
        instance = drawn._replace(student=student)
        own = trait_descent(problem, student, drawn.trait_key)
        channels = transfer_channels(problem, instance, own, direction).forms
        added = predicted_displacement(problem, instance, direction)
        return channels, jnp.sum(channels) / (optax.tree.norm(added) * optax.tree.norm(own))

    forms = [jax.vmap(partial(evaluate, problem))(students) for problem in problems]
    channels, cosine = (jnp.stack(parts) for parts in zip(*forms, strict=True))
    units = natural_units(problems[0], drawn, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    predicted = jnp.tensordot(channels[0, INITS.index("different")], steps, axes=0)
    return Forms(channels, cosine, predicted, simulate_channels(problems[0], drawn, direction, steps), units.visible)


def simulate_channels(problem: Problem, instance: Instance, direction: Params, steps: jax.Array) -> jax.Array:
    r"""Move the teacher in one group at a time, and see how far the student goes in each of its own.

    Args:
        problem: The problem.
        instance: The instance.
        direction: The teacher's displacement per unit of step size $\Delta_T$, a tree like its parameters.
        steps: The teacher's step sizes $\epsilon$, shape `(teacher_steps,)`.

    Returns:
        Progress along the student's own descent beyond that of a student whose teacher stands still, shape
        `(groups, groups, teacher_steps)`, the student's groups first.
    """
    own = split_by_group(trait_descent(problem, instance.student, instance.trait_key))

    def progress(part: Params, step: jax.Array) -> jax.Array:
        moved = student_displacement(problem, instance, part, step)
        return jax.vmap(inner_product, in_axes=(0, None))(own, moved)

    over_steps = jax.vmap(progress, in_axes=(None, 0), out_axes=-1)
    table = jax.vmap(over_steps, in_axes=(0, None), out_axes=1)(split_by_group(direction), steps)
    return table - progress(direction, jnp.zeros(()))[:, None, None]
