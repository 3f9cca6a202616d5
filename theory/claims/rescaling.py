r"""Claim 7.1: students whose ReLUs are rescaled are preconditioned ones, and may learn the wrong way.

A ReLU's units may be scaled without changing the function, with $\log s \sim N(0, \text{spread}^2)$. Then claim 7's
$S$ is diagonal, with $s_j$ for the bias of unit $j$ and $s_j/s_i$ for the weight from unit $i$ to unit $j$ ($s = 1$ for
inputs and outputs), and

$$L_T(\theta_S^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta_S^0)
= -\epsilon\alpha\,\Delta_T^\top S^{-2} K\Delta_T + O(\epsilon^2);$$

$S^{-2}K$ is not symmetric, and the sign is not guaranteed.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps, measure_with
from theory.claims import symmetry
from theory.claims.symmetry import change_trait
from theory.experiments import first_key
from theory.losses import Scalar
from theory.predictions import natural_units, output_change, predicted_displacement
from theory.problem import Instance, Problem, inner_product, trait_descent
from theory.runs.checks import (
    LEAST_SEEDS,
    NEAR_ONE,
    Check,
    Comparison,
    Evidence,
    case,
    every_case,
    first_case,
    second_order,
    share,
    worst_median,
)
from theory.runs.sweeps import Sampling
from theory.symmetries import hidden_sizes, random_rescaling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREADS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations of the logarithm of a unit's factor."""

REPORTED_SPREADS = (0.5, 1.5, 3.0)
"""Those of them at which wrong-way rates are reported."""

LEARNING_RATES = (0.1, 1.0)
"""The student's step sizes; at 1 its outputs move as far as the teacher's, and further off are a ReLU's kinks."""

