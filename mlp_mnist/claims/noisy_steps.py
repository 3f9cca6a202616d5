r"""Claims adaptive-gain and rank-noise on this rung: one preconditioned step on the trained teacher's sampled labels.

One label an image; the step is $\alpha P g$, $g$ the labels' gradient at the shared init with mean $\bar g$, and on
average over labels

$$\mathbb{E}[\Delta L_T] = \alpha\nabla L_T\cdot P\bar g + \tfrac12\alpha^2\,Q_P, \quad
Q_P = \mathbb{E}[(Pg)^\top H (Pg)], \qquad G_P = \frac{(\nabla L_T\cdot P\bar g)^2}{2Q_P}$$

is the best fall. $P$ is the identity; Adam's diagonal; or $AA^\top$ for adapters of rank $r$ on every matrix, of mean
$I$, for which $Q_r = Q(1 + r^\ast/r)$: the best fall grows with the rank as $1/(1 + r^\ast/r)$, and a step that goes
with $1/r$ makes a U of it. $Q_P$ is estimated on labels and adapters other than those that the students learn from.

All is reported: the trained teacher's displacement is no gradient of the trait's loss at the init, so that a step may
raise it to first order, and the best step is no small one. A first run over eight seeds had both: of six in which plain
steps gain two were beyond the leading order and lost; before it the growth with the rank was to be judged.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist.arms import Results
from mlp_mnist.claims.epochs import draw_labels, labels_protocol
from mlp_mnist.predictions import Case, pose
from mlp_mnist.protocol import Protocol
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS, Checks
from theory.adapters import adapted, draw_adapters, limit_rank, merge, untrained
from theory.claims.adaptive_gain import ADDED
from theory.curvature import second_derivative_along
from theory.problem import (
    Instance,
    Params,
    Problem,
    imitation_descent,
    inner_product,
    stack_trees,
    trait_descent,
)
from theory.runs.checks import Check, Evidence, Select, every, mean, median, share

RANKS = (1, 4, 16, 64)
"""Ranks of the adapters."""

FITTING = RANKS.index(16)
"""Place of the rank at which a step size that goes with 1/r is the best one."""

NUM_DRAWS = 8
"""Draws of labels and adapters for the cost, and as many others for the students; Adam's denominators see both."""

MEASURED = {
    "noisy-steps/cost": "Q on sampled labels: plain, Adam's P, then adapters by rank, `RANKS`",
    "noisy-steps/slope": "fall of the trait's loss by a mean step of unit size, to first order, likewise",
    "noisy-steps/fall": "mean fall at the predicted best step size, likewise",
    "noisy-steps/shrinking-fall": "the same at a step size that goes with 1/r, by rank",
    "noisy-steps/noiseless-best": "predicted best fall, the teacher's outputs imitated: plain, P of Adam's first step",
    "noisy-steps/noiseless-fall": "simulated at that step size, likewise",
}
"""What is measured, for each number of auxiliary logits."""


def turned(problem: Problem, instance: Instance) -> tuple[Problem, Instance]:
    """Transpose every matrix, as adapters are for matrices `(fan_in, fan_out)`."""

    def turn(tree: Params) -> Params:
        return jax.tree.map(jnp.transpose, tree)

    other = replace(
        problem,
        apply=lambda params, inputs: problem.apply(turn(params), inputs),
        trait_loss=lambda params, key: problem.trait_loss(turn(params), key),
    )
    return other, instance._replace(teacher=turn(instance.teacher), student=turn(instance.student))


def evened(size: Params) -> Params:
    """Invert Adam's denominators, in units of what is added to them."""
    count = sum(leaf.size for leaf in jax.tree.leaves(size))
    added = ADDED * optax.tree.norm(size) / count**0.5
    return jax.tree.map(lambda leaf: added / (leaf + added), size)


def best_rate(slope: jax.Array, cost: jax.Array) -> jax.Array:
    """Step size of the largest fall; 0 where no step falls, or none is the best as the cost isn't positive."""
    return jnp.where((slope > 0) & (cost > 0), slope / cost, 0.0)


