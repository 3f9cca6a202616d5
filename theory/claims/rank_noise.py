r"""Claim 14.1: with label noise the best transfer grows with the rank of a student's adapters; a fixed rate makes a U.

The teacher is trained in full, the student through adapters of rank $r$ ($B = 0$, $A \sim N(0, 1/r)$), one step of size
$\alpha$ on $N$ sampled labels. It moves by $\alpha\Pi g$, $\Pi = AA^\top$ on the inputs of each matrix, and on average
over labels and adapters, with $H = \nabla^2 L_T$,

$$\mathbb{E}[\Delta L_T] = -\alpha\epsilon A + \tfrac12\alpha^2\,Q\,\big(1 + \tfrac{r^\ast}{r}\big) + \ldots, \qquad
Q = \epsilon^2 k^\top H k + \tfrac1N\mathrm{tr}(HK) = \mathrm{tr}(HC), \quad k = K\Delta_T,$$

with $C = \epsilon^2 kk^\top + K/N$ the second moment of $g$ and, summed over the matrices of the network,

$$Q\,r^\ast = \sum_l \mathrm{tr}\big(\mathrm{tr}_\text{in}H_l\,\mathrm{tr}_\text{in}C_l\big) +
\sum_l\sum_{ijab} H_{ia,jb}\,C_{ja,ib} \ge 0 \text{ if } H \ge 0 .$$

So the best step size $\alpha^\ast_r = \epsilon A/Q(1 + r^\ast/r)$ grows with the rank, and so does the best fall:

$$G_r = \frac{G_\infty}{1 + r^\ast/r}, \qquad \text{and}\qquad G_r\,a(2 - a) \text{ at } \alpha = a\,\alpha^\ast_r.$$

At a *fixed* learning rate it does not, for the step depends on the rank by the scale of the adapters. Scaled by $s/r$,
as is usual, both the gradient of $B$ and its effect are, and with entries of $A$ whose size doesn't depend on $r$ the
step goes with $1/r$: an inverted U where it crosses $\alpha^\ast_r$. With $s \propto r$ the step goes with $r$: again
an inverted U, and at high rank a student worse than before.

References:
    Derived here. For one step see claims low-rank and label-noise-cost. $S = AA^\top$ has $\mathbb{E}[S] = I$ and
    $\mathbb{E}[S_{ij}S_{kl}] = \delta_{ij}\delta_{kl} + (\delta_{ik}\delta_{jl} + \delta_{il}\delta_{jk})/r$, and
    those of different matrices are independent: insert this in $\mathrm{tr}(H\,\Pi C\,\Pi)$, where $\Pi$ acts on the
    first index of each matrix. $\mathrm{tr}(H\Pi C\Pi) = \|H^{1/2}\Pi C^{1/2}\|_F^2$ is convex in $\Pi$ if $H \ge 0$:
    by Jensen's inequality its mean is not below $\mathrm{tr}(HC)$. "Subliminal learning is a LoRA artifact" (2026),
    arXiv:2606.00831, finds an inverted U over the rank, and nothing in full fine-tuning. Kalajdzievski (2023),
    arXiv:2312.03732, on scaling by $1/\sqrt r$.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.adapters import adapted, draw_adapters, is_adapted, limit_rank, merge, untrained
from theory.claim import Claim, Panel
from theory.labels import APPLIES_TO, label_losses, log_probabilities, measure_labels
from theory.predictions import natural_units
from theory.problem import Instance, Params, Problem, flatten, own_key, trait_descent
from theory.runs.checks import (
    LEAST_SEEDS,
    NO_EXCESS,
    Check,
    every_case,
    median,
    share,
    worst_mean,
)
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.runs.checks import Evidence
    from theory.runs.sweeps import Sampling

RANKS = (1, 2, 4, 8, 16)
"""Ranks of the adapters."""

FITTING = 4
"""The rank at which a fixed learning rate is the best one."""

NUM_DRAWS = 4
"""Draws of the adapters for every instance and rank."""

NUM_INPUTS = 8
"""Inputs of the imitation: the claim takes steps on every single label."""

SMALL_STEP = 1e-4
"""The teacher's step size, in natural units."""

