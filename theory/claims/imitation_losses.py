r"""Claim 4: lemma 1 and theorem 1 under every imitation loss of the class, and what becomes of them outside it.

$$\Delta_S(\epsilon)\cdot\Delta_T = \epsilon A + O(\epsilon^2),\qquad A = \mathbb{E}_x[(J\Delta_T)^\top M\,(J\Delta_T)],
\qquad M = -\frac{\partial^2 L_S}{\partial y\,\partial z}\Big|_{z = y},$$

if $L_S$ has its minimum over $z$ at $z = y$, and $M$ is positive semi-definite with a null space orthogonal to the
gradient. Outside: under $\sum_k|z_k - y_k|^r$ alignment is $r\,\epsilon^{r-1}\,\mathbb{E}\sum_k|J\Delta_T|_k^r$, of the
right sign, but for $r = 1$ the student's step doesn't shrink with $\epsilon$ and theorem 1 fails; with the minimum
elsewhere the student moves even if the teacher doesn't.

References:
    Cloud et al. (2025), arXiv:2507.14805, appendix C, for the class. Derived here: the closed form of each $M$
    (`loss_table`) and the powers (`outside_losses.power`). *Cosine distance*: $M = (I - \hat y\hat y^\top)/\|y\|^2$ has
    the null space $y(x)$, another one for each input. The proof needs only that, at each $x$, the null space at
    $z = y = f_{\theta^0}(x)$ is orthogonal to $\nabla_z L_S$ for all labels; and $\nabla_z L_S \perp z$, since the loss
    doesn't depend on $\|z\|$. *Minimum at* $y + b$ under squared error: $\Delta_S(0)\cdot\Delta_T$ is
    $2\,\mathbb{E}[b\cdot J\Delta_T]$, odd in $b$: for random $b$ of either sign alike, a fair coin.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps_and_rates, measure_with
from theory.loss_table import COSINE, INSIDE, NAMES, POWERS, SHIFTED, STRETCHED, UNNORMALIZED, UNSURE, every_loss
from theory.losses import Outputs, Scalar
from theory.predictions import natural_units, output_change
from theory.problem import BatchOutputs, Instance, Params, Problem, inner_product, own_key, trait_descent
from theory.runs.checks import (
    FAIR_COIN,
    LEAST_SEEDS,
    NEAR_ONE,
    Check,
    Comparison,
    Evidence,
    Select,
    count,
    curved,
    every,
    first_case,
    hidden_by_rounding,
    order,
    share,
)
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FALL_STEP = 1e-7
"""The teacher's natural step at which the fall of its loss is judged: small even if little of the trait is seen."""

AT_LEAST_SECOND_ORDER = Accepted(low=1.95, high=math.inf)
r"""A remainder $O(\epsilon^2)$; of third order for a linear model under a loss without third derivatives at $z = y$."""


class LossSteps(NamedTuple):
    """One instance under every imitation loss; axis `losses` as in `loss_table.NAMES`."""

    leading: Float[Array, " losses"]
    r"""Predicted $\Delta_S\cdot\Delta_T$ to leading order in $\epsilon$, at the smallest."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ over the smallest, the same in every instance."""
    measured: Float[Array, "losses teacher_steps"]
    r"""Simulated $\Delta_S(\epsilon)\cdot\Delta_T$."""
    predicted_fall: Float[Array, "losses learning_rates"]
    r"""$\alpha$ times the leading order of $\Delta_S\cdot\Delta_T$ at `FALL_STEP`."""
    fall: Float[Array, "losses learning_rates"]
    r"""Simulated fall of $L_T$ there."""
    visible: Bool[Array, " losses"]
    """Whether the leading term is more than rounding."""


