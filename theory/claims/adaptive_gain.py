r"""Claim 9.2: adaptive steps are not necessary: they gain where they favor what transfers more than it costs.

A student that shares the teacher's init takes one step on $N$ sampled labels, its gradient multiplied by a symmetric
positive-definite $P$. On average over them, with $H = \nabla^2 L_T$,

$$\mathbb{E}[\Delta L_T] = -\alpha\epsilon\,\Delta_T^\top P K \Delta_T + \tfrac12\alpha^2\big[\epsilon^2
(PK\Delta_T)^\top H (PK\Delta_T) + \tfrac1N\mathrm{tr}(HPKP)\big] + \ldots$$

and at the best step size it falls by $G_P = \epsilon^2(\Delta_T^\top PK\Delta_T)^2/2Q_P$, $Q_P$ the bracket. Plain
descent gains in every instance in which imitation sees the trait. Whether $P$ gains *more*:

- $P = \mathrm{diag}(1 + \tau q)$ does, to first order in $\tau$, if and only if $\sum_i q_i b_i/\sum_i b_i >
  \sum_i q_i c_i/\sum_i c_i$, where parameter $i$ transfers $b_i = \Delta_i(K\Delta_T)_i$ and costs
  $c_i = \epsilon^2 k_i (Hk)_i + \frac1N(HK)_{ii}$, $k = K\Delta_T$;
- without label noise and with a flat trait loss ($H \propto I$) every $P = p(K)$ does, for every teacher, whose $p$
  falls and whose $\lambda p(\lambda)$ grows with $\lambda$: all that evens out the spectrum, up to
  $K^{-1}$, which reaches the bound $\tfrac12\Delta_T^\top H^{-1}\Delta_T$ for what imitation sees;
- with label noise alone, a flat trait loss and a teacher in a random direction none does: plain descent is the best.

So adaptive steps help where the signal is hidden by few parameters that cost much, as outliers do, and harm where label
noise is what limits the student.

References:
    Derived here. The step is $\alpha P g$ with $g$ of mean $\epsilon K\Delta_T$ and covariance $K/N$, see claim
    label-noise-cost. For a diagonal $P$, diagonal $p$, it is $-\alpha\epsilon\,b\cdot p + \tfrac12\alpha^2 p^\top Q p$,
    $Q = H \circ (\epsilon^2 kk^\top + K/N)$, so that $\log G_P = 2\log b\cdot p - \log p^\top Q p$ + const. has the
    slope $2\,q\cdot b/\sum b - 2\,q\cdot Q1/\sum Q1$ at $p = 1$, and $c = Q1$. *Flat, no noise*: in the eigenbasis of
    $K$, $G \propto (\sum a^2\lambda p)^2/\sum a^2\lambda^2p^2$. Along $p^\tau$, $\tau \in [0, 1]$, half the slope of
    its logarithm is the mean of $\log p$ under the weights $a^2\lambda p^\tau$ less that under the same times $\lambda
    p^\tau$, which grows in $\lambda$ while $\log p$ falls: not negative. *Flat, noise alone, random teacher*:
    $\mathbb{E}_\Delta[\Delta_T^\top PK\Delta_T]^2/\mathrm{tr}(PKP) \propto (\sum\lambda p)^2/\sum\lambda p^2 \le
    \sum\lambda$, by Cauchy and Schwarz. "Subliminal learning is steering vector distillation" (2026), arXiv:2606.00995,
    finds adaptive optimizers necessary in language models, for outlier gradients dominate others.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel
from theory.curvature import second_derivative_along
from theory.labels import APPLIES_TO, label_losses, log_probabilities, measure_labels
from theory.optimizers import draw_diagonal
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Instance, Problem, flatten, imitation_descent, own_key, trait_descent
from theory.runs.checks import LEAST_SEEDS, NEAR_ONE, THIRD_ORDER, Check, every, every_case, share, worst_median
from theory.runs.statistics import fitted_order
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import largest_eigenvalue, tridiagonalize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.runs.checks import Evidence
    from theory.runs.sweeps import Sampling

SIZES = (1e-4, 3e-4, 1e-3)
r"""Of the order's fit both $\epsilon$, in natural units, and $\alpha$, in units of the one at which a single label
moves the plain student as far as $\epsilon = 1$ moves the teacher."""

CONDITION = 100.0
"""Of the diagonal preconditioner that is drawn."""

NUM_INPUTS = 8
"""Inputs of the imitation: the claim takes steps on every single label."""

TILT = 0.01
r"""$\tau$."""

ADDED = 0.01
"""What is added to Adam's denominators, in units of their root mean square."""