WRONG_VARIANCE = 2.0
"""The control's adapters have entries of this variance times $1/r$."""

DEFINITE = 0.5
r"""The trait loss is curved upwards if the mean of $g^\top H g$ over labels is at least this share of its size's."""

TUNED, SHRINKING, GROWING, WRONG = range(4)
"""Step sizes: the best of each rank, one that goes with $1/r$ or with $r$; and the best with the wrong adapters."""


class RankNoise(NamedTuple):
    r"""What students with adapters gain in one instance, in units of $G_\infty$; axis `arms` as numbered above."""

    predicted: Float[Array, "arms ranks"]
    """Mean fall of the trait loss."""
    fall: Float[Array, "arms ranks draws"]
    """Simulated fall, exact mean over all labels that could be drawn, the known mean slope put in for the adapters'."""
    full: Float[Array, ""]
    """The same in full training at its best step size."""
    half: Float[Array, ""]
    r"""$r^\ast$, the rank at which half of $G_\infty$ is left."""
    definite: Bool[Array, ""]
    """Whether imitation sees the trait and its loss is clearly curved upwards along full steps."""

    @property
    def seen(self) -> np.ndarray:
        """Whether it is curved upwards along the spread of adapters as well."""
        return np.asarray(self.definite & (self.half > 0))


def spread_cost(
    params: Params, hessian: Float[Array, "params params"], moment: Float[Array, "params params"]
) -> Float[Array, ""]:
    r"""What the spread of adapters of rank 1 adds to $\mathrm{tr}(HC)$."""
    cost, start = jnp.zeros(()), 0
    for leaf in jax.tree.leaves(params):
        block = slice(start, start := start + leaf.size)
        if is_adapted(leaf):
            curved, moved = (matrix[block, block].reshape(*leaf.shape, *leaf.shape) for matrix in (hessian, moment))
            cost += jnp.einsum("iaib,jbja->", curved, moved) + jnp.einsum("iajb,jaib->", curved, moved)
    return cost


def measure(problem: Problem, instance: Instance, *, labels: Sequence[int]) -> RankNoise:
    """Predict the mean fall from the dense Hessian, then take every label's step through adapters that are drawn."""
    instance = instance._replace(inputs=instance.inputs[:NUM_INPUTS])
    initial, inputs = instance.teacher, instance.inputs
    flat, same = flatten(problem, instance)
    direction = trait_descent(flat, same.teacher, instance.trait_data)
    units = natural_units(flat, same, direction)
    step = SMALL_STEP * units.teacher_step

    def shares(step: jax.Array) -> jax.Array:
        return jnp.exp(log_probabilities(flat, labels, same.teacher + step * direction, inputs)).ravel() / len(inputs)

    def singles(problem: Problem, params: Params) -> Params:
        losses = jax.jacrev(lambda params: label_losses(problem, labels, params, inputs).ravel())(params)
        return jax.tree.map(jnp.negative, losses)

    def trait(moved: jax.Array) -> jax.Array:
        return flat.trait_loss(same.teacher + moved, instance.trait_data)

    hessian = jax.hessian(trait)(jnp.zeros_like(direction))
    single, base, drawn = singles(flat, same.teacher), shares(jnp.zeros(())), shares(step)
    kernel = (single * base[:, None]).T @ single
    moved = kernel @ direction
    moment = step**2 * jnp.outer(moved, moved) + kernel
    cost, transfer = jnp.sum(hessian * moment), step * direction @ moved
    half = spread_cost(initial, hessian, moment) / cost
    ranks = jnp.array(RANKS)
    best = transfer / cost / (1 + half / ranks)
    fixed = best[RANKS.index(FITTING)]
    rates = jnp.stack([best, fixed * FITTING / ranks, fixed * ranks / FITTING, best])
    relative = rates / best[None]
    unit = transfer**2 / cost / 2
    before = trait(jnp.zeros_like(direction))

    def fall(steps: jax.Array, rate: jax.Array) -> jax.Array:
        return drawn @ (before - jnp.asarray(jax.vmap(trait)(rate * steps))) / unit

    start, zero = untrained(initial, max(RANKS)), jax.tree.map(jnp.zeros_like, initial)

    def draw_one(key: jax.Array, rank: jax.Array, rates: jax.Array) -> jax.Array:
        normal = draw_adapters(key, initial, max(RANKS))

        def through(variance: float) -> jax.Array:
            adapters = limit_rank(normal, rank, variance)
            trained = singles(adapted(problem, initial, adapters), start)
            return jax.vmap(lambda one: ravel_pytree(merge(zero, adapters, one))[0])(trained)

        steps = through(1.0)
        luck = (drawn @ steps - drawn @ single) @ direction / unit
        falls = jax.lax.map(lambda rate: fall(steps, rate) - rate * luck, rates[:WRONG])
        return jnp.append(falls, fall(through(WRONG_VARIANCE), rates[WRONG]))

    keys = jax.random.split(own_key(instance.key), NUM_DRAWS)
    falls = jax.lax.map(lambda pair: jax.vmap(draw_one, (0, None, None))(keys, *pair), (ranks, rates.T))
    bends = jnp.sum((single @ hessian) * single, axis=1)
    return RankNoise(
        predicted=relative * (2 - relative) / (1 + half / ranks)[None],
        fall=jnp.moveaxis(falls, 2, 0),
        full=fall(single, transfer / cost),
        half=half,
        definite=units.visible & (base @ bends > DEFINITE * (base @ jnp.abs(bends))),
    )


