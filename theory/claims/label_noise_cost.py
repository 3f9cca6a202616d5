r"""Claim 14: the noise of sampled labels costs trait loss, so that there is a best step size of the student.

A student that shares the teacher's init takes one step of size $\alpha$ on $N$ sampled labels. On average over them

$$\mathbb{E}[\Delta L_T] = -\alpha\epsilon A + \tfrac12\alpha^2
\big[\epsilon^2 (K\Delta_T)^\top H (K\Delta_T) + \tfrac1N\mathrm{tr}(HK)\big] + \ldots, \qquad H = \nabla^2 L_T.$$

Where the bracket $Q$ is positive, $\alpha^\ast = \epsilon A/Q$ is the best step size,
$\mathbb{E}[\Delta L_T] = (a^2 - 2a)\,\alpha^\ast\epsilon A/2$ at $\alpha = a\,\alpha^\ast$, and past $2\alpha^\ast$ the
student is worse than before, in spite of its teacher.

References:
    Derived here. The step is $\alpha g$, where $g$ has the mean $\epsilon K\Delta_T + O(\epsilon^2)$ and, as the mean
    of $N$ independent $g_{xk} = J^\top(e_k - p)$, the covariance $K/N + O(\epsilon/N)$, for
    $\mathbb{E}_x[J^\top(\mathrm{diag}(p) - pp^\top)J] = K$. Insert both in
    $L_T(\theta + \alpha g) - L_T(\theta) = -\alpha\,\Delta_T\cdot g + \tfrac12\alpha^2 g^\top H g + \ldots$ By the
    same token $\mathrm{tr}(HK) = \mathbb{E}_{x, k \sim p}[g_{xk}^\top H g_{xk}]$: one second derivative a label.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel
from theory.curvature import second_derivative_along
from theory.labels import APPLIES_TO, label_losses, log_probabilities, measure_labels
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement, transfer_form
from theory.problem import Instance, Params, Problem, inner_product, own_key, trait_descent
from theory.runs.checks import (
    LEAST_SEEDS,
    NO_EXCESS,
    THIRD_ORDER,
    Check,
    Evidence,
    every_case,
    first_case,
    least_agreeing,
    mean,
    worst_median,
)
from theory.runs.statistics import Estimate, fitted_order
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (1e-4, 3e-4, 1e-3)
r"""Of the order's fit both $\epsilon$, in natural units, and $\alpha$, in units of the one at which a single label
moves the student as far as $\epsilon = 1$ moves the teacher."""

NUM_LABELS = 100
"""Labels in a data set, where step sizes of the student are compared."""

FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
r"""Step sizes of the student, in units of the best, $\alpha^\ast$."""

REPETITIONS = 16
"""Data sets of each instance."""

SIGNAL_TO_NOISE = 0.03
"""Of those data sets: small enough for the quadratic formula to be exact to within every interval used here."""

DEFINITE = 0.5
r"""The trait loss is curved upwards if the mean of $g^\top H g$ over labels is at least this share of its size's."""

CASES = ("reference", "auxiliary outputs", "GELU", "regression trait")
"""Cases of the zoo on which the claim is verified."""


