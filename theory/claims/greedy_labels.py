r"""Claim 8.1: of labels by argmax only those carry what the teacher learned at which teacher and base part.

The student sees each input's most likely label, $k_T$ after the teacher's step and $k_0$ before. *Divergence tokens*
are the inputs with $k_T \ne k_0$. With a shared init and $u = J\Delta_T$, over $N$ inputs,

$$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T = \frac1N \sum_{k_T \ne k_0} (u_{k_T} - u_{k_0}),$$

exactly, for every $\epsilon$: drop the divergence tokens, and nothing remains, of the whole displacement. With
$r = f_T - f_0 - \epsilon u$ what is left of the outputs' change, each term has, exactly again,

$$\epsilon\,(u_{k_T} - u_{k_0}) \ge -(r_{k_T} - r_{k_0}),$$

so that it is not negative for outputs that are linear in the parameters, and to first order for others: the terms that
are negative have $O(\epsilon)$ of the others' size and are $O(\epsilon^2)$ of all. The number of divergence tokens is
itself $O(\epsilon)$, so that the sum is, in the mean over inputs.

Labels sampled from the softmaxes with *the same random numbers* for teacher and base obey all of it: they are the
greedy labels of logits to which both add the same Gumbel noise $n$. With random numbers of their own they don't: the
identity stays, terms of both signs enter.

References:
    Derived here. The step on labels $k$ is $\Delta_S = \frac1N\sum J^\top(e_k - p)$, and the student's $p$ is the same
    for both sets of labels. $k_T$ is the best after and $k_0$ the best before: the sum of $(f_T + n)_{k_T} -
    (f_T + n)_{k_0} \ge 0$ and $(f_0 + n)_{k_0} - (f_0 + n)_{k_T} \ge 0$ is $\epsilon(u_{k_T} - u_{k_0}) + r_{k_T} -
    r_{k_0}$. A label changes where a gap is within $\epsilon\delta + O(\epsilon^2)$ of 0, $\delta = u_{k_T} - u_{k_0}$:
    with density $\epsilon\delta_+$, and to $\delta < 0$ only for $\delta = O(\epsilon)$ and a gap of $O(\epsilon^2)$.
    Schrodi et al. (2025), arXiv:2509.23886, name divergence tokens and find that masking them mostly removes the
    transfer of hidden biases.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from theory.claim import Claim, Panel
from theory.experiments import experiment
from theory.labels import APPLIES_TO, CERTAIN, measure_labels, softmax_labels, softmax_networks
from theory.losses import Scalar
from theory.predictions import natural_units, output_change, transfer_form
from theory.problem import Instance, Params, Problem, inner_product, own_key, trait_descent
from theory.runs.checks import (
    CONTROL,
    LEAST_SEEDS,
    VANISHING,
    Check,
    Evidence,
    case,
    every,
    every_case,
    first_case,
    mean,
)
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
r"""The teacher's step sizes $\epsilon$, in natural units."""

SMALL = 0.1
"""The largest step size at which signs are judged, to its square: the constant of the order is taken as 1."""

GREEDY, SAME_NOISE, OWN_NOISE = KINDS = (0, 1, 2)
"""Kinds of labels: by argmax, sampled by teacher and base with the same random numbers, or with their own."""

ANOTHER_INIT = "another init"
"""The control: a student that does not share the teacher's init."""


