r"""Claim 3: what the imitated outputs can't see, the student doesn't learn, at any step size of the teacher.

$$A = 0 \iff K\Delta_T = 0 \implies \Delta_S(\epsilon)\cdot\Delta_T = 0 \text{ for every } \epsilon,$$

because the null space of $M$ is orthogonal to the loss's gradient in the outputs. The quartic loss breaks that
condition: there $A = 0$, yet $\Delta_S\cdot\Delta_T = 4\epsilon^3\,\mathbb{E}\sum_k (J\Delta_T)_k^4 + O(\epsilon^4)$.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from theory import zoo
from theory.claim import Claim, Panel, measure_with, steps
from theory.losses import Scalar
from theory.predictions import natural_units, output_change, predicted_displacement, transfer_form
from theory.problem import Instance, Problem, inner_product, student_displacement, trait_descent
from theory.runs.checks import CONTROL, ROUNDING, Check, Evidence, case, every, worst_median
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TINY = float(np.finfo(float).tiny)
"""Keeps 0/0 at 0 where the outputs don't move at all."""

QUARTIC = "quartic loss"
"""The case that breaks the condition on null spaces."""


class NullSpace(NamedTuple):
    """Everything that vanishes together in one instance, and the units in which to judge it."""

    curvature: Scalar
    r"""$A$."""
    kernel_norm: Scalar
    r"""$\|K\Delta_T\|$."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$: the natural step sizes times this instance's unit."""
    alignment: Float[Array, " teacher_steps"]
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$."""
    fourth_moment: Scalar
    r"""$\mathbb{E}\sum_k (J\Delta_T)_k^4$."""
    rounded: Scalar
    """Largest of the three in units of rounding."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float | Scalar]) -> NullSpace:
    r"""Compute $A$ and $K\Delta_T$ in closed form, then simulate both steps.

    One rounding unit is machine epsilon times $\mathbb{E}\|J\Delta_T\|^2$ for $A$, times
    $\|\mathbb{E}J^\top J\Delta_T\|$ for $K\Delta_T$, and times $\mathbb{E}\|J\Delta_T\|_1 (1 + \max|y^\epsilon|)$ for
    the alignment: what these would be if $M$ were the identity and $\nabla_z L_S$ one rounding error of the labels.
    """
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    steps = jnp.array(teacher_steps) * natural_units(problem, instance, direction).teacher_step

    def simulate(teacher_step: Scalar) -> Scalar:
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


def largest(one: NullSpace) -> np.ndarray:
    r"""Largest of $A$, $\|K\Delta_T\|$ and $|\Delta_S\cdot\Delta_T|$, in every instance."""
    columns = [one.curvature[:, None], one.kernel_norm[:, None], one.alignment]
    return np.max(np.abs(np.concatenate(columns, axis=1)), axis=1)


def rounded(one: NullSpace) -> np.ndarray:
    """The same in rounding units."""
    return np.asarray(one.rounded)


class NullCase(NamedTuple):
    """A way for a trait to be invisible to imitation."""

    name: str
    """Why nothing is transferred."""
    ingredients: dict[str, Any]
    """What differs from the reference."""
    exact: bool
    """Whether zero means 0.0, or to rounding."""
    control: str
    """What is changed to take it out of the null space."""
    changes: dict[str, Any]
    """The same as ingredients."""

    @property
    def control_name(self) -> str:
        """How the record calls the control."""
        return f"{self.name}; {CONTROL}{self.control}"


SQUARED = {"loss": "squared error"}
AUXILIARY: dict[str, Any] = {"imitated": zoo.AUXILIARY}
PENALTY = {"trait": "weight penalty"}
SHIFT = {"hidden": (), "imitated": zoo.CLASSES, "trait": "mean output"}

