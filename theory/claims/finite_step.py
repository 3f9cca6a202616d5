r"""Claim 15: a teacher that went any distance, however it was trained, and how sure the first step towards it is.

With a shared init $\theta_0$, the teacher at $\theta_0 + D$, $p_0$ and $p_T$ the softmaxes of its outputs $f_0$ and
$f_T$ before and after, and $r = f_T - f_0 - JD$, a student that imitates it by cross-entropy has exactly

$$\Delta_S\cdot D = \mathbb{E}[\mathrm{KL}(p_T\|p_0) + \mathrm{KL}(p_0\|p_T)] - \mathbb{E}[(p_T - p_0)\cdot r].$$

No $\epsilon$ is small here. The sign is sure while $|\mathbb{E}[(p_T - p_0)\cdot r]|$ is less than the Jeffreys
divergence: a radius that follows from the identity, that a trained teacher can be held against, and whose leading term
needs two sets of logits. Under
any loss of Bregman form, squared error for one, its symmetrized divergence takes the place of Jeffreys'.

References:
    Derived here, see `theory.finite_step`. For small $D$ this is lemma 1 of Cloud et al. (2025), arXiv:2507.14805: the
    divergence is $D^\top K D + O(\|D\|^3)$ and the curvature $O(\|D\|^3)$. *Bregman form*: with $L_S$ up to terms in
    $y$ equal to $\Phi(z) - \Phi(y) - \nabla\Phi(y)\cdot(z - y)$, the descent directions
    $g(z, y) = \nabla\Phi(y) - \nabla\Phi(z)$ sum to 0 around any cycle of outputs, which is tried here on three.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import losses, zoo
from theory.claim import Claim, Panel, any_visible, measure_with
from theory.experiments import experiment
from theory.finite_step import finite_step
from theory.losses import ImitationLoss, Outputs, Scalar
from theory.predictions import natural_units
from theory.problem import (
    BatchOutputs,
    Instance,
    Params,
    Problem,
    inner_product,
    own_key,
    stack_trees,
    student_displacement,
    trait_descent,
)
from theory.runs.checks import CONTROL, VANISHING, Check, Evidence, case, every, every_case, first_case, share
from theory.runs.statistics import Estimate
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (0.01, 0.1, 1.0, 3.0, 10.0)
"""How far the teacher goes, in natural units: 1 moves its outputs by 1, and 10 makes another network of it."""

DIRECTIONS = ("down the trait loss", "at random")
"""Where it goes."""

ANOTHER_INIT, LOG_COSH = "another init", "log-cosh"
"""Controls: a student with its own init, and a loss of the theorem's class that is not of Bregman form."""


class Steps(NamedTuple):
    """One instance behind teachers that went any distance, axes as in `DIRECTIONS` and `SIZES`."""

    symmetrized: Float[Array, "directions sizes"]
    """Jeffreys', or the loss's own symmetrized divergence, from the values of the loss."""
    divergence: Float[Array, "directions sizes"]
    r"""$\mathbb{E}[g\cdot(f_T - f_0)]$, from its gradient."""
    curvature: Float[Array, "directions sizes"]
    r"""$\mathbb{E}[g\cdot r]$."""
    measured: Float[Array, "directions sizes"]
    r"""$\Delta_S\cdot D$ of the simulated student."""
    cycle: Float[Array, " directions"]
    """What the descent directions around three outputs sum to, relative to their sizes."""
    visible: Bool[Array, " directions"]
    """Whether imitation sees the displacement."""


def symmetrize(loss: ImitationLoss, one: BatchOutputs, other: BatchOutputs) -> Scalar:
    """Mean over rows of the loss from each side of two sets of outputs, each less its least value."""

    def both(one: Outputs, other: Outputs) -> Scalar:
        return loss(one, other) + loss(other, one) - loss(one, one) - loss(other, other)

    return jnp.mean(jax.vmap(both)(one, other))


