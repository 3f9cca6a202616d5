"""Claim 7's other half: students whose ReLUs are rescaled are preconditioned ones, and may learn the wrong way."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claims.evidence import (
    LEAST_SEEDS,
    NEAR_ONE,
    SECOND_ORDER,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    worst_order,
)
from theory.problem import Params
from theory.predictions import natural_units, output_change, predicted_displacement
from theory.problem import Instance, Problem, draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.statistics import Estimate, hull, joint_confidence, median_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict
from theory.symmetries import hidden_sizes, random_rescaling

SPREADS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations of the logarithm of a unit's factor."""

REPORTED_SPREADS = (0.5, 1.5, 3.0)
"""Those of them at which wrong-way rates are reported."""

LEARNING_RATES = (0.1, 1.0)
"""The student's step sizes; at 1 its outputs move as far as the teacher's, and further off are a ReLU's kinks."""

CASES: dict[str, dict[str, Any]] = {
    "ReLU": {},
    "ReLU, auxiliary outputs": {"imitated": zoo.AUXILIARY},
    "ReLU, squared error": {"loss": "squared error"},
    "ReLU, one hidden layer": {"hidden": (16,)},
}
"""Networks of ReLUs, by what else differs from the reference."""


RESCALED = "rescaled: "
"""How the names of the cases begin in a record."""


class Rescaled(NamedTuple):
    """Predicted and measured change of the trait loss in students with rescaled units."""

    predicted: jax.Array
    r"""$-\epsilon\alpha\,\Delta_T^\top S^{-2}K\Delta_T$, shape `(spreads, learning_rates, teacher_steps)`."""
    shared: jax.Array
    r"""$-\epsilon\alpha A$, which ignores $S$, same shape."""
    change: jax.Array
    """Simulated, same shape."""
    largest: jax.Array
    r"""$\epsilon\alpha\|S^{-1}\Delta_T\|\|S^{-1}K\Delta_T\|$: what it is at most, to first order, same shape."""
    shared_cosine: jax.Array
    r"""Cosine $A/\|\Delta_T\|\|K\Delta_T\|$ of a shared init, shape `()`."""
    visible: jax.Array
    """Whether imitation sees the trait, shape `()`."""


def change_trait(
    problem: Problem, instance: Instance, direction: Params, learning_rates: jax.Array, steps: jax.Array
) -> jax.Array:
    """Simulate both steps and measure by how much the student's trait loss changes.

    Args:
        problem: The problem.
        instance: The instance.
        direction: The teacher's displacement per unit of step size.
        learning_rates: The student's step sizes, shape `(learning_rates,)`.
        steps: The teacher's step sizes, shape `(teacher_steps,)`.

    Returns:
        After minus before, shape `(learning_rates, teacher_steps)`.
    """
    moved = jax.vmap(partial(student_displacement, problem, instance, direction))(steps)
    before = problem.trait_loss(instance.student, instance.trait_key)

    def change(learning_rate: jax.Array, displacement: Params) -> jax.Array:
        student = optax.tree.add_scale(instance.student, learning_rate, displacement)
        return problem.trait_loss(student, instance.trait_key) - before

    return jax.vmap(jax.vmap(change, in_axes=(None, 0)), in_axes=(0, None))(learning_rates, moved)


def measure_rescaled(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float]) -> Rescaled:
    """Predict the change of the trait loss from the teacher's side alone, then simulate rescaled students.

    Args:
        problem: A problem whose network is a perceptron of ReLUs and whose trait is a function of its outputs.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, small ones, in natural units.

    Returns:
        Predictions and measurements at every spread.
    """
    instance_key, map_key = jax.random.split(key)
    instance = draw_instance(problem, instance_key)
    teacher = instance.teacher
    direction = trait_descent(problem, teacher, instance.trait_key)
    kernel = predicted_displacement(problem, instance, direction)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step

    def at_spread(spread: jax.Array) -> tuple[jax.Array, ...]:
        rescale = random_rescaling(map_key, hidden_sizes(teacher), spread)
        scales = rescale(jax.tree.map(jnp.ones_like, teacher))
        own_direction, own_kernel = (jax.tree.map(jnp.divide, tree, scales) for tree in (direction, kernel))
        preconditioned = jax.tree.map(jnp.divide, own_kernel, scales)
        moved = output_change(problem, teacher, instance.inputs, preconditioned).change
        rates = jnp.array(LEARNING_RATES) / jnp.sqrt(jnp.mean(moved**2)) / units.teacher_step
        both = rates[:, None] * steps[None, :]
        change = change_trait(problem, instance._replace(student=rescale(teacher)), direction, rates, steps)
        largest = both * optax.tree.norm(own_direction) * optax.tree.norm(own_kernel)
        form, shared = inner_product(direction, preconditioned), inner_product(direction, kernel)
        return -both * form, -both * shared, change, largest

    changes = jax.lax.map(at_spread, jnp.array(SPREADS))
    cosine = inner_product(direction, kernel) / (optax.tree.norm(direction) * optax.tree.norm(kernel))
    return Rescaled(*changes, shared_cosine=cosine, visible=units.visible)


