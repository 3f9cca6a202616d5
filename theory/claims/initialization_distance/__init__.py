r"""Claim 6: how far a student's init may be from its teacher's depends on how far the teacher has moved.

A student with $\theta_S^0 = \theta_T^0 + \delta d$ is drawn to its teacher's *init* as well as to where that went:

$$\Delta_S\cdot\Delta_T = \epsilon A - \delta\,d^\top K\Delta_T + O\big((\epsilon + \delta)^2\big), \qquad
A = \Delta_T^\top K\Delta_T.$$

The sign depends on $\delta/\epsilon$ and changes at $\delta = \epsilon A / d^\top K\Delta_T$. Under Gaussian noise of
size $\sigma$ in every parameter it is positive with probability $\Phi(z)$, $z = \epsilon A / \sigma\|K\Delta_T\|$.
Displacements are in natural units, $A/\|K\Delta_T\|$ times the teacher's, so that $z = \epsilon/\sigma$.

References:
    Derived here. At $z = y = f_{\theta_T^0}$ the gradient $\nabla_z L_S$ is zero, its derivatives in $z$ and $y$ are
    $M$ and $-M$. With $z = f_{\theta_T^0} + \delta Jd$ and $y = f_{\theta_T^0} + \epsilon J\Delta_T$, both to first
    order, it is $M(\delta Jd - \epsilon J\Delta_T)$, so that $\Delta_S = -\mathbb{E}[J_S^\top\nabla_z L_S]$ becomes
    $K(\epsilon\Delta_T - \delta d)$, whose product with $\Delta_T$ is the first equation. Under a Gaussian $d$ that is
    normal with mean $\epsilon A$ and standard deviation $\sigma\|K\Delta_T\|$, hence $\Phi$.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from theory import zoo
from theory.claims.evidence import (
    LEAST_SEEDS,
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
from theory.claims.initialization_distance.phases import verify_phases
from theory.problem import Params
from theory.paths import displaced_alignment, draw_neighborhood, draw_noise, with_height
from theory.problem import Problem, inner_product
from theory.runs.statistics import Estimate, joint_confidence, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

RAYS = (0.25, 1.0, 4.0)
r"""Ratios $\delta/\epsilon$ at which both shrink together, in natural units."""

LEVELS = (0.25, 0.5, 1.0, 2.0)
r"""Values of $z = \epsilon A / \sigma\|K\Delta_T\|$ at which signs under noise are counted."""

DRAWS = 16
"""Draws of the noise for each instance: independent, since the probability of a sign is the same in every instance."""

CORRECTIONS = 6
r"""Steps towards the boundary; each shrinks the error by a factor $O(\epsilon)$."""


class Distance(NamedTuple):
    """Predicted and measured alignment around one teacher's init."""

    shared: jax.Array
    r"""$\epsilon A$: what is predicted if the displacement is ignored, shape `(teacher_steps,)`."""
    predicted: jax.Array
    r"""$\epsilon A - \delta\,d^\top K\Delta_T$ for Gaussian $d$, shape `(rays, teacher_steps)`."""
    alignment: jax.Array
    r"""$\Delta_S\cdot\Delta_T$, shape `(rays, teacher_steps)`."""
    predicted_boundary: jax.Array
    r"""$\epsilon A / d^\top K\Delta_T$ for noise $d$ whose component along $K\Delta_T$ is one standard deviation,
    shape `(teacher_steps,)`."""
    boundary: jax.Array
    r"""The $\delta$ at which $\Delta_S\cdot\Delta_T = 0$, shape `(teacher_steps,)`."""
    isotropic_boundary: jax.Array
    r"""The same as if $K$ were a multiple of the identity, $\epsilon\|\Delta_T\|^2 / d^\top\Delta_T$, same shape."""
    positive: jax.Array
    r"""Whether $\Delta_S\cdot\Delta_T > 0$ under Gaussian noise, at the least $\epsilon$, shape `(draws, levels)`."""
    positive_level: jax.Array
    r"""The same under the same noise without its component along $K\Delta_T$, same shape."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float]) -> Distance:
    """Predict the alignment off the teacher's init in closed form, then simulate both steps and measure it.

    Args:
        problem: The problem.
        key: Random key of the instance.
        teacher_steps: The teacher's step sizes, small ones, in natural units.

    Returns:
        Alignments along rays, the boundary, and signs under noise.
    """
    instance_key, noise_key = jax.random.split(key)
    around = draw_neighborhood(problem, instance_key)
    teacher = around.instance.teacher
    natural = jnp.array(teacher_steps)
    steps, sizes = natural * around.teacher_unit, natural * around.noise_unit
    shared = steps * around.curvature

    def align(step: jax.Array, size: jax.Array, noise: Params) -> jax.Array:
        return displaced_alignment(problem, around, step, optax.tree.add_scale(teacher, size, noise))

    noise = draw_noise(around, noise_key)
    lengths = jnp.array(RAYS)[:, None] * sizes[None, :]
    over_steps = jax.vmap(align, in_axes=(0, 0, None))
    alignment = jax.vmap(over_steps, in_axes=(None, 0, None))(steps, lengths, noise)
    predicted = shared[None, :] - lengths * around.slope * inner_product(noise, around.uphill)
    uphill = with_height(around, noise, 1.0)

    def correct(size: jax.Array, _: None) -> tuple[jax.Array, None]:
        return size + over_steps(steps, size, uphill) / around.slope, None

    boundary, _ = jax.lax.scan(correct, sizes, None, length=CORRECTIONS)
    norm, overlap = (inner_product(around.direction, other) for other in (around.direction, uphill))

    def signs(key: jax.Array) -> jax.Array:
        drawn = draw_noise(around, key)
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), drawn, with_height(around, drawn, 0.0))
        over_levels = jax.vmap(align, in_axes=(None, 0, None))
        return jax.vmap(over_levels, in_axes=(None, None, 0))(steps[0], sizes[0] / jnp.array(LEVELS), both) > 0

    keys = jax.random.split(jax.random.fold_in(noise_key, 1), DRAWS)
    positive, positive_level = jnp.moveaxis(jax.lax.map(signs, keys), 1, 0)
    return Distance(
        shared, predicted, alignment, sizes, boundary, steps * norm / overlap, positive, positive_level, around.visible
    )


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the order of the remainder along rays, the boundary, and how often noise leaves the sign alone.

    Args:
        problems: The cases; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_steps=sampling.teacher_steps[: sampling.num_fitted])
    results = sampling.sweep_all({problem.name: partial(measure_one, problem) for problem in problems}, NAME)
    first = results[problems[0].name]
    distances = list(results.values())
    rays = ", ".join(f"{ray:g}" for ray in RAYS)

    def order(quantity: str, cases: list[Comparison], control: str, broken: Comparison) -> Verdict:
        fitted = curved(cases)
        return Verdict(
            claim=NAME,
            check=f"order of {quantity}, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control=control,
            control_measured=worst_order([broken], sampling),
            instances=num_visible(fitted),
        )

    undisplaced = np.broadcast_to(first.shared[:, None], first.alignment.shape)
    boundaries = [Comparison(result.predicted_boundary, result.boundary, result.visible) for result in distances]
    isotropic = Comparison(first.isotropic_boundary, first.boundary, first.visible)
    ignored = "as if K were a multiple of the identity"
    verdicts = [
        order(
            f"Δ_S·Δ_T − (εA − δ dᵀKΔ_T) at δ/ε = {rays}",
            [Comparison(result.predicted, result.alignment, result.visible) for result in distances],
            "displacement left out of the prediction",
            Comparison(undisplaced, first.alignment, first.visible),
        ),
        order("δ at the sign change − εA/dᵀKΔ_T", boundaries, ignored, isotropic),
        Verdict(
            claim=NAME,
            check=f"δ at the sign change / (εA/dᵀKΔ_T) at the smallest ε, every instance of {count(problems)}",
            predicted="→ 1",
            measured=smallest_step_ratios(boundaries),
            accepted=NEAR_ONE,
            control=ignored,
            control_measured=smallest_step_ratios([isotropic]),
            instances=num_visible(boundaries),
        ),
        *(verdict_on_noise(index, distances) for index in range(len(LEVELS))),
    ]
    return Report(verdicts, results)


def verdict_on_noise(index: int, distances: Sequence[Distance]) -> Verdict:
    r"""Judge how often the alignment stays positive under noise of one size.

    Args:
        index: Which of `LEVELS`.
        distances: Measurements, one for each case.

    Returns:
        The verdict; its control takes the component along $K\Delta_T$ out of the noise, which then changes no sign.
    """
    level = LEVELS[index]
    probability = float(stats.norm.cdf(level))

    def share(quantity: str) -> Estimate:
        signs = np.concatenate([getattr(case, quantity)[case.visible, :, index].ravel() for case in distances])
        return rate_estimate(signs, joint_confidence(len(LEVELS))) if signs.size else Estimate(*[np.nan] * 3)

    return Verdict(
        claim=NAME,
        check=f"share with Δ_S·Δ_T > 0 under Gaussian noise of size σ = εA/({level:g} ‖KΔ_T‖)",
        predicted=f"Φ({level:g}) = {probability:.3f}",
        measured=share("positive"),
        accepted=Accepted(low=probability, high=probability, rule="covers"),
        control="noise orthogonal to KΔ_T",
        control_measured=share("positive_level"),
        instances=sum(int(result.visible.sum()) for result in distances),
        least_instances=LEAST_SEEDS,
    )


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on cases far apart, and report what happens far from the small-step limit.

    Attention is left out: it takes longer than all the others together.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    near = verify([problem for problem in zoo.spread(sampling) if problem.name != "attention"], sampling)
    far = verify_phases(NAME, sampling)
    return Report([*near.verdicts, *far.verdicts], near.measurements | far.measurements)


NAME = "initialization-distance"
CLAIM = Claim(
    name=NAME,
    statement="init displaced by δd: the alignment is εA − δ dᵀKΔ_T, and under noise positive with probability Φ",
    verify=verify,
    verify_zoo=verify_zoo,
)