@partial(jax.jit, static_argnames=("protocol",))
def take_steps(protocol: Protocol, case: Case, key: jax.Array) -> tuple[jax.Array, ...]:
    """Predict the best step sizes, and take the steps, as `MEASURED` says."""
    straight, posed = pose(protocol, case)
    problem, instance = turned(straight, posed)
    start, inputs = instance.teacher, instance.inputs
    outputs = straight.apply(case.displacement, inputs)
    trait = trait_descent(problem, start, instance.trait_data)
    exact, ranks = imitation_descent(problem, start, inputs, outputs), jnp.array(RANKS)

    def loss(moved: Params) -> jax.Array:
        return problem.trait_loss(moved, instance.trait_data)

    def take_all(key: jax.Array) -> tuple[Params, Params]:
        """The steps of one draw of labels: plain, and by rank."""
        label_key, adapter_key = jax.random.split(key)
        drawn = draw_labels(outputs, jnp.float32(1), label_key)
        normal = draw_adapters(adapter_key, start, max(RANKS))

        def low_rank_step(rank: jax.Array) -> Params:
            adapters = limit_rank(normal, rank)
            seen, zero = adapted(problem, start, adapters), untrained(start, max(RANKS))
            return merge(start, adapters, imitation_descent(seen, zero, inputs, drawn))

        return imitation_descent(problem, start, inputs, drawn), jax.lax.map(low_rank_step, ranks)

    plain, by_rank = jax.lax.map(take_all, jax.random.split(key, 2 * NUM_DRAWS))
    adam = evened(jax.tree.map(lambda leaf: jnp.sqrt(jnp.mean(leaf**2, axis=0)), plain))
    first = evened(jax.tree.map(jnp.abs, exact))
    steps = jax.tree.map(
        lambda one, factor, others: jnp.concatenate([jnp.stack([one, one * factor[None]], axis=1), others], axis=1),
        plain,
        adam,
        by_rank,
    )
    means = stack_trees(exact, optax.tree.mul(adam, exact), optax.tree.mul(first, exact))
    for_cost = jax.tree.map(
        lambda drawn, known: jnp.concatenate([drawn[:NUM_DRAWS].reshape(-1, *drawn.shape[2:]), known]), steps, means
    )
    bends = jax.lax.map(lambda step: second_derivative_along(loss, start, step), for_cost)
    costs = jnp.mean(bends[:-3].reshape(NUM_DRAWS, -1), axis=0)
    slopes = jax.vmap(inner_product, (None, 0))(trait, means)
    first_orders = jnp.concatenate([slopes[:2], jnp.full(len(RANKS), slopes[0])])
    rates = best_rate(first_orders, costs)
    shrinking = rates[2 + FITTING] * RANKS[FITTING] / ranks

    def fall(arm: tuple[Params, jax.Array]) -> jax.Array:
        step, rate = arm
        return loss(start) - loss(optax.tree.scale(rate, step))

    def falls(drawn: Params, rates: jax.Array, slopes: jax.Array) -> jax.Array:
        """Mean fall over the students' draws, the known mean slope put in for that of each draw."""
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), drawn)
        every = jax.lax.map(fall, (flat, jnp.tile(rates, NUM_DRAWS)))
        luck = jax.vmap(inner_product, (None, 0))(trait, flat) - jnp.tile(slopes, NUM_DRAWS)
        return jnp.mean((every - jnp.tile(rates, NUM_DRAWS) * luck).reshape(NUM_DRAWS, -1), axis=0)

    for_fall = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:, 2:]], axis=1)[NUM_DRAWS:], steps)
    fallen = falls(for_fall, jnp.concatenate([rates, shrinking]), jnp.concatenate([first_orders, first_orders[2:]]))
    known = jax.tree.map(lambda leaf: leaf[jnp.array([0, 2])], means)
    slope = slopes[jnp.array([0, 2])]
    rate = best_rate(slope, bends[jnp.array([-3, -1])])
    simulated = jax.lax.map(fall, (known, rate))
    return costs, first_orders, fallen[: len(rates)], fallen[len(rates) :], rate * slope / 2, simulated


def measure(protocol: Protocol, case: Case, key: jax.Array) -> dict[str, np.ndarray]:
    """Take the steps of students of the trained teacher's labels."""
    names = (name.removeprefix("noisy-steps/") for name in MEASURED)
    values = take_steps(labels_protocol(protocol), case, key)
    return {name: np.asarray(value, np.float64) for name, value in zip(names, values, strict=True)}


def gains(cases: Results) -> np.ndarray:
    """Twice the predicted best falls, `(seeds, numbers, arms)`; NaN where no step falls, or none is the best."""
    slope, cost = cases["noisy-steps/slope"], cases["noisy-steps/cost"]
    return np.where((slope > 0) & (cost > 0), slope**2 / cost, np.nan)


def over_plain(cases: Results, name: str) -> np.ndarray:
    """A fall in units of the predicted best one of plain steps, `(seeds, numbers, arms)`; NaN where there is none."""
    return cases[f"noisy-steps/{name}"] / (gains(cases)[..., :1] / 2)


def best(cases: Results) -> np.ndarray:
    """Predicted best falls in units of that of plain steps, likewise."""
    return gains(cases) / gains(cases)[..., :1]