def sum_around(loss: ImitationLoss, first: BatchOutputs, second: BatchOutputs, third: BatchOutputs) -> Scalar:
    """Add up the descent directions from each of three sets of outputs to the next; 0 to rounding for Bregman forms."""
    cycle = ((first, second), (second, third), (third, first))
    terms = jnp.stack([jax.vmap(jax.grad(loss))(*pair) for pair in cycle])
    return jnp.linalg.norm(jnp.sum(terms, axis=0)) / jnp.linalg.norm(terms)


def measure(problem: Problem, instance: Instance) -> Steps:
    """Split each step's alignment as if the init were shared, and take the step."""
    learned = trait_descent(problem, instance.teacher, instance.trait_data)
    random = optax.tree.random_like(own_key(instance.key), learned, jax.random.normal)
    loss = problem.imitation_loss

    def along(direction: Params) -> Steps:
        units = natural_units(problem, instance, direction)

        def at_size(size: Scalar) -> tuple[jax.Array, ...]:
            step = size * units.teacher_step
            teacher = optax.tree.add_scale(instance.teacher, step, direction)
            parts = finite_step(problem.apply, instance.teacher, teacher, instance.inputs, loss)
            moved = student_displacement(problem, instance, direction, step)
            before, after = (problem.apply(params, instance.inputs) for params in (instance.teacher, teacher))
            symmetrized = symmetrize(loss, before, after)
            return symmetrized, *parts, step * inner_product(moved, direction), before, after

        *numbers, before, after = jax.lax.map(at_size, jnp.array(SIZES))
        near, far = after[SIZES.index(0.1)], after[SIZES.index(1.0)]
        return Steps(*numbers, cycle=sum_around(loss, before[0], near, far), visible=units.visible)

    return jax.lax.map(along, stack_trees(learned, random))


def controls(problem: Problem) -> dict[str, Callable[..., Any]]:
    """A student with its own init, and a loss that is not of Bregman form."""
    other = replace(problem, imitation_loss=losses.log_cosh)
    return {
        ANOTHER_INIT: partial(experiment, problem, measure, shared=False),
        LOG_COSH: partial(experiment, other, measure),
    }


def seen(one: Steps, name: str) -> np.ndarray:
    """A field where imitation sees the displacement, an axis for the sizes left."""
    return np.asarray(getattr(one, name))[np.asarray(one.visible)]


def mismatch(one: Steps) -> np.ndarray:
    """What is left of the step's alignment, relative to divergence and curvature."""
    divergence, curvature, measured = (seen(one, name) for name in ("divergence", "curvature", "measured"))
    return np.abs(measured - divergence + curvature) / (np.abs(divergence) + np.abs(curvature))


class Divergences(NamedTuple):
    """Symmetrized divergences of a case."""

    excess: Float[np.ndarray, "visible sizes"]
    """From the loss's values over that from its gradient, less 1."""
    cycle: Float[np.ndarray, " visible"]
    """What tells whether the loss is of Bregman form."""

    def __len__(self) -> int:
        return len(self.excess)


def divergences(one: Steps) -> Divergences:
    """Compare the symmetrized divergence with its form as a product."""
    excess = np.abs(seen(one, "symmetrized") / seen(one, "divergence") - 1)
    return Divergences(excess, seen(one, "cycle"))


def is_bregman(one: Divergences, settings: Any) -> bool:
    """Whether the case's loss is of Bregman form, on its own outputs."""
    del settings
    return len(one) > 0 and bool(np.all(one.cycle <= VANISHING))


def largest_excess(cases: Sequence[Divergences], settings: Any) -> Estimate:
    """The largest relative difference between both forms of the divergence, over every instance."""
    return every([one.excess for one in cases], settings)