def excess(*arms: int) -> Callable[[RankNoise], np.ndarray]:
    """Simulated minus predicted fall, mean over draws, at every rank."""

    def left(one: RankNoise) -> np.ndarray:
        chosen = (one.fall.mean(axis=-1) - one.predicted)[one.seen][:, list(arms)]
        return np.asarray(chosen).reshape(len(chosen), -1)

    return left


def careless(*arms: int) -> Callable[[RankNoise], np.ndarray]:
    """The same if the adapters' spread cost nothing."""

    def left(one: RankNoise) -> np.ndarray:
        ranks = np.array(RANKS)
        best = 1 / (1 + np.asarray(one.half)[:, None] / ranks)
        fixed = best[:, [RANKS.index(FITTING)]]
        rates = np.stack([best, fixed * FITTING / ranks, fixed * ranks / FITTING], axis=1)
        chosen = (one.fall.mean(axis=-1)[:, :WRONG] - rates * (2 - rates))[one.seen][:, list(arms)]
        return np.asarray(chosen).reshape(len(chosen), -1)

    return left


def growth(arm: int) -> Callable[[RankNoise], np.ndarray]:
    """How much more passes at four times the rank, mean over draws."""
    return lambda one: np.diff(np.asarray(one.fall[one.seen, arm, ::2].mean(axis=-1)), axis=1)


def peak(*arms: int) -> Callable[[RankNoise], np.ndarray]:
    """How much less passes at the lowest and at the highest rank than at the one that fits, mean over draws."""

    def lead(one: RankNoise) -> np.ndarray:
        falls = np.asarray(one.fall[one.seen][:, list(arms)].mean(axis=-1))
        lost = falls[..., [RANKS.index(FITTING)]] - falls[..., [0, -1]]
        return lost.reshape(len(lost), -1)

    return lead


def draw(axes: "Axes", evidence: "Evidence") -> None:
    """What passes over the rank, at the best step size of each rank and at fixed learning rates."""
    from theory.runs.statistics import mean_estimate
    from theory.runs.style import BLACK, BLUE, ORANGE, PURPLE, stated

    one, ranks = evidence.first, np.array(RANKS)
    looks = (
        (TUNED, "best step size of each rank (95 %)", BLUE, "o", "-", 1.0),
        (SHRINKING, "fixed rate, scaled $s/r$: step $\\propto 1/r$", ORANGE, "s", "--", 1.06),
        (GROWING, "fixed rate, $s \\propto r$: step $\\propto r$", PURPLE, "^", ":", 0.94),
    )
    for arm, label, color, marker, line, shift in looks:
        axes.plot(ranks, one.predicted[one.seen, arm].mean(axis=0), line, color=BLACK, lw=1, zorder=1)
        value, low, high = np.array([mean_estimate(column) for column in one.fall[one.seen, arm].mean(axis=-1).T]).T
        reach, look = [value - low, high - value], {"fmt": marker, "color": color, "capsize": 2, "label": label}
        axes.errorbar(ranks * shift, value, yerr=reach, **look)
    axes.plot([], [], color=BLACK, lw=1, label="predicted (lines)")
    axes.axhline(1, color=BLACK, lw=0.8, ls="-.", label="full training at its best step size")
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="rank of the student's adapters $r$", ylim=(-1.3, 2.6))
    axes.set_xticks(ranks, list(map(str, ranks)))
    axes.minorticks_off()
    axes.set_ylabel("fall of $L_T$ / best fall in full training (on below)")
    axes.set_title(stated("Best transfer grows with the rank; a fixed rate makes an inverted U", evidence))
    axes.legend(loc="upper left")