NETWORKS: dict[str, dict[str, Any]] = {
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

    predicted: Float[Array, "spreads learning_rates"]
    r"""$-\epsilon\alpha\,\Delta_T^\top S^{-2}K\Delta_T$ for a natural step of 1."""
    shared: Float[Array, "spreads learning_rates"]
    r"""$-\epsilon\alpha A$, which ignores $S$, likewise."""
    change: Float[Array, "spreads learning_rates teacher_steps"]
    """Simulated."""
    largest: Float[Array, "spreads learning_rates"]
    r"""$\epsilon\alpha\|S^{-1}\Delta_T\|\|S^{-1}K\Delta_T\|$: what it is at most, to first order, likewise."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ in natural units, the same in every instance."""
    shared_cosine: Scalar
    r"""Cosine $A/\|\Delta_T\|\|K\Delta_T\|$ of a shared init."""
    visible: Bool[Array, ""]
    """Whether imitation sees the trait."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]) -> Rescaled:
    """Predict the change of the trait loss from the teacher's side alone, then simulate rescaled students.

    The network is a perceptron of ReLUs, and the trait a function of its outputs.
    """
    _, map_key = jax.random.split(instance.key)
    teacher = instance.teacher
    direction = trait_descent(problem, teacher, instance.trait_data)
    kernel = predicted_displacement(problem, instance, direction)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps)

    def at_spread(spread: Scalar) -> tuple[jax.Array, ...]:
        rescale = random_rescaling(map_key, hidden_sizes(teacher), spread)
        scales = rescale(jax.tree.map(jnp.ones_like, teacher))
        own_direction, own_kernel = (jax.tree.map(jnp.divide, tree, scales) for tree in (direction, kernel))
        preconditioned = jax.tree.map(jnp.divide, own_kernel, scales)
        moved = output_change(problem, teacher, instance.inputs, preconditioned).change
        rates = jnp.array(LEARNING_RATES) / jnp.sqrt(jnp.mean(moved**2)) / units.teacher_step
        both, student = rates * units.teacher_step, rescale(teacher)
        change = change_trait(problem, instance._replace(student=student), direction, rates, steps * units.teacher_step)
        largest = both * optax.tree.norm(own_direction) * optax.tree.norm(own_kernel)
        form, shared = inner_product(direction, preconditioned), inner_product(direction, kernel)
        return -both * form, -both * shared, change, largest

    changes = jax.lax.map(at_spread, jnp.array(SPREADS))
    cosine = inner_product(direction, kernel) / (optax.tree.norm(direction) * optax.tree.norm(kernel))
    return Rescaled(*changes, steps=steps, shared_cosine=cosine, visible=units.visible)


def preconditioned(one: Rescaled) -> Comparison:
    """The change of the trait loss beside its prediction, at every spread."""
    return Comparison(*map(np.asarray, (over_steps(one, one.predicted), one.change, one.visible)))


def over_steps(one: Rescaled, change: ArrayLike) -> np.ndarray:
    """Multiply a change for a natural step of 1 with every step of the teacher, as a last axis."""
    return np.asarray(change)[..., None] * np.asarray(one.steps)[:, None, None]


def ignorant(one: Rescaled) -> Comparison:
    """The same with $S$ left out of the prediction."""
    return preconditioned(one._replace(predicted=one.shared))


def ratio(comparison: Comparison) -> np.ndarray:
    """Measured over predicted at the smallest step sizes, in every visible instance and at every spread."""
    return (comparison.measured / comparison.leading)[comparison.visible, :, 0, 0]


def rises(spread: float) -> Callable[[Rescaled], np.ndarray]:
    """Whether the trait loss rises at the smallest step sizes, where a shared init would make it fall."""
    return lambda one: np.asarray(one.change)[one.visible, SPREADS.index(spread), 0, 0] > 0


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build the networks of ReLUs; with few cases the first alone."""
    chosen = list(NETWORKS.items())[: None if sampling.cases == "all" else 1]
    return [zoo.variant(f"{RESCALED}{name}", activation="relu", **changes) for name, changes in chosen]


def checks(evidence: Evidence) -> list[Check]:
    """The first-order change, whose ratio is a median since a few cross a ReLU's kink; and wrong ways."""
    spreads = ", ".join(f"{spread:g}" for spread in SPREADS)
    return [
        *second_order(
            f"change of L_T + εα Δ_TᵀS⁻²KΔ_T, ReLUs scaled, spreads {spreads}",
            of=every_case(preconditioned),
            control="S left out of the prediction",
            broken=first_case(ignorant),
        ),
        Check(
            says="change of L_T / −εα Δ_TᵀS⁻²KΔ_T at the smallest ε and α, median, worst spread of {cases}",
            predicted="→ 1",
            of=every_case(lambda one: ratio(preconditioned(one))),
            by=worst_median(1.0),
            accepted=NEAR_ONE,
            control="S left out of the prediction",
            broken=every_case(lambda one: ratio(ignorant(one))),
            least=LEAST_SEEDS,
        ),
        *(
            Check(
                says=f"share where L_T rises, {name.removeprefix(RESCALED)}, spread {spread:g}",
                predicted="no guarantee",
                of=case(name, rises(spread)),
                by=share(),
            )
            for name in list(evidence.proper)[:2]
            for spread in REPORTED_SPREADS
        ),
    ]


DRAWN = f"{RESCALED}ReLU"
"""The case that is drawn."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Shares of the seeds between which the bands lie, and the median."""


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How well a student's step serves the trait, against a shared init, by the spread of its units' scales."""
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    beside = evidence.record and symmetry.CLAIM.read(evidence.record).cases.get(symmetry.RELU)
    one = evidence.cases[DRAWN]
    predicted, change, largest = (
        array[one.visible, :, 0, 0]
        for array in (over_steps(one, one.predicted), one.change, over_steps(one, one.largest))
    )
    shared = -largest * one.shared_cosine[one.visible, None]
    spreads = np.array([0.0, *SPREADS])
    simulated, expected = (
        np.hstack([np.ones((len(QUANTILES), 1)), np.quantile(values / shared, QUANTILES, axis=0)])
        for values in (change, predicted)
    )
    axes.fill_between(spreads, simulated[0], simulated[-1], color=BLUE, alpha=0.15, lw=0, label="90 % of seeds")
    axes.fill_between(spreads, simulated[1], simulated[-2], color=BLUE, alpha=0.3, lw=0, label="50 % of seeds")
    for row, style in ((0, "--"), (2, "-"), (4, "--")):
        label = {0: "predicted 5 and 95 % quantile", 2: r"predicted median, $\Delta_T^\top S^{-2} K \Delta_T$"}.get(row)
        axes.plot(spreads, expected[row], style, color=BLACK, lw=1.0, label=label)
    points = np.repeat(spreads[None, 1:], 3, axis=0)
    axes.plot(points.ravel(), simulated[::2, 1:].ravel(), "o", color=BLUE, label="simulated, units rescaled")
    if beside:
        same = np.median(beside.ratio)
        axes.plot(0, same, "D", color=ORANGE, ms=7, clip_on=False, label="simulated, units reordered")
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    for spread, rate in zip(SPREADS, np.mean(change > 0, axis=0), strict=True):
        axes.text(spread, -1.55, f"{100 * rate:.0f} %", ha="center", fontsize=8)
    axes.text(0.04, -1.32, "learn the wrong way:", fontsize=8, color=BLACK)
    axes.set(xlim=(0, 3.15), ylim=(-1.65, 3.0))
    axes.set(
        xlabel=r"spread of the units' scales (standard deviation of $\log s$)",
        ylabel=r"cosine of step and $-\nabla L_T$, over that of a shared init",
    )
    text = "Units reordered: the same. Rescaled: no guarantee"
    axes.set_title(stated(text, evidence.record or evidence, "symmetry", "rescaling"))
    axes.legend(loc="upper left", ncols=2)


CLAIM = Claim(
    number=7.1,
    name="rescaling",
    statement="same function, other parameters: units rescaled precondition by S⁻², and may lead the wrong way",
    measurement=Rescaled,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps, key_of=first_key(2)),
    checks=checks,
    panels={
        "symmetry": Panel(
            draw=draw,
            shows=("predicted", "change", "largest", "steps", "shared_cosine", "visible"),
            needs=lambda evidence: DRAWN in evidence.cases,
            beside=("symmetry",),
        ),
    },
    any_problem=False,
)