def verify_rescaled(name: str, sampling: Sampling) -> Report:
    """Check the first-order change under rescalings, and report how often they lead the wrong way.

    Args:
        name: The claim's name.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    chosen = list(CASES) if sampling.cases == "all" else list(CASES)[:1]
    problems = [zoo.variant(f"{RESCALED}{case}", activation="relu", **CASES[case]) for case in chosen]
    measure_one = partial(measure_rescaled, teacher_steps=sampling.teacher_steps[: sampling.num_fitted])
    results = sampling.sweep_all({problem.name: partial(measure_one, problem) for problem in problems}, name)
    return Report(judge_rescaled(name, results, sampling), results)


def judge_rescaled(name: str, results: dict[str, Rescaled], sampling: Sampling) -> list[Verdict]:
    """Hold rescaled students against the prediction.

    Args:
        name: The claim's name.
        results: Measurements by case.
        sampling: The step sizes.

    Returns:
        The verdicts.
    """
    cases = list(results.values())
    predicted = [Comparison(*map(np.asarray, (case.predicted, case.change, case.visible))) for case in cases]
    ignored = [Comparison(*map(np.asarray, (case.shared, case.change, case.visible))) for case in cases]
    fitted = curved(predicted)
    spreads = ", ".join(f"{spread:g}" for spread in SPREADS)
    verdicts = [
        Verdict(
            claim=name,
            check=f"order of change of L_T + εα Δ_TᵀS⁻²KΔ_T, ReLUs scaled, spreads {spreads}, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="S left out of the prediction",
            control_measured=worst_order(ignored[:1], sampling),
            instances=num_visible(fitted),
        ),
        Verdict(
            claim=name,
            check=f"change of L_T / −εα Δ_TᵀS⁻²KΔ_T at the smallest ε and α, median, worst spread of {count(cases)}",
            predicted="→ 1",
            measured=median_ratio(predicted),
            accepted=NEAR_ONE,
            control="S left out of the prediction",
            control_measured=median_ratio(ignored),
            instances=num_visible(predicted),
            least_instances=LEAST_SEEDS,
        ),
    ]
    return verdicts + [
        verdict_on_wrong_way(name, case, result, spread)
        for case, result in list(results.items())[:2]
        for spread in REPORTED_SPREADS
    ]


def median_ratio(comparisons: Sequence[Comparison]) -> Estimate:
    """Measured over predicted at the smallest step sizes, median over instances: a few cross a ReLU's kink.

    Args:
        comparisons: One for each case.

    Returns:
        That of the spread farthest from 1, with the hull of all intervals.
    """
    ratios = [(case.measured / case.leading)[case.visible, :, 0, 0] for case in comparisons]
    columns = [column for ratio in ratios for column in ratio.T]
    return hull([median_estimate(column, joint_confidence(len(columns))) for column in columns], predicted=1.0)


def verdict_on_wrong_way(name: str, case: str, result: Rescaled, spread: float) -> Verdict:
    """Report how often the trait loss rises where a shared init would make it fall.

    Args:
        name: The claim's name.
        case: The case's name.
        result: Its measurements.
        spread: One of `SPREADS`.

    Returns:
        The verdict, at the smallest step sizes.
    """
    rises = np.asarray(result.change[result.visible, SPREADS.index(spread), 0, 0] > 0)
    return Verdict(
        claim=name,
        check=f"share where L_T rises, {case.removeprefix(RESCALED)}, spread {spread:g}",
        predicted="no guarantee",
        measured=rate_estimate(rises),
        instances=len(rises),
    )
