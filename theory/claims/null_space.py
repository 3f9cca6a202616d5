r"""Claim 3: what the imitated outputs can't see, the student doesn't learn, at any step size of the teacher.

$$A = 0 \iff K\Delta_T = 0 \implies \Delta_S(\epsilon)\cdot\Delta_T = 0 \text{ for every } \epsilon,$$

because the null space of $M$ is orthogonal to the loss's gradient in the outputs. The quartic loss breaks that
condition: there $A = 0$, yet $\Delta_S\cdot\Delta_T = 4\epsilon^3\,\mathbb{E}\sum_k (J\Delta_T)_k^4 + O(\epsilon^4)$.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claims.evidence import Claim, Report
from theory.predictions import natural_units, output_change, predicted_displacement, transfer_form
from theory.problem import Problem, draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.statistics import Estimate, median_estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

TINY = float(np.finfo(float).tiny)
"""Keeps 0/0 at 0 where the outputs don't move at all."""

ROUNDING = 8.0
"""Multiples of the rounding unit that pass as zero: a few operations an output, their errors averaged over a batch."""


CONTROLLED = "; control: "
"""Stands between the name of a case and the name of its control."""


class NullSpace(NamedTuple):
    """Everything that vanishes together in one instance, and the units in which to judge it."""

    curvature: jax.Array
    r"""$A$, shape `()`."""
    kernel_norm: jax.Array
    r"""$\|K\Delta_T\|$, shape `()`."""
    steps: jax.Array
    r"""$\epsilon$: the natural step sizes times this instance's unit, shape `(teacher_steps,)`."""
    alignment: jax.Array
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$, shape `(teacher_steps,)`."""
    fourth_moment: jax.Array
    r"""$\mathbb{E}\sum_k (J\Delta_T)_k^4$, shape `()`."""
    rounded: jax.Array
    """Largest of the three in units of rounding, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float]) -> NullSpace:
    r"""Compute $A$ and $K\Delta_T$ in closed form, then simulate both steps.

    One rounding unit is machine epsilon times $\mathbb{E}\|J\Delta_T\|^2$ for $A$, times
    $\|\mathbb{E}J^\top J\Delta_T\|$ for $K\Delta_T$, and times $\mathbb{E}\|J\Delta_T\|_1 (1 + \max|y^\epsilon|)$ for
    the alignment: what these would be if $M$ were the identity and $\nabla_z L_S$ one rounding error of the labels.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units, large ones included.

    Returns:
        The three quantities, their size in rounding units, and the fourth moment for the quartic loss.
    """
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    steps = jnp.array(teacher_steps) * natural_units(problem, instance, direction).teacher_step

    def simulate(teacher_step: jax.Array) -> jax.Array:
        return inner_product(student_displacement(problem, instance, direction, teacher_step), direction)

    curvature = transfer_form(problem, instance, direction, direction)
    kernel_norm = jnp.asarray(optax.tree.norm(predicted_displacement(problem, instance, direction)))
    alignment = jax.lax.map(simulate, steps)

    _, pull_back = jax.vjp(lambda params: problem.apply(params, instance.inputs), instance.student)
    plain_kernel_norm = optax.tree.norm(pull_back(change / len(change))[0])
    reach = 1 + jnp.max(jnp.abs(outputs)) + steps * jnp.max(jnp.abs(change))
    units = jnp.mean(jnp.sum(jnp.abs(change), axis=-1)) * reach
    tops = jnp.stack([jnp.abs(curvature), kernel_norm, jnp.max(jnp.abs(alignment) / jnp.maximum(units, TINY))])
    bottoms = jnp.stack([jnp.mean(jnp.sum(change**2, axis=-1)), plain_kernel_norm, jnp.ones(())])
    shares = tops / jnp.maximum(bottoms, TINY)
    rounded = jnp.max(shares) / jnp.finfo(shares.dtype).eps
    return NullSpace(curvature, kernel_norm, steps, alignment, jnp.mean(jnp.sum(change**4, axis=-1)), rounded)


def largest(result: NullSpace) -> Estimate:
    r"""Largest of $A$, $\|K\Delta_T\|$ and $|\Delta_S\cdot\Delta_T|$, in every instance.

    Args:
        result: A case's measurements.

    Returns:
        Median and whole range.
    """
    columns = [result.curvature[:, None], result.kernel_norm[:, None], result.alignment]
    return range_estimate(np.max(np.abs(np.concatenate(columns, axis=1)), axis=1))


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Find the instances with $A = 0$ among problems that one brings, and check that nothing moves there.

    Args:
        problems: The cases.
        sampling: Instances and step sizes.

    Returns:
        The report; `reported` where no instance has $A = 0$, for then the claim says nothing.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps)
    results = sampling.sweep_all({problem.name: partial(measure_one, problem) for problem in problems}, NAME)
    verdicts = []
    for problem in problems:
        result = results[problem.name]
        null = np.abs(result.curvature) <= np.finfo(float).eps * ROUNDING * np.sqrt(result.fourth_moment)
        verdicts.append(
            Verdict(
                claim=NAME,
                check=f"A, ‖KΔ_T‖ and Δ_S·Δ_T over all ε where A = 0 ({null.sum()} instances), in rounding units",
                predicted="0 (rounding)" if null.any() else "A > 0: nothing to vanish",
                measured=range_estimate(result.rounded[null]) if null.any() else range_estimate(result.curvature),
                accepted=Accepted(low=0.0, high=ROUNDING) if null.any() else None,
                instances=sampling.num_seeds,
            )
        )
    return Report(verdicts, results)