def measure(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float], learning_rates: Sequence[float]
) -> LossSteps:
    r"""Predict in closed form, then simulate both steps, under every loss on the same instance.

    The network is evaluated, differentiated and pulled back once; a loss adds only its gradient in the outputs. A
    student's step of $\alpha = 1$ moves it along $\Delta_T$ as far as the teacher goes with $\epsilon = 1$, if the
    labels come from there.
    """
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    _, pull_back = jax.vjp(lambda params: problem.apply(params, instance.inputs), instance.student)
    table = every_loss(jax.random.normal(own_key(instance.key), outputs.shape[1:]))
    unit = natural_units(problem, instance, direction).teacher_step
    steps = jnp.array([FALL_STEP, *teacher_steps]) * unit

    def label(teacher_step: Scalar) -> BatchOutputs:
        return problem.apply(optax.tree.add_scale(instance.teacher, teacher_step, direction), instance.inputs)

    def predict(response: Callable[[Outputs, Outputs], Outputs], teacher_step: Scalar) -> Scalar:
        responses = jax.vmap(response)(outputs, teacher_step * change)
        return jnp.mean(jnp.sum(change * responses, axis=-1))

    def simulate(case: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        gradients, rates = case
        displacements = jax.vmap(lambda gradient: pull_back(-gradient / len(outputs))[0])(gradients)
        alignment = jax.vmap(inner_product, in_axes=(0, None))(displacements, direction)
        first = jax.tree.map(lambda leaf: leaf[0], displacements)
        return alignment[1:], jax.vmap(lambda rate: fall(optax.tree.scale(rate, first)))(rates)

    def fall(displacement: Params) -> Scalar:
        moved = optax.tree.add(instance.student, displacement)
        before, after = (problem.trait_loss(params, instance.trait_data) for params in (instance.student, moved))
        return before - after

    sizes = jnp.append(steps[:2], unit)
    leading = jnp.stack([jax.vmap(partial(predict, response))(sizes) for _, response in table])
    smallest, leading, full = leading[:, 0], leading[:, 1], leading[:, 2]
    undefined = jnp.isnan(full) & ~jnp.any(jnp.isnan(outputs))
    visible = ~(full * unit <= 1e3 * jnp.finfo(full.dtype).eps) & ~undefined
    norm = inner_product(direction, direction)
    rates = jnp.array(learning_rates)[None] * jnp.where(visible, unit * norm / full, 1.0)[:, None]
    descend = [jax.vmap(jax.vmap(jax.grad(loss)), in_axes=(None, 0)) for loss, _ in table]
    labels = jax.vmap(label)(steps)
    gradients = jnp.stack([gradient(outputs, labels) for gradient in descend])
    measured, falls = jax.lax.map(simulate, (gradients, rates))
    return LossSteps(
        leading, jnp.array(teacher_steps) / teacher_steps[0], measured, rates * smallest[:, None], falls, visible
    )


def aligned(one: LossSteps, name: str) -> Comparison:
    r"""$\Delta_S\cdot\Delta_T$ beside its leading order under a loss."""
    row = NAMES.index(name)
    leading = np.asarray(one.leading)[:, row, None] * one.steps ** (POWERS.get(name, 2.0) - 1)
    return Comparison(*map(np.asarray, (leading, one.measured[:, row], one.visible[:, row])))


def whole(one: LossSteps, name: str) -> Comparison:
    """The same with nothing subtracted, for the order of the alignment itself."""
    compared = aligned(one, name)
    return compared._replace(leading=np.zeros(compared.leading.shape))


def fallen(one: LossSteps, name: str) -> Comparison:
    """Fall of the trait loss beside its prediction under a loss, axis `learning_rates`."""
    row = NAMES.index(name)
    parts = (one.predicted_fall[:, row, :, None], one.fall[:, row, :, None], one.visible[:, row])
    return Comparison(*map(np.asarray, parts))


def ratio(one: LossSteps, name: str) -> np.ndarray:
    """Alignment over its leading order at the smallest step, in every visible instance."""
    return aligned(one, name).ratio


def fall_ratio(one: LossSteps, name: str) -> np.ndarray:
    """Fall over its prediction, in every visible instance."""
    return fallen(one, name).ratio


def towards(one: LossSteps, name: str) -> np.ndarray:
    """Whether the student moves towards the teacher at the smallest step, in every visible instance."""
    compared = aligned(one, name)
    return compared.measured[compared.visible, 0] > 0


def falls(one: LossSteps, name: str) -> np.ndarray:
    """Whether the trait loss falls, in every visible instance and at each step size of the student."""
    compared = fallen(one, name)
    return compared.measured[compared.visible, :, 0] > 0


def under(names: Iterable[str], quantity: Callable[[LossSteps, str], Any]) -> Select:
    """Take a quantity of every case under each of some losses."""
    return lambda evidence: [quantity(one, name) for one in evidence.proper.values() for name in names]


def control(name: str, quantity: Callable[[LossSteps, str], Any]) -> Select:
    """Take a quantity of the first case under a single loss."""
    return first_case(lambda one: quantity(one, name))


def order_inside(which: str, names: Iterable[str], broken: str, evidence: Evidence) -> list[Check]:
    """Lemma 1: what is left is of second order at least."""
    says, predicted, of = "order of Δ_S·Δ_T − εA", "2.00 (or more)", under(names, aligned)
    judged = Check(
        says=f"{says}, worst of {which} on {count(list(evidence.proper))}",
        predicted=predicted,
        of=of,
        by=order(2.0),
        among=curved,
        accepted=AT_LEAST_SECOND_ORDER,
        control=broken,
        broken=control(broken, aligned),
    )
    return [judged, hidden_by_rounding(f"{says}, {which}, {{cases}}", predicted, of)]


EVERYTHING = (*INSIDE, *COSINE)
"""The losses under which all is as theory has it."""

SIZES = (
    Check(
        says=f"Δ_S·Δ_T / εA at the smallest ε, every instance with A > 0, {len(EVERYTHING)} losses",
        predicted="→ 1",
        of=under(EVERYTHING, ratio),
        by=every,
        accepted=NEAR_ONE,
        control=STRETCHED,
        broken=control(STRETCHED, ratio),
    ),
    Check(
        says=f"fall of L_T / εαA, each α, ε = {FALL_STEP:g}, every instance with A > 0, {len(EVERYTHING)} losses",
        predicted="→ 1",
        of=under(EVERYTHING, fall_ratio),
        by=every,
        accepted=NEAR_ONE,
        control=STRETCHED,
        broken=control(STRETCHED, fall_ratio),
    ),
)
"""Lemma 1 and theorem 1 in every single instance."""

ORDERS_OF_POWERS = tuple(
    Check(
        says=f"order of Δ_S·Δ_T under {loss}, Σ|z − y|^{exponent:g}",
        predicted=f"{exponent - 1:.2f}",
        of=under([loss], whole),
        by=order(exponent - 1),
        accepted=Accepted(low=exponent - 1.05, high=exponent - 0.95),
        control="squared error",
        broken=control("squared error", whole),
    )
    for loss, exponent in POWERS.items()
)
"""Powers of the error have orders of their own."""

SIZES_OF_POWERS = Check(
    says="Δ_S·Δ_T / r ε^(r−1) E Σ|JΔ_T|^r at the smallest ε, every instance, r = 1, 3/2, 4",
    predicted="→ 1",
    of=under(POWERS, ratio),
    by=every,
    accepted=NEAR_ONE,
    control=f"{STRETCHED}, r = 2",
    broken=control(STRETCHED, ratio),
)
"""And sizes."""

ELSEWHERE = (
    Check(
        says="share of Δ_S·Δ_T > 0 at the smallest ε, squared error with its minimum at y + b, random b",
        predicted="0.5 (fair coin)",
        of=control(SHIFTED, towards),
        by=share(),
        accepted=FAIR_COIN,
        control="b = 0",
        broken=control("squared error", towards),
        least=LEAST_SEEDS,
    ),
    *(
        Check(
            says=f"share of Δ_S·Δ_T > 0 at the smallest ε, {loss}",
            predicted="no guarantee",
            of=control(loss, towards),
            by=share(),
        )
        for loss in UNSURE
    ),
)
"""The sign where the minimum is elsewhere, on a single case: a fair coin under a random shift, or no guarantee."""


def report_falls(index: int, rate: float) -> Check:
    """How often theorem 1 fails under the absolute error; nothing where imitation sees nothing."""

    def of(evidence: Evidence) -> list[np.ndarray]:
        seen = falls(evidence.first, "absolute error")
        return [seen[:, index]] if len(seen) else []

    return Check(
        says=f"share of falling L_T under absolute error, labels from ε → 0, student as far as ε = {rate:g}",
        predicted="no guarantee",
        of=of,
        by=share(),
        optional=True,
    )


def checks(evidence: Evidence) -> Sequence[Check]:
    """Both statements inside the class, and what becomes of them outside."""
    return (
        *order_inside(f"{len(INSIDE)} losses inside the class", INSIDE, STRETCHED, evidence),
        *order_inside("cosine distance", COSINE, UNNORMALIZED, evidence),
        *SIZES,
        *ORDERS_OF_POWERS,
        SIZES_OF_POWERS,
        *(report_falls(index, rate) for index, rate in enumerate(evidence.settings.learning_rates)),
        *ELSEWHERE,
    )


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The reference and the networks farthest from it; their own loss doesn't matter."""
    return [problem for problem in zoo.spread(sampling) if problem.name != "squared error"]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """A row a loss: its fitted order in the first case, and how often the student moves towards the teacher."""
    from theory.runs.statistics import median_estimate, rate_estimate
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, stated

    inside, cosine = "inside the class", "its null space depends on x"
    groups = (
        (inside, tuple(INSIDE), BLUE, "o"),
        (cosine, tuple(COSINE), GREEN, "D"),
        ("flat or kinked at the minimum", tuple(POWERS), ORANGE, "s"),
        ("minimum elsewhere", (*UNSURE, SHIFTED), GRAY, "^"),
    )
    place, ticks = 0.0, {}
    for title, names, color, marker in groups:
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.text(-0.35, place, title, fontsize=7, style="italic", va="center", bbox=white)
        for name in names:
            place += 1
            compared = (aligned if title in (inside, cosine) else whole)(evidence.first, name)
            ticks[place] = name
            if not compared.num_visible:
                continue
            fitted = median_estimate(compared.orders(evidence.settings), 0.95)
            reach = np.abs(np.subtract(fitted[1:], fitted[0]))[:, None]
            axes.errorbar(fitted.value, place, xerr=reach, fmt=marker, color=color, ms=4, capsize=2)
            value, low, high = (100 * end for end in rate_estimate(towards(evidence.first, name), 0.95))
            axes.text(3.65, place, f"{abs(fitted.value):.2f}", fontsize=7.5, va="center", ha="right")
            axes.text(5.6, place, f"{value:.0f} % [{low:.0f}, {high:.0f}]", fontsize=7.5, va="center", ha="right")
        place += 1.2
    axes.text(3.65, -1.3, "order", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.text(5.6, -1.3, "to the teacher (95 %)", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.axvline(2, color=BLACK, lw=0.8, zorder=0)
    axes.text(1.9, -1.3, "predicted inside", fontsize=7.5, ha="right", va="center")
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(place - 0.5, -2.0), xlim=(-0.4, 5.6), xticks=[0, 1, 2, 3])
    axes.set_xlabel(
        r"fitted order in $\epsilon$ of $\Delta_S\cdot\Delta_T - \epsilon A$, outside the class $\Delta_S\cdot\Delta_T$"
    )
    axes.xaxis.label.set_fontsize(8)
    axes.set_title(stated("Every loss of the class transfers alike", evidence))


CLAIM = Claim(
    number=4,
    name="imitation-losses",
    statement="every imitation loss of the class transfers alike; outside it orders and signs are others",
    measurement=LossSteps,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps_and_rates),
    checks=checks,
    panels={"imitation-losses": Panel(draw=draw, shows=("leading", "steps", "measured", "visible"))},
)
