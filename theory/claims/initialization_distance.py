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

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, fitted_steps, measure_with
from theory.displaced_inits import displaced_alignment, draw_noise, measure_neighborhood, with_height
from theory.experiments import first_key
from theory.losses import Scalar
from theory.problem import Instance, Params, Problem, inner_product, stack_trees
from theory.runs.checks import (
    LEAST_SEEDS,
    NEAR_ONE,
    Check,
    Comparison,
    every,
    every_case,
    first_case,
    second_order,
    share,
)
from theory.runs.verdicts import Accepted

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

    shared: Float[Array, " teacher_steps"]
    r"""$\epsilon A$: what is predicted if the displacement is ignored."""
    predicted: Float[Array, "rays teacher_steps"]
    r"""$\epsilon A - \delta\,d^\top K\Delta_T$ for Gaussian $d$."""
    alignment: Float[Array, "rays teacher_steps"]
    r"""$\Delta_S\cdot\Delta_T$."""
    predicted_boundary: Float[Array, " teacher_steps"]
    r"""$\epsilon A / d^\top K\Delta_T$ for noise $d$ whose component along $K\Delta_T$ is one standard deviation."""
    boundary: Float[Array, " teacher_steps"]
    r"""The $\delta$ at which $\Delta_S\cdot\Delta_T = 0$."""
    isotropic_boundary: Float[Array, " teacher_steps"]
    r"""The same as if $K$ were a multiple of the identity, $\epsilon\|\Delta_T\|^2 / d^\top\Delta_T$."""
    positive: Bool[Array, "draws levels"]
    r"""Whether $\Delta_S\cdot\Delta_T > 0$ under Gaussian noise, at the least $\epsilon$."""
    positive_level: Float[Array, "draws levels"]
    r"""The same under the same noise without its component along $K\Delta_T$."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]) -> Distance:
    """Predict the alignment off the teacher's init in closed form, then simulate both steps and measure it."""
    _, noise_key, signs_key = jax.random.split(instance.key, 3)
    around = measure_neighborhood(problem, instance)
    teacher = around.instance.teacher
    natural = jnp.array(teacher_steps)
    steps, sizes = natural * around.teacher_unit, natural * around.noise_unit
    shared = steps * around.curvature

    def align(step: Scalar, size: Scalar, noise: Params) -> Scalar:
        return displaced_alignment(problem, around, step, optax.tree.add_scale(teacher, size, noise))

    noise = draw_noise(around, noise_key)
    lengths = jnp.array(RAYS)[:, None] * sizes[None, :]
    over_steps = jax.vmap(align, in_axes=(0, 0, None))
    alignment = jax.vmap(over_steps, in_axes=(None, 0, None))(steps, lengths, noise)
    predicted = shared[None, :] - lengths * around.slope * inner_product(noise, around.uphill)
    uphill = with_height(around, noise, 1.0)

    def correct(size: Float[Array, " teacher_steps"], _: None) -> tuple[Float[Array, " teacher_steps"], None]:
        return size + over_steps(steps, size, uphill) / around.slope, None

    boundary, _ = jax.lax.scan(correct, sizes, None, length=CORRECTIONS)
    norm, overlap = (inner_product(around.direction, other) for other in (around.direction, uphill))

    def signs(key: jax.Array) -> Bool[Array, "2 levels"]:
        other = draw_noise(around, key)
        both = stack_trees(other, with_height(around, other, 0.0))
        over_levels = jax.vmap(align, in_axes=(None, 0, None))
        return jax.vmap(over_levels, in_axes=(None, None, 0))(steps[0], sizes[0] / jnp.array(LEVELS), both) > 0

    keys = jax.random.split(signs_key, DRAWS)
    positive, positive_level = jnp.moveaxis(jax.lax.map(signs, keys), 1, 0)
    return Distance(
        shared, predicted, alignment, sizes, boundary, steps * norm / overlap, positive, positive_level, around.visible
    )


def aligned(one: Distance) -> Comparison:
    r"""$\Delta_S\cdot\Delta_T$ beside its prediction, on every ray."""
    return Comparison(*map(np.asarray, (one.predicted, one.alignment, one.visible)))


def undisplaced(one: Distance) -> Comparison:
    """The same as if the displacement didn't matter."""
    return aligned(one._replace(predicted=np.broadcast_to(one.shared[:, None], one.alignment.shape)))


def turned(one: Distance) -> Comparison:
    r"""The $\delta$ of the sign change beside its prediction."""
    return Comparison(*map(np.asarray, (one.predicted_boundary, one.boundary, one.visible)))


def isotropic(one: Distance) -> Comparison:
    """The same as if $K$ were a multiple of the identity."""
    return turned(one._replace(predicted_boundary=one.isotropic_boundary))


def ratio(compare: Callable[[Distance], Comparison]) -> Callable[[Distance], np.ndarray]:
    """Measured over predicted at the smallest step, in every visible instance."""
    return lambda one: compare(one).ratio


def kept(level: float, across: bool = False) -> Callable[[Distance], np.ndarray]:
    """Whether noise of a size, or the part of it that shouldn't matter, leaves the sign, in every visible instance."""
    index = LEVELS.index(level)
    return lambda one: np.asarray(one.positive_level if across else one.positive)[one.visible, :, index]


def check_noise(level: float) -> Check:
    r"""How often noise of one size leaves the sign alone; its component along $K\Delta_T$ is what changes it."""
    probability = NormalDist().cdf(level)
    return Check(
        says=f"share with Δ_S·Δ_T > 0 under Gaussian noise of size σ = εA/({level:g} ‖KΔ_T‖)",
        predicted=f"Φ({level:g}) = {probability:.3f}",
        of=every_case(kept(level)),
        by=share(len(LEVELS)),
        accepted=Accepted(low=probability, high=probability, rule="covers"),
        control="noise orthogonal to KΔ_T",
        broken=every_case(kept(level, across=True)),
        least=LEAST_SEEDS,
    )


IGNORED = "as if K were a multiple of the identity"
"""The control of the boundary."""

CLAIM = Claim(
    number=6,
    name="initialization-distance",
    statement="init displaced by δd: the alignment is εA − δ dᵀKΔ_T, and under noise positive with probability Φ",
    measurement=Distance,
    problems=zoo.spread,
    cases=measure_with(measure, fitted_steps, key_of=first_key(3), shared=False),
    checks=(
        *second_order(
            f"Δ_S·Δ_T − (εA − δ dᵀKΔ_T) at δ/ε = {', '.join(f'{ray:g}' for ray in RAYS)}",
            of=every_case(aligned),
            control="displacement left out of the prediction",
            broken=first_case(undisplaced),
        ),
        *second_order(
            "δ at the sign change − εA/dᵀKΔ_T",
            of=every_case(turned),
            control=IGNORED,
            broken=first_case(isotropic),
        ),
        Check(
            says="δ at the sign change / (εA/dᵀKΔ_T) at the smallest ε, every instance of {cases}",
            predicted="→ 1",
            of=every_case(ratio(turned)),
            by=every,
            accepted=NEAR_ONE,
            control=IGNORED,
            broken=first_case(ratio(isotropic)),
        ),
        *map(check_noise, LEVELS),
    ),
)
