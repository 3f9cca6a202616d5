"""The sign of claim 5's bilinear form: odd in the student's auxiliary head, and so a fair coin between strangers."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory import zoo
from theory.claims.evidence import LEAST_SEEDS, Report
from theory.problem import Params
from theory.predictions import transfer_form
from theory.problem import Problem, draw_instance, trait_descent
from theory.runs.statistics import Estimate, joint_confidence, range_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict
from theory.sharing import SHARING, negate_head_columns

LABELS = {"tanh": "tanh", "relu": "ReLU"}
"""Activations for which signs are counted, and how they are written."""

ODD = Accepted(low=-1 - 1e-9, high=-1 + 1e-9)
"""Negating the head negates the form, to rounding (cancellation in the form costs some digits)."""


FAIR_COIN = Accepted(low=0.5, high=0.5, rule="covers")
"""The interval of a share of positive signs contains one half."""


class Signs(NamedTuple):
    """The bilinear form for a student as drawn and with its auxiliary head negated, axis `sharing` as in `SHARING`."""

    teacher: jax.Array
    r"""$B(\Delta_T, \Delta_T)$, shape `(sharing,)`."""
    own: jax.Array
    r"""$B(-\nabla L_T(\theta_S^0), \Delta_T)$, the trait in the student's own terms, shape `(sharing,)`."""
    negated_teacher: jax.Array
    """The first with the student's auxiliary head negated, shape `(sharing,)`."""
    negated_own: jax.Array
    """The second with the student's auxiliary head negated, shape `(sharing,)`."""


def measure_signs(problem: Problem, key: jax.Array) -> Signs:
    """Evaluate the bilinear form for students that share more or less of their init with the teacher.

    Args:
        problem: A problem whose network is a multilayer perceptron of the zoo.
        key: Random key of the instance.

    Returns:
        The form along both directions, with the student's auxiliary head as drawn and negated.
    """
    drawn = draw_instance(problem, key, shared=False)
    direction = trait_descent(problem, drawn.teacher, drawn.trait_key)

    def forms(student: Params) -> tuple[jax.Array, jax.Array]:
        instance = drawn._replace(student=student)
        own = trait_descent(problem, student, drawn.trait_key)
        teacher_form = transfer_form(problem, instance, direction, direction)
        return teacher_form, transfer_form(problem, instance, own, direction)

    students = [share(drawn.teacher, drawn.student) for share in SHARING.values()]
    negated = [negate_head_columns(zoo.AUXILIARY, student) for student in students]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *students, *negated)
    teacher, own = jax.vmap(forms)(stacked)
    half = len(SHARING)
    return Signs(teacher[:half], own[:half], teacher[half:], own[half:])


def verify_signs(name: str, sampling: Sampling) -> Report:
    """Check that the form is odd in the auxiliary head and its sign a fair coin; report how often it is positive.

    Args:
        name: The claim's name.
        sampling: Instances.

    Returns:
        The report.
    """
    auxiliary = {
        activation: zoo.variant(
            f"signs: {LABELS[activation]}, auxiliary outputs", activation=activation, imitated=zoo.AUXILIARY
        )
        for activation in list(LABELS)[: None if sampling.cases == "all" else 1]
    }
    everything = zoo.variant("signs: ReLU, all outputs, squared error", activation="relu", loss="squared error")
    problems = [*auxiliary.values(), everything]
    results = sampling.sweep_all({problem.name: partial(measure_signs, problem) for problem in problems}, name)

    def share_positive(problem: Problem, sharing: str, direction: str = "own") -> Estimate:
        forms = getattr(results[problem.name], direction)[:, list(SHARING).index(sharing)]
        return rate_estimate(forms > 0, joint_confidence(2 * len(auxiliary)))

    def flipped(problem: Problem) -> np.ndarray:
        signs = results[problem.name]
        return np.stack([signs.negated_teacher / signs.teacher, signs.negated_own / signs.own])

    verdicts = [
        Verdict(
            claim=name,
            check="B after / before negating the student's auxiliary head, every instance",
            predicted="−1 (odd)",
            measured=range_estimate(np.concatenate([flipped(problem) for problem in auxiliary.values()])),
            accepted=ODD,
            control="imitating all outputs",
            control_measured=range_estimate(flipped(everything)),
            instances=len(auxiliary) * sampling.num_seeds,
        )
    ]
    verdicts += [
        Verdict(
            claim=name,
            check=f"share of positive B: {LABELS[activation]}, auxiliary outputs, {sharing} shared",
            predicted="0.5 (fair coin)",
            measured=share_positive(problem, sharing),
            accepted=FAIR_COIN,
            control="everything shared",
            control_measured=share_positive(problem, "everything"),
            instances=sampling.num_seeds,
            least_instances=LEAST_SEEDS,
        )
        for activation, problem in auxiliary.items()
        for sharing in ("nothing", "all but the auxiliary head")
    ]
    unguaranteed = [
        *[(problem, sharing, "own") for problem in auxiliary.values() for sharing in list(SHARING)[2:5]],
        (everything, "nothing", "own"),
        (everything, "nothing", "teacher"),
    ]
    verdicts += [
        Verdict(
            claim=name,
            check=f"share of positive B{' along Δ_T' if direction == 'teacher' else ''}: "
            f"{problem.name.removeprefix('signs: ')}, {sharing} shared",
            predicted="no guarantee",
            measured=share_positive(problem, sharing, direction),
            instances=sampling.num_seeds,
        )
        for problem, sharing, direction in unguaranteed
    ]
    return Report(verdicts, results)