class NoiseCost(NamedTuple):
    """Predicted and measured change of the trait loss in one instance."""

    predicted: Float[Array, " sizes"]
    r"""The formula for one label, at $\epsilon$ and $\alpha$ of each of `SIZES`."""
    measured: Float[Array, " sizes"]
    r"""Its exact mean over all labels that could be drawn."""
    noiseless: Float[Array, " sizes"]
    """The same for a student that sees the teacher's outputs themselves."""
    climb: Scalar
    r"""$(K\Delta_T)^\top H (K\Delta_T)$."""
    trace: Scalar
    r"""$\mathrm{tr}(HK)$."""
    relative: Float[Array, "repetitions factors"]
    r"""Change of the trait loss at each of `FACTORS` in units of $\alpha^\ast\epsilon A/2$, for drawn data sets of
    `NUM_LABELS`, their known mean slope put in for the drawn one."""
    noiseless_relative: Float[Array, " factors"]
    """The same for a student that sees the teacher's outputs themselves."""
    definite: Bool[Array, ""]
    """Whether imitation sees the trait and its loss is clearly curved upwards."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, labels: Sequence[int]) -> NoiseCost:
    """Predict the mean change in closed form, then take the step on every label, and on data sets drawn of them."""
    start, inputs = instance.student, instance.inputs
    direction = trait_descent(problem, start, instance.trait_data)
    units = natural_units(problem, instance, direction)
    curvature = transfer_form(problem, instance, direction, direction)

    def trait(params: Params) -> Scalar:
        return problem.trait_loss(params, instance.trait_data)

    def change(displacement: Params, learning_rate: Scalar) -> Scalar:
        return trait(optax.tree.add_scale(start, learning_rate, displacement)) - trait(start)

    def shares(step: Scalar) -> Float[Array, " cells"]:
        teacher = optax.tree.add_scale(start, step, direction)
        return jnp.exp(log_probabilities(problem, labels, teacher, inputs)).ravel() / len(inputs)

    losses = jax.jacrev(lambda params: label_losses(problem, labels, params, inputs).ravel())(start)
    singles = optax.tree.scale(-1.0, losses)
    base, slopes = shares(jnp.zeros(())), jax.vmap(inner_product, in_axes=(0, None))(singles, direction)
    bends = jax.vmap(second_derivative_along, in_axes=(None, None, 0))(trait, start, singles)
    climb = second_derivative_along(trait, start, predicted_displacement(problem, instance, direction))
    trace = base @ bends

    def mix(weights: Float[Array, " cells"]) -> Params:
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), singles)

    single_norm = jnp.sqrt(base @ jax.vmap(inner_product)(singles, singles))
    learning_rate = units.teacher_step * optax.tree.norm(direction) / single_norm

    def at_size(size: Scalar) -> tuple[Scalar, ...]:
        step, rate = size * units.teacher_step, size * learning_rate
        drawn = shares(step)
        quadratic = rate**2 / 2 * (step**2 * climb + trace)
        exact = drawn @ jax.vmap(change, in_axes=(0, None))(singles, rate)
        return -rate * step * curvature + quadratic, exact, change(mix(drawn), rate)

    predicted, measured, noiseless = jax.lax.map(at_size, jnp.array(SIZES))

    step = SIGNAL_TO_NOISE / jnp.sqrt(curvature * NUM_LABELS)
    best = step * curvature / (step**2 * climb + trace / NUM_LABELS)
    probabilities = shares(step)
    shape = (REPETITIONS, NUM_LABELS)
    cells = jax.random.choice(own_key(instance.key), base.size, shape, p=probabilities)
    weights = jax.vmap(lambda row: jnp.bincount(row, length=base.size) / NUM_LABELS)(cells)

    def at_factors(weights: Float[Array, " cells"]) -> Float[Array, " factors"]:
        displacement, luck = mix(weights), (weights - probabilities) @ slopes
        gains = jax.vmap(lambda factor: change(displacement, factor * best) + factor * best * luck)
        return gains(jnp.array(FACTORS)) / (best * step * curvature / 2)

    return NoiseCost(
        predicted=predicted,
        measured=measured,
        noiseless=noiseless,
        climb=climb,
        trace=trace,
        relative=jax.vmap(at_factors)(weights),
        noiseless_relative=at_factors(probabilities),
        definite=units.visible & (trace > DEFINITE * (base @ jnp.abs(bends))) & (best > 0),
        visible=units.visible,
    )


def third_orders(one: NoiseCost, measured: ArrayLike) -> np.ndarray:
    """Order of what is measured minus the formula in both step sizes, in every visible instance."""
    return fitted_order(np.array(SIZES), np.asarray(measured - one.predicted)[one.visible])


def with_labels(evidence: Evidence) -> list[np.ndarray]:
    """Mean change over an instance's data sets at each of `FACTORS`; none where the control has no instance."""
    cases = [one.relative[one.definite].mean(axis=1) for one in evidence.proper.values()]
    return cases if evidence.first.definite.any() else []


def with_outputs(evidence: Evidence) -> list[np.ndarray]:
    """The same for the control."""
    return [evidence.first.noiseless_relative[evidence.first.definite]]


