r"""Claim 10: many steps of imitation take the student towards the teacher as far as the tangent kernel reaches.

With a shared initialization, the teacher's outputs fixed and any imitation loss of the theorem's class, $t$ gradient
steps of size $\eta$ give, for networks of any width,

$$\theta_S - \theta^0 = \epsilon\,[I - (I - \eta K)^t]\,\Delta_T + O(\epsilon^2)\quad\text{at fixed } t, \qquad
\Delta_T\cdot(\theta_S - \theta^0) = \epsilon\,\rho_t\,\|\Delta_T\|^2 + O(\epsilon^2).$$

In the eigenbasis of $K$ step $t + 1$ adds $\eta\lambda_i (1 - \eta\lambda_i)^t$ times the teacher's share. So the
alignment grows at every step for *every* teacher if and only if $\eta\lambda_{max} \le 1$, and stays positive and
converges for every visible one below $\eta\lambda_{max} = 2$. A teacher displaced along the top eigenvector makes both
edges sharp: after two steps its student has $2 - \eta\lambda_{max}$ times the alignment that it had after one.

References:
    Derived here, see `theory.transfer`. Kitkana and Arora (2026), arXiv:2604.25779, find the alignment of the
    instantaneous gradients weakly but consistently positive throughout training, and causal for the transfer. To first
    order it is $\epsilon\,\Delta_T^\top K (I - \eta K)^t \Delta_T$: not negative for $\eta\lambda_{max} \le 1$, and
    fading.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    smallest_step_ratios,
    worst_order,
)
from theory.claims.many_steps.limits import verify_limits
from theory.predictions import natural_units
from theory.problem import Instance, Problem, draw_instance, inner_product, trait_descent
from theory.runs.statistics import Estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict
from theory.transfer import (
    TransferSpectrum,
    train_student,
    transfer_fraction,
    transfer_spectrum,
    transferred_displacement,
)

TIMES = (1, 5, 30)
"""Numbers of gradient steps."""

NUM_PRODUCTS = 16
"""Lanczos's products with the kernel: enough for 30 steps, to 1e-6."""

EDGES = (0.95, 1.05, 1.95, 2.05)
r"""Learning rates $\eta\lambda_{max}$ just inside and just outside of steady growth, and of stability."""


