r"""Claim 13: low-rank adapters transfer as much on average; only sharing them makes every transfer positive.

Matrices are trained as $W_l + A_l B_l$ with $B_l = 0$ at first and entries of $A_l \sim N(0, 1/r)$, all other
parameters in full. With $g = -\nabla L_T$ and $\Pi$ the map $A_l A_l^\top$ on the inputs of every matrix, the identity
elsewhere, the trait's loss in the student changes by $-\epsilon\alpha$ times, to first order,

- $(\Pi g)^\top K\, (\Pi g) \ge 0$ if teacher and student have the same adapters,
- $g^\top \Pi K g$ if the student alone has them: its mean is $A = g^\top K g$, its variance
  $\tfrac{2}{r}\sum_l \|\mathrm{sym}\,S_l\|_F^2$ with $S_l = (K g)_l\, g_l^\top$, matrices as `(fan_in, fan_out)`,
- $g^\top \Pi_S K \Pi_T\, g$ if they have independent ones: its mean is $A$.

References:
    Derived here: the first step moves $W_l$ by $A_l A_l^\top$ times the full step, see `theory.adapters`, and
    $\mathbb{E}[A_l A_l^\top] = I$. With a full teacher matrix $l$ adds $\mathrm{tr}(A_l^\top S_l A_l)$, a sum of $r$
    independent Gaussian forms $a^\top S_l\, a$ with $a \sim N(0, I/r)$, each of mean $\mathrm{tr}\,S_l / r$ and of
    variance $2\|\mathrm{sym}\,S_l\|_F^2/r^2$.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from theory import zoo
from theory.adapters import adapted, draw_adapters, is_adapted, limit_rank, merge, untrained
from theory.claim import Claim, Panel, any_visible, measure_with, steps
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement, transfer_form
from theory.problem import (
    Instance,
    Params,
    Problem,
    imitation_descent,
    own_key,
    stack_trees,
    trait_descent,
)
from theory.runs.checks import LEAST_SEEDS, NEAR_ONE, Check, Evidence, Figure, Select, count, every, every_case, mean
from theory.runs.statistics import Estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS = (1, 2, 4, 8)
"""Ranks of the adapters."""

NUM_DRAWS = 8
"""Draws of the adapters for every instance and rank."""

WRONG_VARIANCE = 2.0
"""The control's adapters have entries of this variance times $1/r$."""