def towards(least: float, most: float) -> Callable[[Steps], np.ndarray]:
    r"""$\Delta_S\cdot D$ over the divergence, where the curvature is such a share of it."""

    def take(one: Steps) -> np.ndarray:
        divergence, share = seen(one, "divergence"), np.abs(seen(one, "curvature") / seen(one, "divergence"))
        return (seen(one, "measured") / divergence)[(share >= least) & (share < most)]

    return take


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Every step's alignment over the curvature term, both in units of the divergence, in the first case."""
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, stated

    def points(one: Steps, sizes: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        columns = [SIZES.index(size) for size in sizes]
        divergence, curvature, measured = (
            seen(one, name)[:, columns].ravel() for name in ("divergence", "curvature", "measured")
        )
        return curvature / divergence, measured / divergence

    groups = (((3.0, 10.0), ORANGE, "^"), ((1.0,), GREEN, "s"), ((0.01, 0.1), BLUE, "o"))
    limit = 2.5
    axes.axvspan(-1, 1, color=GRAY, alpha=0.15, lw=0, label="within the radius: from a shared init, surely towards")
    axes.axhline(0, color=BLACK, lw=0.6, ls=":")
    own = points(evidence.cases[f"{CONTROL}{ANOTHER_INIT}"], (1.0, 3.0, 10.0))
    axes.plot(*own, "x", color=GRAY, ms=2.5, mew=0.6, label="student from another init")
    for sizes, color, marker in groups:
        share, measured = points(evidence.first, sizes)
        away = np.mean(measured < 0)
        label = f"$\\epsilon = {', '.join(f'{size:g}' for size in sizes)}$: away in {100 * away:.3g} %"
        axes.plot(share, measured, marker, color=color, ms=3, mfc="none", mew=0.7, label=label)
    axes.plot([-limit, limit], [1 + limit, 1 - limit], color=BLACK, lw=0.9, zorder=1, label="exact: 1 − curvature")
    axes.set(xlim=(-limit, limit), ylim=(-1.7, 5.4))
    axes.set_xlabel(r"curvature $\mathbb{E}[(p_T - p_0)\cdot r]$ / Jeffreys divergence")
    axes.set_ylabel(r"simulated $\Delta_S\cdot D$ / Jeffreys divergence")
    axes.set_title(stated("One step within the radius surely goes towards the teacher", evidence))
    axes.legend(loc="upper right", fontsize=7.5, labelspacing=0.3)


ANY_SIZE = f"ε = {SIZES[0]:g} to {SIZES[-1]:g}"
"""How far the teachers went, in the words of the checks."""

CLAIM = Claim(
    number=15,
    name="finite-step",
    statement="any displacement D: Δ_S·D is the Jeffreys divergence less a curvature term, exactly; so when it is sure",
    measurement=Steps,
    problems=zoo.spread,
    cases=measure_with(measure, controls=controls),
    checks=(
        Check(
            says=f"size of Δ_S·D − divergence + curvature, relative, every instance, {ANY_SIZE}, {{cases}}",
            predicted="0 (rounding)",
            of=every_case(mismatch),
            by=every,
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", mismatch),
        ),
        Check(
            says="size of L_S(f_0, f_T) + L_S(f_T, f_0) − least values, over E[g·(f_T − f_0)], − 1, {cases}",
            predicted="0 (rounding)",
            of=every_case(divergences),
            among=is_bregman,
            by=largest_excess,
            accepted=Accepted(low=0.0, high=VANISHING),
            control="log-cosh, of no Bregman form",
            broken=case(f"{CONTROL}{LOG_COSH}", divergences),
            optional=True,
        ),
        Check(
            says=f"Δ_S·D / divergence where |curvature| < divergence, every instance, {ANY_SIZE}, {{cases}}",
            predicted="> 0",
            of=every_case(towards(0.0, 1.0)),
            by=every,
            accepted=Accepted(low=0.0, high=np.inf),
            control="beyond that radius",
            broken=first_case(towards(1.0, np.inf)),
        ),
        Check(
            says="share of steps beyond the radius that lead away from the teacher, {cases}",
            predicted="no guarantee",
            of=every_case(lambda one: towards(1.0, np.inf)(one) < 0),
            by=share(),
        ),
    ),
    panels={
        "finite-step": Panel(draw=draw, shows=("divergence", "curvature", "measured", "visible"), needs=any_visible)
    },
)
