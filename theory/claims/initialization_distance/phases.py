r"""Claim 6 far from the small-step limit: the phase diagram over $(\epsilon, \delta)$, and the way to another init."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claims.evidence import Report
from theory.problem import Params
from theory.paths import displaced_alignment, draw_neighborhood, draw_noise, interpolate, rotate, with_height
from theory.problem import Problem
from theory.runs.statistics import median_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict

GRID = tuple(float(f"{size:.3g}") for size in np.geomspace(1e-4, 10, 26))
"""The teacher's step sizes and the student's displacements in the phase diagram, in natural units."""

FAR = 0.1
"""A displacement of the grid at which every student's init still resembles its teacher's."""

ANGLES = tuple(float(angle) for angle in np.arange(1, 5) * np.pi / 8)
"""Places on the way from the teacher's init to another, the last at the other's, in radians."""


class Phases(NamedTuple):
    """One instance over the whole plane, and along the way to another init."""

    alignment: jax.Array
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$ for a student displaced by noise whose component along $K\Delta_T$ is one
    standard deviation, shape `(displacements, teacher_steps)`, both as in `GRID`."""
    idle_alignment: jax.Array
    r"""$\Delta_S(0)\cdot\Delta_T$ of the same students, shape `(displacements,)`."""
    init_size: jax.Array
    """Size of the displacement, in natural units, that is as long as the teacher's init, shape `()`."""
    rotated: jax.Array
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T / \epsilon A$ at the smallest $\epsilon$ on the way that keeps
    the variance, shape `(angles,)`."""
    interpolated: jax.Array
    """The same on the straight line, shape `(angles,)`."""
    visible: jax.Array
    """Whether imitation sees the trait, shape `()`."""


def measure_phases(problem: Problem, key: jax.Array) -> Phases:
    """Simulate one instance far from its teacher's init.

    Args:
        problem: The problem.
        key: Random key of the instance.

    Returns:
        Alignments over the plane and along both ways to another init.
    """
    instance_key, noise_key = jax.random.split(key)
    around = draw_neighborhood(problem, instance_key)
    teacher, other = around.instance.teacher, around.instance.student
    noise = with_height(around, draw_noise(around, noise_key), 1.0)
    steps = jnp.array((0.0, *GRID)) * around.teacher_unit
    displacements = jnp.array(GRID) * around.noise_unit
    displaced = jax.vmap(lambda size: optax.tree.add_scale(teacher, size, noise))(displacements)
    ways = [jax.vmap(partial(way, teacher, other))(jnp.array(ANGLES)) for way in (rotate, interpolate)]
    students = jax.tree.map(lambda *parts: jnp.concatenate(parts), displaced, *ways)

    def over_steps(student: Params) -> jax.Array:
        return jax.vmap(lambda step: displaced_alignment(problem, around, step, student))(steps)

    alignments = jax.lax.map(over_steps, students)
    plane, away = alignments[: len(GRID)], alignments[len(GRID) :]
    rotated, interpolated = jnp.split((away[:, 1] - away[:, 0]) / (steps[1] * around.curvature), 2)
    init_size = optax.tree.norm(teacher) / optax.tree.norm(noise) / around.noise_unit
    return Phases(plane[:, 1:], plane[:, 0], jnp.asarray(init_size), rotated, interpolated, around.visible)


def verify_phases(name: str, sampling: Sampling) -> Report:
    """Report how much further what the teacher learned reaches, and how it fades on the way to another init.

    Args:
        name: The claim's name.
        sampling: Instances.

    Returns:
        The report, for the reference case.
    """
    problem = zoo.build(zoo.REFERENCE)
    results = sampling.sweep_all({f"phases: {problem.name}": partial(measure_phases, problem)}, name)
    (phases,) = results.values()
    seen = phases.visible
    far = GRID.index(FAR)
    beyond = f"share with Δ_S·Δ_T > 0 at δ = {FAR:g}, ε = {GRID[0]:g}, {FAR / GRID[0]:,.0f} times past the sign change"
    raw = phases.alignment[seen, far, 0]
    half = ANGLES.index(np.pi / 4)
    measured = {
        f"{beyond}, raw": rate_estimate(raw > 0),
        f"{beyond}, ε = 0 student subtracted": rate_estimate(raw > phases.idle_alignment[seen, far]),
        "transfer / εA half way to another init, variance kept, median": median_estimate(phases.rotated[seen, half]),
        "transfer / εA half way to another init, straight line, median": median_estimate(
            phases.interpolated[seen, half]
        ),
        "transfer / εA at the other init, median": median_estimate(phases.rotated[seen, -1]),
    }
    verdicts = [
        Verdict(claim=name, check=check, predicted="no guarantee", measured=estimate, instances=int(seen.sum()))
        for check, estimate in measured.items()
    ]
    return Report(verdicts, results)