NUM_PRODUCTS = 16
"""Lanczos's products with the kernel."""

DEFINITE = 0.5
r"""The trait loss is curved upwards if the mean of $g^\top H g$ over labels is at least this share of its size's."""

CASES = ("reference", "auxiliary outputs", "regression trait")
"""Cases of the zoo on which the claim is verified."""

PLAIN, TOWARDS, AWAY, DRAWN, ADAM = range(5)
"""Preconditioners: none, tilted towards what transfers more than it costs, tilted the other way, drawn, Adam's."""


class AdaptiveGain(NamedTuple):
    """What preconditioned steps on one label gain in one instance; axis `arms` as numbered above."""

    predicted: Float[Array, "last_arms sizes"]
    r"""The formula for $\mathbb{E}[\Delta L_T]$ at $\epsilon$ and $\alpha$ of each of `SIZES`, for the last two."""
    measured: Float[Array, "last_arms sizes"]
    """Its exact mean over all labels that could be drawn."""
    careless: Float[Array, "last_arms sizes"]
    r"""The formula with the noise's cost that plain steps have, $\mathrm{tr}(HK)$."""
    best: Float[Array, " arms"]
    """Predicted fall of the trait loss at the best step size, at the smallest step of the teacher."""
    gain: Float[Array, " arms"]
    """Simulated fall at that step size, exact mean over all labels; 0 where no step size gains."""
    noiseless: Float[Array, " arms"]
    """Predicted best fall for a student that sees the teacher's outputs themselves; 0 where there is none."""
    slope: Float[Array, ""]
    r"""Predicted change of the logarithm of the gain by the tilt, to first order."""
    even: Float[Array, ""]
    r"""Gain of $P = I - K/2\lambda_{max}$ over plain: flat trait loss, the teacher's outputs, simulated."""
    even_noisy: Float[Array, ""]
    """The same, label noise alone and a teacher in a random direction, over all labels."""
    definite: Bool[Array, " arms"]
    """Whether imitation sees the trait and its loss is clearly curved upwards along preconditioned steps."""