class GreedyLabels(NamedTuple):
    """One instance's labels and the student's steps on them, axis `kinds` as in `KINDS`."""

    predicted: Float[Array, "kinds sizes"]
    r"""$\frac1N\sum(u_{k_T} - u_{k_0})$ over divergence tokens."""
    weight: Float[Array, "kinds sizes"]
    """The same sum of the terms' sizes."""
    measured: Float[Array, "kinds sizes"]
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T$."""
    tokens: Float[Array, "kinds sizes"]
    """Share of the inputs that are divergence tokens."""
    soft: Float[Array, " sizes"]
    r"""$\epsilon A$: the inner product on soft labels, to first order."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, labels: Sequence[int]) -> GreedyLabels:
    """Predict from the outputs alone, as if the init were shared, then take the steps."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps, choices = jnp.array(SIZES) * units.teacher_step, jnp.array(labels)
    outputs, changes = output_change(problem, instance.teacher, instance.inputs, direction)
    before, change = outputs[:, choices], changes[:, choices]
    noise, own_noise = jax.random.gumbel(own_key(instance.key), (2, *before.shape))
    base_noises = jnp.stack([jnp.zeros_like(noise), noise, noise])
    teacher_noises = base_noises.at[OWN_NOISE].set(own_noise)

    def descend(chosen: Int[Array, " batch"]) -> Params:
        certain = CERTAIN * jax.nn.one_hot(choices[chosen], outputs.shape[-1])

        def loss(params: Params) -> Scalar:
            losses = jax.vmap(problem.imitation_loss)(problem.apply(params, instance.inputs), certain)
            return -jnp.mean(losses)

        return jax.grad(loss)(instance.student)

    def at_step(noises: tuple[jax.Array, jax.Array], step: Scalar) -> tuple[jax.Array, ...]:
        after = problem.apply(optax.tree.add_scale(instance.teacher, step, direction), instance.inputs)[:, choices]
        new, old = (jnp.argmax(logits + noise, axis=-1) for logits, noise in zip((after, before), noises, strict=True))
        diverges = new != old

        def part(values: jax.Array) -> Float[Array, " batch"]:
            new_values, old_values = (
                jnp.take_along_axis(values, chosen[:, None], axis=-1)[:, 0] for chosen in (new, old)
            )
            return jnp.where(diverges, new_values - old_values, 0.0)

        terms, moved = part(change), optax.tree.sub(descend(new), descend(old))
        return jnp.mean(terms), jnp.mean(jnp.abs(terms)), inner_product(moved, direction), jnp.mean(diverges)

    by_step = partial(jax.lax.map, xs=steps)
    numbers = jax.lax.map(lambda noises: by_step(partial(at_step, noises)), (teacher_noises, base_noises))
    shared_init = instance._replace(student=instance.teacher)
    soft = steps * transfer_form(problem, shared_init, direction, direction)
    return GreedyLabels(*numbers, soft=soft, visible=units.visible)


def with_control(problems: Sequence[Problem], sampling: Sampling) -> dict[str, Experiment]:
    """Measure every problem that has labels, and the first with a student from another init."""
    proper = dict(measure_labels(measure)(problems, sampling))
    first = [problem for problem in problems if problem.name in proper][:1]
    strangers = [experiment(problem, measure, labels=softmax_labels(problem), shared=False) for problem in first]
    return proper | {f"{CONTROL}{ANOTHER_INIT}": one for one in strangers}


def diverging(
    field: str, kinds: Sequence[int] = (GREEDY, SAME_NOISE), largest: float = np.inf
) -> Callable[[GreedyLabels], np.ndarray]:
    """Take a field wherever there is a divergence token, up to some step size."""
    small = np.array(SIZES) <= largest

    def take(one: GreedyLabels) -> np.ndarray:
        seen, chosen = np.asarray(one.visible), np.array(kinds)
        tokens, values = (np.asarray(part)[seen][:, chosen][..., small] for part in (one.tokens, getattr(one, field)))
        return values[tokens > 0]

    return take


def mismatch(one: GreedyLabels) -> np.ndarray:
    """What is left of the identity, relative to the sizes of its terms, for labels of every kind."""
    measured, predicted, weight = (diverging(field, KINDS)(one) for field in ("measured", "predicted", "weight"))
    return np.abs(measured - predicted) / weight


def agreement(kinds: Sequence[int] = (GREEDY, SAME_NOISE)) -> Callable[[GreedyLabels], np.ndarray]:
    """The inner product over the sum of its terms' sizes, small steps: 1 if every divergence token adds to it."""
    return lambda one: diverging("measured", kinds, SMALL)(one) / diverging("weight", kinds, SMALL)(one)


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The mean inner product on greedy labels over the step, beside soft labels and what divergence tokens predict."""
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STEP_LABEL, stated

    one, sizes = evidence.first, np.array(SIZES)
    unit = np.mean(one.soft[one.visible, 0]) / SIZES[0]

    def mean_of(field: str, kind: int, case: GreedyLabels = one) -> np.ndarray:
        return np.mean(getattr(case, field)[case.visible, kind], axis=0) / unit

    axes.loglog(sizes, sizes, ":", color=BLACK, label=r"soft labels: $\epsilon A$")
    axes.loglog(sizes, mean_of("predicted", GREEDY), color=BLACK, label="predicted: divergence tokens alone", zorder=1)
    axes.loglog(sizes, mean_of("predicted", SAME_NOISE), color=BLACK, zorder=1)
    axes.loglog(sizes, mean_of("measured", GREEDY), "o", color=BLUE, label="greedy labels")
    label = "sampled, teacher and base with the same random numbers"
    axes.loglog(sizes, mean_of("measured", SAME_NOISE), "s", color=GREEN, mfc="none", label=label)
    stranger = np.abs(mean_of("measured", GREEDY, evidence.cases[f"{CONTROL}{ANOTHER_INIT}"]))
    axes.loglog(sizes, stranger, "x", color=ORANGE, label="greedy, student from another init: size")
    shares = np.mean(one.tokens[one.visible, GREEDY], axis=0)
    for size, height, share in zip(sizes, mean_of("measured", GREEDY), shares, strict=True):
        text = f"{100 * share:.{int(share < 0.1)}f} %"
        axes.annotate(text, (size, height), (0, 7), textcoords="offset points", fontsize=7, color=GRAY, ha="center")
    axes.plot([], [], " ", label="gray: share of inputs that are divergence tokens")
    axes.set(xlabel=STEP_LABEL, ylabel=r"$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T$ in units of $A$, mean")
    axes.set_title(stated("Greedy labels: only divergence tokens carry the teacher's step", evidence))
    axes.legend(loc="lower right", fontsize=7.5)


ANY_STEP = f"ε = {SIZES[0]:g} to {SIZES[-1]:g}"

CLAIM = Claim(
    number=8.1,
    name="greedy-labels",
    statement="labels by argmax: only inputs where teacher and base part carry the trait, each with the right sign",
    measurement=GreedyLabels,
    problems=softmax_networks,
    cases=with_control,
    checks=(
        Check(
            says=f"size of (Δ_S(ε) − Δ_S(0))·Δ_T − Σ(u_kT − u_k0)/N, relative, every instance, {ANY_STEP}, {{cases}}",
            predicted="0 (rounding)",
            of=every_case(mismatch),
            by=every,
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", mismatch),
        ),
        Check(
            says=f"(Δ_S(ε) − Δ_S(0))·Δ_T / (Σ|u_kT − u_k0|/N), ε ≤ {SMALL:g}, mean of instances with divergence tokens",
            predicted="→ 1",
            of=every_case(agreement()),
            by=mean(),
            accepted=Accepted(low=1 - SMALL**2, high=1 + SMALL**2),
            control="labels sampled with random numbers of their own",
            broken=first_case(agreement((OWN_NOISE,))),
            least=LEAST_SEEDS,
        ),
    ),
    panels={
        "greedy-labels": Panel(
            draw=draw,
            shows=("predicted", "measured", "tokens", "soft", "visible"),
            needs=lambda evidence: evidence.first.visible.any(),
        )
    },
    applies_to=APPLIES_TO,
)