def half_rank(cases: Results) -> np.ndarray:
    r"""$r^\ast = r\,(Q_r/Q - 1)$ as each rank has it, `(seeds, numbers, ranks)`."""
    cost = cases["noisy-steps/cost"]
    return np.array(RANKS) * (cost[..., 2:] / cost[..., :1] - 1)


def by_seed(values: np.ndarray) -> np.ndarray:
    """Mean over the numbers of logits for which plain steps gain, in the seeds in which any does."""
    seen = np.isfinite(values).reshape(len(values), -1).any(axis=1)
    return np.nanmean(values[seen], axis=1)


def _growth(name: str, first: int) -> Select:
    """How much more is gained at the highest rank than at a quarter of it."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        falls = over_plain(evidence.cases, name)[..., first:]
        return [by_seed(falls[..., -1] - falls[..., -2])]

    return select


def _simulated(arm: int) -> Select:
    """Mean fall in units of the best one that is predicted of plain steps."""
    return lambda evidence: [by_seed(over_plain(evidence.cases, "fall")[..., arm])]


def _adam(predicted: bool, noiseless: bool) -> Select:
    """What Adam's P gains over what plain steps do, every seed and number in which these gain."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        of = evidence.cases
        if noiseless:
            best_falls, falls = (of[f"noisy-steps/noiseless-{kind}"] for kind in ("best", "fall"))
        else:
            best_falls, falls = gains(of)[..., :2], of["noisy-steps/fall"][..., :2]
        both = np.all(best_falls > 0, axis=-1)
        chosen = (best_falls if predicted else falls)[both]
        return [chosen[..., 1] / chosen[..., 0]]

    return select


RANK_CHECKS: tuple[Check, ...] = (
    Check(
        says=f"fall at rank {RANKS[-1]} less that at {RANKS[-2]}, best step size of each, one label an image, over "
        "G_∞, mean",
        predicted="> 0 to leading order",
        of=_growth("fall", 2),
        by=mean(confidence=JOINT_CONFIDENCE),
        least=LEAST_SEEDS,
    ),
    Check(
        says=f"the same if the step goes with 1/r and is the best at rank {RANKS[FITTING]}",
        predicted="< 0 to leading order",
        of=_growth("shrinking-fall", 0),
        by=mean(confidence=JOINT_CONFIDENCE),
        least=LEAST_SEEDS,
    ),
    Check(
        says="share of seeds and numbers in which a plain step has a best size",
        predicted="no guarantee: the teacher is trained",
        of=lambda evidence: [np.ravel(np.isfinite(gains(evidence.cases)[..., 0]))],
        by=share(),
    ),
    Check(
        says=f"predicted best fall at four times the rank over that at r = {', '.join(map(str, RANKS[:-1]))}, every "
        "seed and number",
        predicted="> 1 if H ≥ 0",
        of=lambda evidence: [
            evidence.cases["noisy-steps/cost"][..., 2:-1] / evidence.cases["noisy-steps/cost"][..., 3:]
        ],
        by=every,
    ),
    *(
        Check(
            says=f"rank r* at which half of G_∞ is left, from the cost of rank {rank}",
            predicted="the same from every rank",
            of=lambda evidence, place=place: [np.ravel(half_rank(evidence.cases)[..., place])],
            by=median,
        )
        for place, rank in enumerate(RANKS)
    ),
    *(
        Check(
            says=f"simulated fall over G_∞, {name}, mean",
            predicted=f"{expected} to leading order",
            of=_simulated(arm),
            by=mean(confidence=JOINT_CONFIDENCE),
            least=LEAST_SEEDS,
        )
        for arm, name, expected in (
            (0, "full training", "1"),
            *((2 + place, f"rank {rank}", f"1/(1 + r*/{rank})") for place, rank in enumerate(RANKS)),
        )
    ),
)

ADAM_CHECKS: tuple[Check, ...] = tuple(
    Check(
        says=f"best fall by Adam's P over that of a plain step, {kind}, {how}, where both gain by the formula",
        predicted="no guarantee",
        of=_adam(predicted, noiseless),
        by=median,
    )
    for noiseless, kind in ((True, "the teacher's outputs"), (False, "one label an image"))
    for predicted, how in ((True, "by the formula"), (False, "simulated"))
)


def checks(numbers: Sequence[int]) -> Checks:
    """What low ranks and Adam's preconditioner gain in one step behind the trained teacher."""
    del numbers
    yield from (("rank-noise", check) for check in RANK_CHECKS)
    yield from (("adaptive-gain", check) for check in ADAM_CHECKS)
