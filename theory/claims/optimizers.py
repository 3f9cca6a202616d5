r"""Claim 9: which optimizers keep the guarantee of theorem 1.

The *same symmetric positive-definite* $P$ for teacher and student keeps it: with $\Delta_T = -P\,\nabla L_T$,

$$L_T(\theta_S^\epsilon) - L_T(\theta^0) = -\epsilon\alpha\,\Delta_T^\top K \Delta_T + O(\epsilon^2).$$

A plain teacher with a student that descends by $P$ keeps the sign if $\mathrm{cond}(P) \le \kappa$,

$$\kappa = \frac{1 + \cos\varphi}{1 - \cos\varphi},\qquad \varphi = \angle(\Delta_T, K\Delta_T),$$

and beyond that there is a $P$ that reverses it. A positive matrix that is not symmetric, sign descent and Adam
guarantee nothing.

References:
    Derived here. *Same* $P$: to first order the student moves by $\epsilon\alpha P K \Delta_T$, and if $P$ is symmetric
    $\nabla L_T^\top P K \Delta_T = -\Delta_T^\top K \Delta_T$: this is gradient descent in the coordinates
    $P^{-1/2}\theta$. For $I + tS$ with $S$ skew-symmetric it is $-A(g) + t^2 A(Sg)$ instead, $A(v) = v^\top K v$,
    $g = \nabla L_T$: no sign. *Plain teacher*: `optimizers.largest_safe_condition`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps_and_rates, measure_with
from theory.losses import Scalar
from theory.optimizers import (
    cosine,
    draw_diagonal,
    draw_preconditioner,
    first_step,
    largest_safe_condition,
    precondition,
    stretch,
    turn,
    unit_vector,
)
from theory.predictions import natural_units, predicted_displacement
from theory.problem import (
    Instance,
    Params,
    Problem,
    flatten,
    inner_product,
    own_key,
    stack_trees,
    student_displacement,
    trait_descent,
)
from theory.runs.checks import (
    NEAR_ONE,
    VANISHING,
    Check,
    Comparison,
    Evidence,
    every,
    every_case,
    first_case,
    second_order,
    share,
)
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST_CONDITION, RANK = 1e4, 2
"""Of the symmetric matrices that teacher and student share: condition number of the diagonal, and what is added."""

STRENGTHS = (3.0, 5.0, 10.0)
"""Of the skew-symmetric part of matrices that are not symmetric."""

MARGIN = 0.01
"""How far below and above the critical condition number the worst matrix is tried."""

WIDEST = 0.999
"""Cosine up to which there is a bound to speak of: at 1 every matrix keeps the guarantee."""

FALL_STEP = 1e-7
"""The teacher's natural step at which signs and sizes are judged: small even for what all but vanishes."""

Step = Callable[[Params], Params]
"""From a negative gradient to a step."""

SHARED, RANDOM, BELOW, ABOVE = "the same P", "P within the bound", "worst P, 1 % below", "worst P, 1 % above"
TURNED = {f"the same I + {strength:g}S": strength for strength in STRENGTHS}
SIGN, ADAM = optax.scale_by_sign(), optax.scale_by_adam()
SIGNS = ("sign descent", "Adam", "plain teacher, sign descent", "plain teacher, Adam")
"""Arms whose step hardly shrinks with the gradient; the last two have a plain teacher."""

ARMS = (SHARED, *TURNED, RANDOM, BELOW, ABOVE, *SIGNS)
"""Every pair of optimizers, teacher's and student's, in the order of the measurements' axis."""

SKEWED = next(iter(TURNED))
FALLS = (SHARED, SKEWED, BELOW, ABOVE)
"""Arms in which the fall of the trait loss is compared with its prediction."""


class OptimizerSteps(NamedTuple):
    """One instance under every pair of optimizers, axes `arms` as in `ARMS` and `falls` as in `FALLS`."""

    predicted_fall: Float[Array, "falls learning_rates"]
    r"""Leading order of the fall of $L_T$ for a natural step of 1, as the claim has it."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ in natural units, the same in every instance; the first is `FALL_STEP`."""
    fall: Float[Array, "falls learning_rates teacher_steps"]
    """Simulated."""
    cosine: Float[Array, " arms"]
    r"""Between the student's simulated step, of a teacher at `FALL_STEP`, and $-\nabla L_T$."""
    angle: Scalar
    r"""$\cos\varphi$ between $\Delta_T$ and $K\Delta_T$ for a plain teacher."""
    visible: Bool[Array, " arms"]
    """Whether imitation sees what the teacher learned."""


def pick(directions: Params, index: int | jax.Array) -> Params:
    """Take a tree out of a stack."""
    return jax.tree.map(lambda leaf: leaf[index], directions)