class NullCase(NamedTuple):
    """A problem in the null space, and the same with one thing changed that takes it out."""

    problem: Problem
    """Its name says why nothing is transferred."""
    exact: bool
    """Whether zero means 0.0, or to rounding."""
    control: Problem
    """Its name says what was changed."""


def null_cases() -> list[NullCase]:
    """List the ways in which a trait can be invisible to imitation.

    Returns:
        The cases, each with its control.
    """
    disjoint = {"hidden": (), "imitated": zoo.AUXILIARY}
    head = {"imitated": zoo.AUXILIARY, "trait": "class-head penalty"}
    single = {"imitated": zoo.AUXILIARY[:1]}
    bias = {"trait": "mean output bias"}
    mean = {"hidden": (), "imitated": zoo.CLASSES, "trait": "mean output"}

    def case(name: str, exact: bool, ingredients: dict[str, Any], control: str, **changes: Any) -> NullCase:
        return NullCase(zoo.variant(name, **ingredients), exact, zoo.variant(control, **(ingredients | changes)))

    squared = {"loss": "squared error"}
    return [
        case("linear model, trait on other outputs", True, disjoint, "weight penalty", trait="weight penalty"),
        case("trait on the class head alone", True, head, "trait on all weights", trait="weight penalty"),
        case("one logit under a softmax", True, single, "squared error", **squared),
        case("trait shifts all logits by their biases", False, bias, "squared error", **squared),
        case("linear model, trait shifts all logits", False, mean, "squared error", **squared),
    ]


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on every known way into the null space, and on the quartic loss.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    cases = null_cases()
    quartic, reference = zoo.variant("quartic loss", loss="quartic"), zoo.build(zoo.REFERENCE)
    names = {case.problem: case.problem.name for case in cases}
    names |= {case.control: f"{case.problem.name}{CONTROLLED}{case.control.name}" for case in cases}
    names |= {quartic: quartic.name, reference: reference.name}
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps)
    results = sampling.sweep_all({problem: partial(measure_one, problem) for problem in names}, NAME)
    verdicts = []
    for problem, exact, control in cases:
        result, broken = results[problem], results[control]
        verdicts.append(
            Verdict(
                claim=NAME,
                check=f"A, ‖KΔ_T‖, Δ_S·Δ_T over all ε: {problem.name}",
                predicted="0.0 exactly" if exact else "0 (rounding units)",
                measured=largest(result) if exact else range_estimate(np.asarray(result.rounded)),
                accepted=Accepted(low=0.0, high=0.0 if exact else ROUNDING),
                control=control.name,
                control_measured=largest(broken) if exact else range_estimate(np.asarray(broken.rounded)),
                instances=sampling.num_seeds,
            )
        )
    verdicts.append(quartic_verdict(results[quartic], results[reference], sampling))
    return Report(verdicts, {name: results[problem] for problem, name in names.items()})


def quartic_verdict(quartic: NullSpace, reference: NullSpace, sampling: Sampling) -> Verdict:
    r"""Check the quartic loss, which violates the condition on null spaces, against its own prediction.

    Args:
        quartic: Measurements under the quartic loss.
        reference: Measurements under cross-entropy.
        sampling: Instances and step sizes.

    Returns:
        The verdict on the order of what is left after $4\epsilon^3\,\mathbb{E}\sum(J\Delta_T)^4$.
    """

    def order(result: NullSpace) -> Estimate:
        leading = 4 * np.asarray(result.steps) ** 3 * np.asarray(result.fourth_moment)[:, None]
        return median_estimate(sampling.orders(np.asarray(result.alignment) - leading))

    return Verdict(
        claim=NAME,
        check="order of Δ_S·Δ_T − 4ε³ E Σ(JΔ_T)⁴ under the quartic loss, whose A is 0",
        predicted="4.00",
        measured=order(quartic),
        accepted=Accepted(low=3.95, high=4.05),
        control="cross-entropy",
        control_measured=order(reference),
        instances=sampling.num_seeds,
    )


NAME = "null-space"
CLAIM = Claim(
    name=NAME,
    statement="where A = 0 the imitated outputs don't see the trait, and nothing is transferred at any ε",
    verify=verify,
    verify_zoo=verify_zoo,
)