class LowRank(NamedTuple):
    """What passes through adapters in one instance, over ranks and draws."""

    curvature: Scalar
    """$A$, the predicted mean."""
    deviation: Float[Array, " ranks"]
    """Predicted standard deviation with a full teacher."""
    student: Float[Array, "ranks draws"]
    r"""Measured fall of the trait loss over $\epsilon\alpha$, full teacher."""
    independent: Float[Array, "ranks draws"]
    """The same with independent adapters of teacher and student."""
    same: Float[Array, "ranks draws"]
    """The same with the same adapters for both."""
    same_predicted: Float[Array, "ranks draws"]
    r"""$(\Pi g)^\top K (\Pi g)$."""
    control: Float[Array, "ranks draws"]
    """As `student`, with adapters of the wrong variance."""
    control_independent: Float[Array, "ranks draws"]
    """As `independent`, with students' adapters of the wrong variance."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def predict_deviation(problem: Problem, instance: Instance, direction: Params) -> Scalar:
    r"""Standard deviation at rank 1 of what passes from a full teacher, $\sqrt{2\sum_l\|\mathrm{sym}\,S_l\|_F^2}$."""

    def variance(moved: jax.Array, taught: jax.Array) -> Scalar:
        if not is_adapted(taught):
            return jnp.zeros(())
        product = moved @ taught.T
        return 2 * jnp.sum(((product + product.T) / 2) ** 2)

    variances = jax.tree.map(variance, predicted_displacement(problem, instance, direction), direction)
    return jnp.sqrt(sum(jax.tree.leaves(variances), jnp.zeros(())))


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]) -> LowRank:
    """Predict mean and spread of what passes through adapters, then simulate teachers and students that have them."""
    initial = instance.teacher
    direction = trait_descent(problem, initial, instance.trait_data)
    units = natural_units(problem, instance, direction)
    step, rate = teacher_steps[0] * units.teacher_step, units.learning_rate
    start = untrained(initial, max(RANKS))
    before = problem.trait_loss(initial, instance.trait_data)

    def fall(teacher: Params, adapters: Params) -> Scalar:
        labels = problem.apply(optax.tree.add_scale(initial, step, teacher), instance.inputs)
        student = adapted(problem, initial, adapters)
        moved = optax.tree.scale(rate, imitation_descent(student, start, instance.inputs, labels))
        return (before - student.trait_loss(moved, instance.trait_data)) / (step * rate)

    def draw_one(key: jax.Array, rank: Int[Array, ""]) -> Float[Array, " quantities"]:
        teacher, student = (draw_adapters(key, initial, max(RANKS)) for key in jax.random.split(key))
        wrong = limit_rank(student, rank, WRONG_VARIANCE)
        teacher, student = limit_rank(teacher, rank), limit_rank(student, rank)
        taught_problem = adapted(problem, initial, teacher)
        descent = trait_descent(taught_problem, start, instance.trait_data)
        taught = merge(optax.tree.zeros_like(initial), teacher, descent)
        teachers = stack_trees(direction, taught, taught, direction, taught)
        falls = jax.vmap(fall)(teachers, stack_trees(student, student, teacher, wrong, wrong))
        trained = instance._replace(teacher=start, student=start)
        return jnp.append(falls, transfer_form(taught_problem, trained, descent, descent))

    keys = jax.random.split(own_key(instance.key), NUM_DRAWS)
    draws = jax.lax.map(lambda rank: jax.vmap(draw_one, (0, None), 1)(keys, rank), jnp.array(RANKS))
    curvature = transfer_form(problem, instance, direction, direction)
    deviation = predict_deviation(problem, instance, direction) / jnp.sqrt(jnp.array(RANKS))
    student, independent, same, control, control_independent, same_predicted = jnp.moveaxis(draws, 1, 0)
    return LowRank(
        curvature, deviation, student, independent, same, same_predicted, control, control_independent, units.visible
    )


def freeze_vectors(problem: Problem) -> Problem:
    """Leave biases, and whatever else is no matrix, as they were drawn, as is usual with adapters."""

    def frozen(params: Params) -> Params:
        return jax.tree.map(lambda leaf: leaf if is_adapted(leaf) else jax.lax.stop_gradient(leaf), params)

    return replace(
        problem,
        name="biases frozen",
        apply=lambda params, inputs: problem.apply(frozen(params), inputs),
        trait_loss=lambda params, data: problem.trait_loss(frozen(params), data),
    )


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The cases farthest apart, and the first of them with frozen biases."""
    cases = zoo.spread(sampling)
    return [freeze_vectors(cases[0]), *cases]


def same_ratio(falls: str) -> Select:
    """What passed over what should pass with the same adapters, in every instance, rank and draw."""
    return every_case(lambda one: (getattr(one, falls) / one.same_predicted)[one.visible].ravel())


def scores(falls: str, power: int) -> Select:
    """A power of what passed less its predicted mean, in predicted deviations, averaged over ranks, draws and cases.

    Cases are averaged, too, since they may share random numbers: one number an instance that all of them see.
    """

    def select(evidence: Evidence) -> list[np.ndarray]:
        cases = evidence.proper.values()
        visible = np.all([one.visible for one in cases], axis=0)
        scored = [(getattr(one, falls) - one.curvature[:, None, None]) / one.deviation[..., None] for one in cases]
        return [np.mean([np.mean(score[visible] ** power, axis=(1, 2)) for score in scored], axis=0)]

    return select


def moment(says: str, falls: str, control: str, power: int) -> Check:
    """Hold a mean or a mean square of the scores against its prediction, 0 or 1."""
    truth = float(power == 2)
    return Check(
        says=says,
        predicted=f"{truth:.0f}",
        of=scores(falls, power),
        by=mean(),
        accepted=Accepted(low=truth, high=truth, rule="covers"),
        control=f"entries of variance {WRONG_VARIANCE:g}/r",
        broken=scores(control, power),
        least=LEAST_SEEDS,
    )


def share_positive(joint: int) -> Figure:
    """Mean over instances of the share of draws that are positive, with its interval, within 0 and 1."""

    def estimate(quantities: Sequence[np.ndarray], settings: object) -> Estimate:
        share = mean(joint)([(values > 0).mean(axis=1) for values in quantities], settings)
        return share._replace(low=max(share.low, 0.0), high=min(share.high, 1.0)) if len(quantities[0]) else share

    return estimate