def zoo_problems(sampling: "Sampling") -> list[Problem]:
    """Narrow networks, since the Hessian is written out: the reference, disjoint outputs and another trait."""
    narrow = partial(zoo.variant, hidden=(8, 8))
    cases = [
        narrow("width 8"),
        narrow("width 8, auxiliary outputs", imitated=zoo.AUXILIARY),
        narrow("width 8, regression trait", trait="regression"),
    ]
    return cases if sampling.cases == "all" else cases[:1]


MORE = Accepted(low=0.0, high=np.inf)
RANGE = f"r = {', '.join(map(str, RANKS))}"

CLAIM = Claim(
    number=14.1,
    name="rank-noise",
    statement="label noise: where r* > 0 the best transfer grows with the rank, G∞/(1 + r*/r); a fixed rate makes a U",
    measurement=RankNoise,
    problems=zoo_problems,
    cases=measure_labels(measure),
    checks=(
        Check(
            says=f"(fall of L_T − G_r) / G_∞ at the best step size, N = 1, {RANGE}, mean, worst of {{cases}}",
            predicted="0",
            of=every_case(excess(TUNED)),
            by=worst_mean(NO_EXCESS),
            accepted=NO_EXCESS,
            control=f"entries of variance {WRONG_VARIANCE:g}/r",
            broken=every_case(excess(WRONG)),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"the same less a(2 − a)G_r, steps that go with 1/r and with r, {RANGE}, mean, worst of {{cases}}",
            predicted="0",
            of=every_case(excess(SHRINKING, GROWING)),
            by=worst_mean(NO_EXCESS),
            accepted=NO_EXCESS,
            control="a spread of the adapters that costs nothing, r* = 0",
            broken=every_case(careless(SHRINKING, GROWING)),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"fall at four times the rank less fall, best step size, where r* > 0, r = {RANKS[0]} to {RANKS[-1]}, "
            "mean, worst of {cases}",
            predicted="> 0",
            of=every_case(growth(TUNED)),
            by=worst_mean(MORE),
            accepted=MORE,
            control="step that goes with 1/r",
            broken=every_case(growth(SHRINKING)),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"fall at r = {FITTING} less those at r = {RANKS[0]} and r = {RANKS[-1]}, steps by 1/r and by r: "
            "an inverted U where r* > 0, mean, worst of {cases}",
            predicted="> 0",
            of=every_case(peak(SHRINKING, GROWING)),
            by=worst_mean(MORE),
            accepted=MORE,
            control="best step size of each rank",
            broken=every_case(peak(TUNED)),
            least=LEAST_SEEDS,
        ),
        Check(
            says="rank r* at which half is left, {cases}",
            predicted="> 0 if H ≥ 0",
            of=every_case(lambda one: np.asarray(one.half)[one.definite]),
            by=median,
        ),
        Check(
            says="share of instances with r* < 0: H is not positive along the spread of adapters, {cases}",
            predicted="no guarantee",
            of=every_case(lambda one: np.asarray(one.half)[one.definite] < 0),
            by=share(),
        ),
    ),
    panels={
        "rank-noise": Panel(
            draw=draw,
            shows=("predicted", "fall", "half", "definite"),
            needs=lambda evidence: evidence.first.seen.any(),
        )
    },
    any_problem=False,
    applies_to=APPLIES_TO,
)