def measure(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> OptimizerSteps:
    r"""Predict in closed form, then simulate both steps, under every pair of optimizers on the same instance.

    At $\alpha = 1$ a student goes as far as its teacher, to first order; steps are in natural units of each arm.
    """
    problem, instance = flatten(problem, instance)
    descent = trait_descent(problem, instance.teacher, instance.trait_data)
    matrix_key, turn_key, diagonal_key = jax.random.split(own_key(instance.key), 3)
    matrix = draw_preconditioner(matrix_key, descent, rank=RANK, largest_condition=LARGEST_CONDITION)
    shared: list[Step] = [partial(precondition, matrix), *(partial(turn, turn_key, amount) for amount in STRENGTHS)]
    signs: list[Step] = [partial(first_step, SIGN), partial(first_step, ADAM)]

    directions = stack_trees(*(step(descent) for step in shared + signs), descent)
    kernels = jax.vmap(partial(predicted_displacement, problem, instance))(directions)
    curvatures = jax.vmap(inner_product)(directions, kernels)
    units = jax.vmap(partial(natural_units, problem, instance))(directions)
    natural = jnp.array([FALL_STEP, *teacher_steps])
    steps = units.teacher_step[:, None] * natural[None]
    displace = jax.vmap(partial(student_displacement, problem, instance), in_axes=(None, 0))
    displacements = jax.vmap(displace)(directions, steps)

    plain_kernel = pick(kernels, -1)
    angle = cosine(descent, plain_kernel)
    safe = largest_safe_condition(jnp.minimum(angle, WIDEST))
    axis = unit_vector(optax.tree.sub(unit_vector(descent), unit_vector(plain_kernel)))
    diagonal = draw_diagonal(diagonal_key, descent, safe)
    worst: list[Step] = [partial(stretch, axis, (1 + side * MARGIN) * (safe - 1)) for side in (-1, 1)]
    students = [*shared, partial(optax.tree.mul, diagonal), *worst, *signs, *signs]
    teachers = jnp.array([*range(len(shared)), -1, -1, -1, *range(len(shared), len(shared + signs)), -1, -1])

    moved = [jax.vmap(step)(pick(displacements, teacher)) for step, teacher in zip(students, teachers, strict=True)]
    reach = [optax.tree.norm(step(pick(kernels, teacher))) for step, teacher in zip(students, teachers, strict=True)]
    units_of_rate = jax.vmap(optax.tree.norm)(directions)[teachers] / jnp.stack(reach)
    chosen = jnp.array([ARMS.index(arm) for arm in FALLS])
    rates = units_of_rate[chosen, None] * jnp.array(learning_rates)[None]

    def fall(rate: Scalar, displacement: Params) -> Scalar:
        after = optax.tree.add_scale(instance.student, rate, displacement)
        before, after = (problem.trait_loss(params, instance.trait_data) for params in (instance.student, after))
        return before - after

    falls = jax.vmap(jax.vmap(fall, in_axes=(None, 0)), in_axes=(0, None))
    measured = jax.lax.map(lambda arm: falls(*arm), (rates, stack_trees(*(moved[ARMS.index(arm)] for arm in FALLS))))
    forms = jnp.stack([curvatures[0], curvatures[1], MARGIN * curvatures[-1], MARGIN * curvatures[-1]])
    predicted = forms[:, None] * rates * units.teacher_step[teachers[chosen], None]
    cosines = [cosine(pick(step, -1 if arm in SIGNS else 0), descent) for arm, step in zip(ARMS, moved, strict=True)]
    bounded = jnp.array([arm not in (BELOW, ABOVE) for arm in ARMS]) | (angle < WIDEST)
    return OptimizerSteps(predicted, natural, measured, jnp.stack(cosines), angle, units.visible[teachers] & bounded)


Take = Callable[[OptimizerSteps], np.ndarray]
"""From a case's measurements to a number for each visible instance."""


def compare(one: OptimizerSteps, arm: str) -> Comparison:
    """Predicted and simulated fall of the trait loss of an arm in `FALLS`, at `FALL_STEP` and at larger steps."""
    row, column = FALLS.index(arm), ARMS.index(arm)
    leading = one.predicted_fall[:, row, :, None] * one.steps[:, None]
    return Comparison(*map(np.asarray, (leading, one.fall[:, row], one.visible[:, column])))


def falls(arm: str) -> Callable[[OptimizerSteps], Comparison]:
    """The same at the steps to which orders are fitted."""

    def take(one: OptimizerSteps) -> Comparison:
        whole = compare(one, arm)
        return whole._replace(leading=whole.leading[..., 1:], measured=whole.measured[..., 1:])

    return take


def ratio(arm: str) -> Take:
    """Simulated over predicted fall of the trait loss at `FALL_STEP`, at every step size of the student."""
    return lambda one: compare(one, arm).ratio


def cosines(arm: str) -> Take:
    r"""Cosine between the student's step and $-\nabla L_T$."""
    row = ARMS.index(arm)
    return lambda one: np.asarray(one.cosine)[np.asarray(one.visible)[:, row], row]


def raised(arm: str) -> Take:
    """Whether the student's step raises the trait loss."""
    return lambda one: cosines(arm)(one) < 0


CHECKS = (
    *second_order(
        "the change of L_T + εα Δ_TᵀKΔ_T, same P for both",
        of=every_case(falls(SHARED)),
        control=SKEWED,
        broken=first_case(falls(SKEWED)),
    ),
    Check(
        says=f"fall of L_T / εα Δ_TᵀKΔ_T, same P for both, each α, ε = {FALL_STEP:g}, every instance",
        predicted="→ 1",
        of=every_case(ratio(SHARED)),
        by=every,
        accepted=NEAR_ONE,
        control=SKEWED,
        broken=first_case(ratio(SKEWED)),
    ),
    Check(
        says="cosine of student's step and −∇L_T, plain teacher, random P within the bound, every instance",
        predicted="≥ 0",
        of=every_case(cosines(RANDOM)),
        by=every,
        accepted=Accepted(low=0.0, high=1 + VANISHING),
        control=ABOVE,
        broken=first_case(cosines(ABOVE)),
    ),
    Check(
        says=f"fall of L_T / {MARGIN:g} εαA, plain teacher, worst P 1 % below the bound, every instance",
        predicted="→ 1",
        of=every_case(ratio(BELOW)),
        by=every,
        accepted=NEAR_ONE,
        control=ABOVE,
        broken=first_case(ratio(ABOVE)),
    ),
    *(
        Check(
            says=f"share of student's steps that raise L_T (∇L_T·step > 0), {arm}",
            predicted="no guarantee",
            of=first_case(raised(arm)),
            by=share(),
        )
        for arm in (*TURNED, *SIGNS)
    ),
)

RIGHT = 600.0
"""Right end of the picture's axis, with room for a column of figures."""


def draw(axes: "Axes", evidence: Evidence) -> None:
    r"""The cosine between the student's step and $-\nabla L_T$ under each pair of optimizers: its own table."""
    from theory.runs.statistics import rate_estimate
    from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, stated

    groups = (
        ("guaranteed", (SHARED, RANDOM, BELOW), BLUE, "o"),
        ("reversed by design", (ABOVE,), ORANGE, "x"),
        ("no guarantee ($S$ skew)", (*TURNED, *SIGNS), GRAY, "^"),
    )
    place, ticks = 0.0, {}
    for title, names, color, marker in groups:
        axes.text(-0.9, place, title, fontsize=7, style="italic", va="center")
        for name in names:
            place += 1
            ticks[place], values = name, cosines(name)(evidence.first)
            if not len(values):
                continue
            left, middle, right = np.quantile(values, (0.0, 0.5, 1.0))
            axes.plot([left, right], [place, place], color=color, lw=2.5, alpha=0.5, solid_capstyle="butt")
            axes.plot(middle, place, marker, color=color, ms=5)
            value, low, high = (100 * end for end in rate_estimate(values > 0, 0.95))
            axes.text(RIGHT, place, f"{value:.0f} % [{low:.0f}, {high:.0f}]", fontsize=7.5, va="center", ha="right")
        place += 1.2
    axes.text(RIGHT, -1.2, "$L_T$ falls: % of seeds (95 %)", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.axvline(0, color=BLACK, lw=0.8, zorder=0)
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(place - 0.5, -2.0), xlim=(-1, RIGHT))
    axes.set_xticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], ["−1", "−0.1", "−0.01", "0", "0.01", "0.1", "1"], fontsize=7)
    axes.minorticks_off()
    axes.set_xlabel(r"cosine of student's step and $-\nabla L_T$: median, range of seeds", fontsize=8)
    axes.set_title(stated("The same symmetric preconditioner $P$ keeps the guarantee", evidence))


CLAIM = Claim(
    number=9,
    name="optimizers",
    statement="the same symmetric positive-definite preconditioner keeps the guarantee; other optimizers need not",
    measurement=OptimizerSteps,
    problems=zoo.spread,
    cases=measure_with(measure, fitted_steps_and_rates),
    checks=CHECKS,
    panels={"optimizers": Panel(draw=draw, shows=("cosine", "visible"))},
)