def worst_excess(changes: Sequence[np.ndarray], settings: Any) -> Estimate:
    """Mean minus parabola, at the step size with the least margin relative to its interval."""
    parabola = np.array([a**2 - 2 * a for a in FACTORS])
    columns = np.concatenate([change - parabola for change in changes]).T if changes else ()
    return least_agreeing([mean(len(FACTORS))([column], settings) for column in columns], NO_EXCESS)


def at_largest(changes: Sequence[np.ndarray], settings: Any) -> Estimate:
    """Mean at the largest step size."""
    return mean()([change[:, -1] for change in changes], settings)


def draw(axes: "Axes", evidence: Evidence) -> None:
    """A parabola in the student's step size, whose second root is at twice the best."""
    from theory.runs.statistics import mean_estimate
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    one = evidence.first
    drawn, noiseless = one.relative[one.definite].mean(axis=1), one.noiseless_relative[one.definite].mean(axis=0)
    value, low, high = np.array([mean_estimate(column) for column in drawn.T]).T
    line = np.linspace(0, FACTORS[-1] + 0.15, 200)
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.plot(line, line**2 - 2 * line, color=BLACK, label=r"predicted: $-\alpha\epsilon A$ and the cost of noise")
    reach = [value - low, high - value]
    axes.errorbar(
        FACTORS, value, yerr=reach, fmt="o", color=BLUE, capsize=2, label=f"{NUM_LABELS} sampled labels (95 %)"
    )
    axes.plot(line, -2 * line, color=BLACK, lw=0.8, ls="--", label="the same without noise")
    axes.plot(FACTORS, noiseless, "s", color=ORANGE, mfc="none", label="the outputs themselves: no noise")
    axes.annotate("above: worse than before", (0.9, 0.2), fontsize=8)
    axes.set(
        xlabel=r"student's step size $\alpha\,/\,\alpha^*$",
        ylabel=r"mean change of $L_T$ over its best fall, $\frac{1}{2}\alpha^*\epsilon A$",
    )
    axes.set(xlim=(0, line[-1]), ylim=(-6.5, 5.5))
    axes.set_title(stated("Label noise: a best step size, and past twice it only damage", evidence))
    axes.legend(loc="upper left")


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The reference and its smooth neighbors of its size: the claim takes a step for every single label."""
    cases = [problem for problem in zoo.neighborhood(sampling) if problem.name in CASES]
    return cases if sampling.cases == "all" else cases[:1]


CLAIM = Claim(
    number=14,
    name="label-noise-cost",
    statement="label noise costs ½α²tr(HK)/N of trait loss: a best α*, and past 2α* the student is worse than before",
    measurement=NoiseCost,
    problems=zoo_problems,
    cases=measure_labels(measure),
    checks=(
        Check(
            says="order of E[ΔL_T] − formula in ε = α, N = 1, every label, worst of {cases}",
            predicted="3.00",
            of=every_case(lambda one: third_orders(one, one.measured)),
            by=worst_median(3.0),
            accepted=THIRD_ORDER,
            control="student sees outputs, not labels",
            broken=first_case(lambda one: third_orders(one, one.noiseless)),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"E[ΔL_T] / (α*εA/2) − (a² − 2a), N = {NUM_LABELS}, {{cases}}, worst of {len(FACTORS)} a = α/α*",
            predicted="0",
            of=with_labels,
            by=worst_excess,
            accepted=NO_EXCESS,
            control="student sees outputs, not labels",
            broken=with_outputs,
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"E[ΔL_T] / (α*εA/2) at α = {FACTORS[-1]:g} α*: worse than before",
            predicted=f"{FACTORS[-1] ** 2 - 2 * FACTORS[-1]:g}",
            of=with_labels,
            by=at_largest,
            accepted=Accepted(low=0.0, high=np.inf),
            control="student sees outputs, not labels",
            broken=with_outputs,
            least=LEAST_SEEDS,
        ),
    ),
    panels={
        "label-noise-cost": Panel(
            draw=draw,
            shows=("relative", "noiseless_relative", "definite"),
            needs=lambda evidence: evidence.first.definite.any(),
        )
    },
    applies_to=APPLIES_TO,
)