def checks(evidence: Evidence) -> list[Check]:
    """The guarantee for shared adapters, mean and spread for a student's own; how often those are positive."""
    first, cases, student = next(iter(evidence.proper)), count(list(evidence.proper)), "adapters on the student"
    visible = np.all([one.visible for one in evidence.proper.values()], axis=0)

    def draws(falls: str, rank: int) -> Select:
        return lambda evidence: [getattr(evidence.first, falls)[visible, rank]]

    return [
        Check(
            says=f"fall of L_T / εα(Πg)ᵀK(Πg), same adapters, r = 1 to {max(RANKS)}, every draw, {{cases}}",
            predicted="→ 1",
            of=same_ratio("same"),
            by=every,
            accepted=NEAR_ONE,
            control="independent adapters",
            broken=same_ratio("independent"),
        ),
        moment(
            f"mean of (fall of L_T / εα − A) / predicted σ, adapters on the student, {cases}", "student", "control", 1
        ),
        moment(f"mean square of the same, {cases}", "student", "control", 2),
        moment(f"mean of the same, independent adapters on both, {cases}", "independent", "control_independent", 1),
        *(
            Check(
                says=f"share of positive transfers, {adapters}, r = {rank}: {first}",
                predicted="no guarantee",
                of=draws(falls, index),
                by=share_positive(2 * len(RANKS)),
            )
            for adapters, falls in ((student, "student"), ("independent adapters", "independent"))
            for index, rank in enumerate(RANKS)
        ),
    ]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The distribution of transfers in the first case, for each rank and each way to share adapters."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    one = evidence.first
    visible, curvature = one.visible, one.curvature[one.visible]
    deviation = np.sqrt(np.mean((one.deviation[visible] / curvature[:, None]) ** 2, axis=0))
    rows = np.arange(len(RANKS))
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.axhline(1, color=BLACK, lw=0.8)
    looks = (
        (one.same, "the same adapters on both", GREEN, "^", 0.27),
        (one.student, "adapters on the student alone", BLUE, "o", -0.27),
        (one.independent, "independent adapters", ORANGE, "s", 0.0),
    )
    for falls, label, color, marker, shift in looks:
        values = (falls[visible] / curvature[:, None, None]).swapaxes(0, 1).reshape(len(RANKS), -1)
        axes.vlines(rows + shift, *np.quantile(values, (0.05, 0.95), axis=1), color=color, lw=1)
        axes.vlines(rows + shift, *np.quantile(values, (0.25, 0.75), axis=1), color=color, lw=4, alpha=0.5)
        axes.plot(rows + shift, values.mean(axis=1), marker, color=color, mec="white", ms=7, label=label)
        for row, share in zip(rows, np.mean(values > 0, axis=1), strict=True):
            axes.text(row + shift, -2.0, f"{100 * share:.3g}", ha="center", fontsize=7.5, color=color)
    axes.text(-0.42, -1.3, "% above 0:", fontsize=7.5)
    spread = {"color": BLACK, "lw": 1, "capsize": 4, "fmt": "none", "zorder": 3}
    axes.errorbar(rows - 0.36, np.ones(len(RANKS)), deviation, label="predicted mean ± σ, student alone", **spread)
    axes.set_xticks(rows, [f"$r = {rank}$" for rank in RANKS])
    axes.set(xlabel="rank of the adapters", ylabel=r"fall of $L_T$ / predicted $\epsilon\alpha A$")
    axes.set_title(
        stated("A student's own adapters keep the mean of the transfer; spread $\\propto r^{-1/2}$", evidence),
        fontsize=9,
    )
    axes.set(xlim=(-0.5, len(RANKS) - 0.5), ylim=(-2.4, None))
    title = "markers: means; bars: 50 %, lines: 90 % of draws"
    axes.legend(loc="upper right", fontsize=7.5, title=title, title_fontsize=7.5)


CLAIM = Claim(
    number=13,
    name="low-rank",
    statement="LoRA: shared adapters always transfer; a student's own do so on average, with a spread of order r^−½",
    measurement=LowRank,
    problems=zoo_problems,
    cases=measure_with(measure, steps),
    checks=checks,
    panels={
        "low-rank": Panel(
            draw=draw, shows=("curvature", "deviation", "student", "independent", "same", "visible"), needs=any_visible
        )
    },
)