class ManySteps(NamedTuple):
    """One instance's training, predicted and simulated."""

    fraction: jax.Array
    r"""Transfer fraction $\rho_t$ by Lanczos, shape `(times,)`."""
    predicted: jax.Array
    r"""$\Delta_T\cdot(\theta_S - \theta^0)$ to first order, shape `(times, teacher_steps)`."""
    measured: jax.Array
    """The same in real training, shape `(times, teacher_steps)`."""
    distance: jax.Array
    r"""$\epsilon\,\|[I - (I - \eta K)^t]\Delta_T\|$, shape `(times, teacher_steps)`."""
    error: jax.Array
    """Distance of the trained student from its predicted parameters, shape `(times, teacher_steps)`."""
    second_step: jax.Array
    """Alignment after two steps over that after one, teacher along the top eigenvector, shape `(edges,)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], shared: bool = True) -> ManySteps:
    """Predict the course of training from products with the kernel, then train.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, in natural units.
        shared: Whether the student starts where the teacher does; the prediction always assumes so.

    Returns:
        Both.
    """
    instance = draw_instance(problem, key, shared=shared)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    spectrum = transfer_spectrum(problem, instance, direction, NUM_PRODUCTS)
    rate = jnp.where(units.visible, 1 / spectrum.largest, 1.0)
    fraction = transfer_fraction(spectrum, rate, jnp.array(TIMES))
    expected = transferred_displacement(problem, instance, direction, rate, TIMES)

    def simulate(teacher_step: jax.Array) -> tuple[jax.Array, jax.Array]:
        labels = problem.apply(optax.tree.add_scale(instance.teacher, teacher_step, direction), instance.inputs)
        moved = train_student(problem, instance, labels, rate, TIMES)
        missed = optax.tree.add_scale(moved, -teacher_step, expected)
        return jax.vmap(inner_product, (0, None))(moved, direction), jax.vmap(optax.tree.norm)(missed)

    measured, error = jax.vmap(simulate, out_axes=1)(steps)
    predicted = fraction * inner_product(direction, direction)
    distance = jax.vmap(optax.tree.norm)(expected)
    second_step = measure_edges(problem, instance, spectrum, teacher_steps[0])
    return ManySteps(
        fraction, jnp.outer(predicted, steps), measured, jnp.outer(distance, steps), error, second_step, units.visible
    )


def measure_edges(problem: Problem, instance: Instance, spectrum: TransferSpectrum, teacher_step: float) -> jax.Array:
    r"""Train two steps behind a teacher that moved along the top eigenvector of the kernel.

    Args:
        problem: The problem.
        instance: The instance.
        spectrum: What the trait sees of the kernel's spectrum.
        teacher_step: The teacher's step size, in natural units.

    Returns:
        Alignment after two steps over that after one, $2 - \eta\lambda_{max}$ to first order, shape `(edges,)`.
    """
    step = teacher_step * natural_units(problem, instance, spectrum.top).teacher_step
    labels = problem.apply(optax.tree.add_scale(instance.teacher, step, spectrum.top), instance.inputs)

    def ratio(edge: jax.Array) -> jax.Array:
        moved = train_student(problem, instance, labels, edge / spectrum.largest, (1, 2))
        first, second = jax.vmap(inner_product, (0, None))(moved, spectrum.top)
        return second / first

    return jax.vmap(ratio)(jnp.array(EDGES))


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the trained parameters, their alignment, and the edges of the learning rate.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps[: sampling.num_fitted])
    stranger = "control: another init"
    measures = {problem.name: partial(measure_one, problem) for problem in problems}
    results = sampling.sweep_all(measures | {stranger: partial(measure_one, problems[0], shared=False)}, NAME)
    cases = [results[problem.name] for problem in problems]
    return Report([*judge_training(cases, results[stranger], sampling), *judge_edges(cases)], results)


def judge_training(cases: Sequence[ManySteps], stranger: ManySteps, sampling: Sampling) -> list[Verdict]:
    """Hold trained students against their prediction.

    Args:
        cases: Measurements, one for each case.
        stranger: The same with a student from another init.
        sampling: The step sizes.

    Returns:
        The verdicts on the order of the error, where there is one, and on the alignment.
    """

    def parameters(result: ManySteps) -> Comparison:
        return Comparison(*map(np.asarray, (result.distance, result.distance + result.error, result.visible)))

    def alignment(result: ManySteps) -> Comparison:
        return Comparison(*map(np.asarray, (result.predicted, result.measured, result.visible)))

    times = ", ".join(map(str, TIMES))
    aligned, fitted = [alignment(case) for case in cases], curved([parameters(case) for case in cases])
    verdicts = [
        Verdict(
            claim=NAME,
            check=f"Δ_T·(θ_S − θ⁰) / ερ_t‖Δ_T‖² at the smallest ε, t = {times}, ηλ_max = 1, {count(cases)}",
            predicted="→ 1",
            measured=smallest_step_ratios(aligned),
            accepted=NEAR_ONE,
            control="student from another init",
            control_measured=smallest_step_ratios([alignment(stranger)]),
            instances=num_visible(aligned),
        )
    ]
    if fitted:
        order = Verdict(
            claim=NAME,
            check=f"order of ‖θ_S − θ⁰ − ε[I − (I − ηK)ᵗ]Δ_T‖, t = {times}, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="student from another init",
            control_measured=worst_order([parameters(stranger)], sampling),
            instances=num_visible(fitted),
        )
        verdicts.insert(0, order)
    return verdicts


def judge_edges(cases: Sequence[ManySteps]) -> list[Verdict]:
    """Hold the second step's effect just inside each edge of the learning rate against that just outside.

    Args:
        cases: Measurements, one for each case.

    Returns:
        The verdicts on steady growth and on lasting positivity.
    """
    seen = np.concatenate([case.second_step[case.visible] for case in cases])

    def verdict(check: str, inside: int, shift: float) -> Verdict:
        def estimate(index: int) -> Estimate:
            return range_estimate(seen[:, index] - shift)

        return Verdict(
            claim=NAME,
            check=f"Δ_T along the top eigenvector, ηλ_max = {EDGES[inside]}: {check}, relative to step 1",
            predicted=f"{2 - shift:g} − ηλ_max = {2 - shift - EDGES[inside]:.2f}",
            measured=estimate(inside),
            accepted=Accepted(low=0.0, high=2.0 - shift),
            control=f"ηλ_max = {EDGES[inside + 1]}",
            control_measured=estimate(inside + 1),
            instances=len(seen),
        )

    return [verdict("growth of the alignment in step 2", 0, 1.0), verdict("alignment after 2 steps", 2, 0.0)]


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the cases farthest apart, and what the numbers of inputs and outputs allow.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    report, limits = verify(zoo.spread(sampling), sampling), verify_limits(NAME, sampling)
    return Report(report.verdicts + limits.verdicts, report.measurements | limits.measurements)


NAME = "many-steps"
CLAIM = Claim(
    name=NAME,
    statement="t steps carry over ε[I − (I − ηK)ᵗ]Δ_T + O(ε²): growing for ηλ_max ≤ 1, positive below 2",
    verify=verify,
    verify_zoo=verify_zoo,
)