NULL_CASES = (
    NullCase("linear model, trait on other outputs", {"hidden": (), **AUXILIARY}, True, "weight penalty", PENALTY),
    NullCase(
        "trait on the class head alone",
        {"trait": "class-head penalty", **AUXILIARY},
        True,
        "trait on all weights",
        PENALTY,
    ),
    NullCase("one logit under a softmax", {"imitated": zoo.AUXILIARY[:1]}, True, "squared error", SQUARED),
    NullCase("trait shifts all logits by their biases", {"trait": "mean output bias"}, False, "squared error", SQUARED),
    NullCase("linear model, trait shifts all logits", SHIFT, False, "squared error", SQUARED),
)
"""Every known way, each with its control."""


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Every known way into the null space, each with its control; and the quartic loss beside the reference."""
    del sampling
    invisible = [zoo.variant(one.name, **one.ingredients) for one in NULL_CASES]
    invisible += [zoo.variant(one.control_name, **(one.ingredients | one.changes)) for one in NULL_CASES]
    return [*invisible, zoo.variant(QUARTIC, loss="quartic"), zoo.build(zoo.REFERENCE)]


def checks(evidence: Evidence) -> list[Check]:
    """Zeros and the quartic loss's own order over the zoo; of one's own problems, those instances with $A = 0$."""
    if QUARTIC not in evidence.cases:
        return [check_own_problem(name, one) for name, one in evidence.cases.items()]
    zeros = [
        Check(
            says=f"A, ‖KΔ_T‖, Δ_S·Δ_T over all ε: {one.name}",
            predicted="0.0 exactly" if one.exact else "0 (rounding units)",
            of=case(one.name, largest if one.exact else rounded),
            by=every,
            accepted=Accepted(low=0.0, high=0.0 if one.exact else ROUNDING),
            control=one.control,
            broken=case(one.control_name, largest if one.exact else rounded),
        )
        for one in NULL_CASES
    ]

    def orders(one: NullSpace) -> np.ndarray:
        leading = 4 * one.steps**3 * one.fourth_moment[:, None]
        return evidence.settings.orders(one.alignment - leading)

    quartic = Check(
        says="order of Δ_S·Δ_T − 4ε³ E Σ(JΔ_T)⁴ under the quartic loss, whose A is 0",
        predicted="4.00",
        of=case(QUARTIC, orders),
        by=worst_median(4.0),
        accepted=Accepted(low=3.95, high=4.05),
        control="cross-entropy",
        broken=case(zoo.REFERENCE.name, orders),
    )
    return [*zeros, quartic]


def check_own_problem(name: str, one: NullSpace) -> Check:
    """Check that nothing moves in the instances with $A = 0$; report $A$ where there is none."""
    null = np.abs(one.curvature) <= np.finfo(float).eps * ROUNDING * np.sqrt(one.fourth_moment)
    some = null.any() and not null.all()
    return Check(
        says=f"A, ‖KΔ_T‖ and Δ_S·Δ_T over all ε where A = 0 ({null.sum()} instances), in rounding units",
        predicted="0 (rounding)" if null.any() else "A > 0: nothing to vanish",
        of=case(name, lambda one: one.rounded[null] if null.any() else one.curvature),
        by=every,
        accepted=Accepted(low=0.0, high=ROUNDING) if null.any() else None,
        control="instances with A > 0" if some else "none: imitation never sees this trait" if null.all() else "",
        broken=case(name, lambda one: one.rounded[~null]) if some else None,
    )


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The largest alignment in each null-space case beside its control's."""
    from theory.runs.style import BLUE, ORANGE, stated

    floor = 1e-21
    for row, one in enumerate(NULL_CASES):
        pair = (evidence.cases[name] for name in (one.name, one.control_name))
        values = [np.abs(measured.alignment).max(axis=1) for measured in pair]
        for value, color, marker in zip(values, (BLUE, ORANGE), ("o", "x"), strict=True):
            axes.plot(np.maximum(value, floor), np.full(len(value), row), marker, color=color, ms=3, alpha=0.3)
        axes.annotate(one.name, (floor, row), (0, 7), textcoords="offset points", fontsize=8)
        axes.annotate(f"{one.control}  ", (values[1].min(), row), ha="right", va="center", fontsize=7, color=ORANGE)
    axes.set(xscale="log", xlim=(floor / 3, 1e3), ylim=(len(NULL_CASES) - 0.4, -0.7), yticks=[])
    ticks = [floor, 1e-16, 1e-12, 1e-8, 1e-4, 1]
    axes.set_xticks(ticks, ["exactly 0", *(f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks[1:])])
    axes.minorticks_off()
    axes.set_xlabel(r"largest $|\Delta_S\cdot\Delta_T|$ over all $\epsilon$, every seed (crosses: control)")
    axes.set_title(stated("What imitation can't see is not transferred", evidence))


CLAIM = Claim(
    number=3,
    name="null-space",
    statement="where A = 0 the imitated outputs don't see the trait, and nothing is transferred at any ε",
    measurement=NullSpace,
    problems=zoo_problems,
    cases=measure_with(measure, steps),
    checks=checks,
    panels={"null-space": Panel(draw=draw, shows=NullSpace._fields, needs=lambda evidence: QUARTIC in evidence.cases)},
)