def measure(problem: Problem, instance: Instance, *, labels: Sequence[int]) -> AdaptiveGain:
    """Predict what a preconditioner gains, then take its step on every label."""
    problem, instance = flatten(problem, instance)
    instance = instance._replace(inputs=instance.inputs[:NUM_INPUTS])
    init, inputs = instance.teacher, instance.inputs
    direction = trait_descent(problem, init, instance.trait_data)
    units, kernel = natural_units(problem, instance, direction), predicted_displacement(problem, instance, direction)

    def trait(params: jax.Array) -> jax.Array:
        return problem.trait_loss(params, instance.trait_data)

    def curve(vector: jax.Array) -> jax.Array:
        return jax.jvp(jax.grad(trait), (init,), (vector,))[1]

    def shares(step: jax.Array) -> jax.Array:
        return jnp.exp(log_probabilities(problem, labels, init + step * direction, inputs)).ravel() / len(inputs)

    singles = -jax.jacrev(lambda params: label_losses(problem, labels, params, inputs).ravel())(init)
    base, steps = shares(jnp.zeros(())), jnp.array(SIZES) * units.teacher_step
    transfer = direction * kernel
    cost = steps[0] ** 2 * kernel * curve(kernel) + base @ (singles * jax.vmap(curve)(singles))
    tilt = transfer / jnp.sum(transfer) - cost / jnp.sum(cost)
    tilt *= TILT / jnp.max(jnp.abs(tilt))
    square = base @ singles**2
    denominators = jnp.sqrt(square) + ADDED * jnp.sqrt(jnp.mean(square))
    drawn = draw_diagonal(own_key(instance.key), init, jnp.array(CONDITION))
    one = jnp.ones_like(init)
    preconditioners = jnp.stack([one, one + tilt, one - tilt, drawn / jnp.mean(drawn), 1 / denominators])
    norm = jnp.sqrt(jnp.sum(square))
    plain_rates = jnp.array(SIZES) * units.teacher_step * jnp.linalg.norm(direction) / norm

    def change(steps: jax.Array) -> jax.Array:
        return jax.vmap(trait)(init[None] + steps) - trait(init)

    def cost_of(diagonal: jax.Array) -> tuple[jax.Array, ...]:
        bends = jax.vmap(second_derivative_along, (None, None, 0))(trait, init, singles * diagonal[None])
        return base @ bends, base @ jnp.abs(bends), second_derivative_along(trait, init, diagonal * kernel)

    def mean_change(step: jax.Array, rate: jax.Array, diagonal: jax.Array) -> jax.Array:
        return shares(step) @ change(rate * singles * diagonal[None])

    traces, sizes, climbs = jax.lax.map(cost_of, preconditioners)
    forms = preconditioners @ transfer
    best_rates = steps[0] * forms / (steps[0] ** 2 * climbs + traces)
    gains = -jax.lax.map(lambda arm: mean_change(steps[0], arm[0], arm[1]), (best_rates, preconditioners))

    def at_sizes(diagonal: jax.Array) -> tuple[jax.Array, jax.Array]:
        rates = plain_rates * norm / jnp.sqrt(square @ diagonal**2)
        return rates, jax.lax.map(lambda pair: mean_change(pair[0], pair[1], diagonal), (steps, rates))

    rates, measured = jax.lax.map(at_sizes, preconditioners[DRAWN:])

    def formula(trace: jax.Array) -> jax.Array:
        bracket = steps[None] ** 2 * climbs[DRAWN:, None] + trace
        return -rates * steps[None] * forms[DRAWN:, None] + rates**2 / 2 * bracket

    labels_seen = problem.apply(init + steps[0] * direction, inputs)
    even, even_noisy = evened(imitation_descent(problem, init, inputs, labels_seen), direction, singles, base)
    return AdaptiveGain(
        predicted=formula(traces[DRAWN:, None]),
        measured=measured,
        careless=formula(traces[PLAIN]),
        best=best_rates * steps[0] * forms / 2,
        gain=(forms > 0) * gains,
        noiseless=jnp.asarray(jnp.where((forms > 0) & (climbs > 0), forms**2 / (2 * climbs), 0.0)),
        slope=2 * tilt @ (transfer / jnp.sum(transfer) - cost / jnp.sum(cost)),
        even=even,
        even_noisy=even_noisy,
        definite=units.visible & (traces > DEFINITE * sizes) & (forms > 0),
    )


def evened(
    step: Float[Array, " params"],
    direction: Float[Array, " params"],
    singles: Float[Array, "labels params"],
    base: Float[Array, " labels"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Gain of $P = I - K/2\lambda_{max}$ over plain with a flat trait loss: on outputs, and on one label."""

    def product(vector: jax.Array) -> jax.Array:
        return (base * (singles @ vector)) @ singles

    largest, _ = largest_eigenvalue(tridiagonalize(product, direction, NUM_PRODUCTS).matrix)

    def even(vector: jax.Array) -> jax.Array:
        return vector - product(vector) / (2 * largest)

    def gain(step: jax.Array) -> jax.Array:
        return (direction @ step) ** 2 / (step @ step)

    evened = jax.vmap(even)(singles)
    overlap, square, plain = (
        base @ jnp.sum(left * right, axis=1)
        for left, right in ((singles, evened), (evened, evened), (singles, singles))
    )
    return gain(even(step)) / gain(step), overlap**2 / (square * plain)


def third_orders(predicted: str) -> Callable[[AdaptiveGain], np.ndarray]:
    """Order of what is measured minus a formula in both step sizes, drawn preconditioner and Adam's."""

    def orders(one: AdaptiveGain) -> np.ndarray:
        left = np.asarray(one.measured - getattr(one, predicted))
        return fitted_order(np.array(SIZES), left[one.definite[:, PLAIN]])

    return orders


def tilted(arm: int) -> Callable[[AdaptiveGain], np.ndarray]:
    """How much more a tilted preconditioner gains than none, over the prediction."""

    def ratio(one: AdaptiveGain) -> np.ndarray:
        seen = one.definite[:, PLAIN]
        return np.asarray((one.gain[seen, arm] / one.gain[seen, PLAIN] - 1) / one.slope[seen])

    return ratio


def evening(kind: str) -> Callable[[AdaptiveGain], np.ndarray]:
    """Gain over plain of the preconditioner that evens out the spectrum, in every instance."""
    return lambda one: np.asarray(getattr(one, kind))[one.definite[:, PLAIN]]


def against_plain(arm: int, kind: str) -> Callable[[AdaptiveGain], np.ndarray]:
    """Gain of a preconditioner over plain, in instances in which the formula decides on both."""

    def ratio(one: AdaptiveGain) -> np.ndarray:
        gains = np.asarray(getattr(one, kind))[:, [arm, PLAIN]]
        gains = gains[one.definite[:, PLAIN] & one.definite[:, arm] & np.all(gains > 0, axis=1)]
        return gains[:, 0] / gains[:, 1]

    return ratio


def more(arm: int, kind: str) -> Callable[[AdaptiveGain], np.ndarray]:
    """Whether a preconditioner gains more than plain steps."""
    return lambda one: against_plain(arm, kind)(one) > 1


def plain_gain(one: AdaptiveGain) -> np.ndarray:
    """Simulated gain of plain descent over predicted, in every instance."""
    return np.asarray(one.gain[:, PLAIN] / one.best[:, PLAIN])[one.definite[:, PLAIN]]


def drawn_gain(one: AdaptiveGain) -> np.ndarray:
    """Simulated gain with a drawn preconditioner over that predicted of plain descent."""
    return np.asarray(one.gain[:, DRAWN] / one.best[:, PLAIN])[one.definite[:, PLAIN]]


def draw(axes: "Axes", evidence: "Evidence") -> None:
    """What each preconditioner gains over plain descent, with label noise and without."""
    from theory.runs.statistics import rate_estimate
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    rows = (
        ("evens out $K$, flat $L_T$: outputs", evening("even"), BLUE, "o"),
        ("evens out $K$, flat $L_T$: labels,\nrandom teacher", evening("even_noisy"), ORANGE, "s"),
        ("Adam's: outputs", against_plain(ADAM, "noiseless"), BLUE, "o"),
        ("Adam's: one label", against_plain(ADAM, "gain"), ORANGE, "s"),
        ("drawn: outputs", against_plain(DRAWN, "noiseless"), BLUE, "o"),
        ("drawn: one label", against_plain(DRAWN, "gain"), ORANGE, "s"),
    )
    axes.axvline(1, color=BLACK, lw=0.8, zorder=0)
    for place, (_, gains, color, marker) in enumerate(rows):
        values = gains(evidence.first)
        if not len(values):
            continue
        outer, inner = np.quantile(values, (0.0, 1.0)), np.quantile(values, (0.05, 0.95))
        axes.plot(outer, [place, place], color=color, lw=1)
        axes.plot(inner, [place, place], color=color, lw=4, alpha=0.5, solid_capstyle="butt")
        axes.plot(np.median(values), place, marker, color=color, mec="white", ms=7)
        value, low, high = (100 * end for end in rate_estimate(values > 1, 0.95))
        axes.text(3.9, place, f"{value:.0f} % [{low:.0f}, {high:.0f}]", fontsize=7.5, va="center", ha="right")
    axes.text(3.9, -0.7, "more: % of seeds (95 %)", fontsize=7.5, ha="right", va="center", weight="bold")
    axes.text(0.97, -0.7, "as much as plain descent", fontsize=7.5, ha="right", va="center")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=8)
    axes.set(xscale="log", xlim=(0.35, 4), ylim=(len(rows) - 0.5, -1.1))
    axes.set_xticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    axes.minorticks_off()
    axes.set_xlabel("best fall of $L_T$ over plain descent's:\nmedian, 90 % and range of seeds, on beyond the edge")
    axes.set_ylabel("preconditioner: what is imitated")
    axes.set_title(stated("Adaptive steps are not needed: they gain more or less", evidence))


def zoo_problems(sampling: "Sampling") -> list[Problem]:
    """The reference, disjoint outputs and another trait."""
    cases = [problem for problem in zoo.neighborhood(sampling) if problem.name in CASES]
    return cases if sampling.cases == "all" else cases[:1]


CLAIM = Claim(
    number=9.2,
    name="adaptive-gain",
    statement="adaptive steps aren't needed: to first order they gain where they favor what transfers over what costs",
    measurement=AdaptiveGain,
    problems=zoo_problems,
    cases=measure_labels(measure),
    checks=(
        Check(
            says="order of E[ΔL_T] − formula in ε = α, N = 1, every label, P drawn and Adam's, worst of {cases}",
            predicted="3.00",
            of=every_case(third_orders("predicted")),
            by=worst_median(3.0),
            accepted=THIRD_ORDER,
            control="noise that costs what it costs plain steps, tr(HK)",
            broken=every_case(third_orders("careless")),
            least=LEAST_SEEDS,
        ),
        Check(
            says="best fall of L_T, plain descent, over predicted (εA)²/2Q > 0, N = 1, every instance, {cases}",
            predicted="→ 1",
            of=every_case(plain_gain),
            by=every,
            accepted=NEAR_ONE,
            control="P drawn",
            broken=every_case(drawn_gain),
        ),
        Check(
            says=f"change of the best fall over predicted, P tilted to what transfers more than it costs, τ = {TILT:g}",
            predicted="→ 1",
            of=every_case(tilted(TOWARDS)),
            by=every,
            accepted=NEAR_ONE,
            control="tilted the other way",
            broken=every_case(tilted(AWAY)),
        ),
        Check(
            says="best fall over that of plain descent, P evens out K, flat L_T, teacher's outputs, {cases}",
            predicted="> 1",
            of=every_case(evening("even")),
            by=every,
            accepted=Accepted(low=1.0, high=np.inf),
            control="label noise alone, teacher in a random direction",
            broken=every_case(evening("even_noisy")),
        ),
        *(
            Check(
                says=f"share of instances in which {name} gains more than plain descent, {kind}, {{cases}}",
                predicted="no guarantee",
                of=every_case(more(arm, field)),
                by=share(),
            )
            for name, arm in (("Adam's P", ADAM), ("P drawn", DRAWN))
            for kind, field in (("N = 1, simulated", "gain"), ("teacher's outputs, by the formula", "noiseless"))
        ),
    ),
    panels={
        "adaptive-gain": Panel(
            draw=draw,
            shows=("gain", "noiseless", "even", "even_noisy", "definite"),
            needs=lambda evidence: evidence.first.definite[:, PLAIN].any(),
        )
    },
    applies_to=APPLIES_TO,
)
