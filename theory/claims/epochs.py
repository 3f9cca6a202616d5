r"""Claim 8.2: the first step on sampled labels is the best detector of the teacher; further epochs only lose.

$N$ labels are drawn from the teacher's softmax, as many on every input, and the student takes $t$ gradient steps of
size $\eta$, each on all of them. In the eigenbasis of $K$, with $\Delta_T = \sum_i a_i v_i$ and
$s_i = 1 - (1 - \eta\lambda_i)^t$, its displacement along $\Delta_T$ has, to leading order in $\epsilon$ and
$1/\sqrt N$,

$$\text{mean } \epsilon\sum_i a_i^2 s_i, \qquad \text{variance } \frac1N\sum_i \frac{a_i^2 s_i^2}{\lambda_i}, \qquad
\mathrm{SNR}_t = \frac{\epsilon\sqrt N \sum_i a_i^2 s_i}{\sqrt{\sum_i a_i^2 s_i^2/\lambda_i}}
\le \epsilon\sqrt{NA} = \sqrt{2N\,\mathrm{KL}}.$$

One step reaches the bound, and for $\eta\lambda_{max} \le 1$ no epoch adds to it:
$\mathrm{SNR}_{t+1} \le \mathrm{SNR}_t$. Fresh labels at every step are another matter: they carry more, and more comes
through.

References:
    Derived here. The labels' gradient at the shared init, $g = \mathbb{E}_x[J^\top(\hat q - p)]$, has the mean
    $\epsilon K\Delta_T$ and the covariance $K/N$. It stays what it was while the student moves by $\delta$, but for
    $-K\delta$: $\delta_{t+1} = \delta_t + \eta(g - K\delta_t)$, so $\delta_t = \sum_i (s_i/\lambda_i)\,v_i v_i^\top g$.
    *Bound*: $\sum a^2 s = \sum (a\sqrt\lambda)(a s/\sqrt\lambda)$ and the inequality of Cauchy and Schwarz, an equality
    if $s_i \propto \lambda_i$, as it is at $t = 1$. There $\delta_1\cdot\Delta_T \propto g\cdot\Delta_T$ is the score
    of the labels along $\Delta_T$, and $A$ its Fisher information: by Neyman and Pearson no statistic does better.
    *Monotone*: let $\mathbb{E}_\mu$ be the mean under weights $a_i^2 s_i^2/\lambda_i$, $r_i = s_{i,t+1}/s_{i,t}$. Then
    $\mathrm{SNR}_{t+1}/\mathrm{SNR}_t$ is
    $\mathbb{E}_\mu[r\lambda/s] / (\mathbb{E}_\mu[\lambda/s] \sqrt{\mathbb{E}_\mu r^2})$. With
    $x = 1 - \eta\lambda \in [0, 1)$, $r = 1 + 1/(x^{-1} + \ldots + x^{-t})$ grows and
    $\eta\lambda/s = 1/(1 + \ldots + x^{t-1})$ falls in $x$: their covariance is not positive, the ratio at most
    $\mathbb{E}_\mu r/\sqrt{\mathbb{E}_\mu r^2} \le 1$. *Fresh labels*: the same mean, and the variance
    $\frac{\eta^2}{N}\sum_i a_i^2\lambda_i\sum_{j < t}(1 - \eta\lambda_i)^{2j}$.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, any_visible
from theory.labels import APPLIES_TO, log_probabilities, measure_labels, nats_a_label
from theory.predictions import natural_units, transfer_form
from theory.problem import (
    Instance,
    Params,
    Problem,
    imitation_descent,
    inner_product,
    own_key,
    trait_descent,
)
from theory.runs.checks import (
    LEAST_SEEDS,
    NEAR_ONE,
    NO_EXCESS,
    Check,
    every,
    every_case,
    mean,
    worst_mean,
)
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import TransferSpectrum, iterate, transfer_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.runs.checks import Evidence
    from theory.runs.sweeps import Sampling

TIMES = (1, 3, 10, 30, 100, 300)
"""Numbers of epochs."""

TRAINED = 4
"""After this many of those times real students are looked at."""

NUM_PRODUCTS = 56
"""Lanczos's products with the kernel: enough for 300 steps, to 1e-4."""

LABELS_AN_INPUT = 10**8
"""So many that the student's noise is small, as the leading order has it."""

SIGNAL_TO_NOISE = 4.0
r"""Of the first step, $\epsilon\sqrt{NA}$: says what $\epsilon$ is."""

SAME, FRESH, UNLEARNED = "the same labels", "fresh labels at every step", "labels of a teacher that learned nothing"
ARMS = {SAME: 3, FRESH: 1, UNLEARNED: 1}
"""Students of each instance, and how many of each; the others than the first are controls."""

CASES = ("reference", "auxiliary outputs", "convolution")
"""Cases of the zoo on which the claim is verified."""


class Epochs(NamedTuple):
    r"""Students of sampled labels in one instance: displacement along $\Delta_T$ in units of the first step's noise."""

    signal: Float[Array, " times"]
    """Predicted mean."""
    noise: Float[Array, " times"]
    """Predicted standard deviation over data sets."""
    fresh_noise: Float[Array, " times"]
    """The same if every step has labels of its own."""
    ceiling: Float[Array, ""]
    r"""$\sqrt{2N\,\mathrm{KL}}$, the divergence exact."""
    trained: Float[Array, "same trained"]
    """Displacements of real students, each of a data set of its own."""
    fresh: Float[Array, "fresh trained"]
    """The same of students that have fresh labels at every step."""
    unlearned: Float[Array, "unlearned trained"]
    """The same of students whose teacher learned nothing."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, labels: Sequence[int]) -> Epochs:
    """Predict signal and noise in the Krylov space of the kernel, then train on drawn labels."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    spectrum = transfer_spectrum(problem, instance, direction, NUM_PRODUCTS)
    return train_epochs(problem, instance, direction, spectrum, own_key(instance.key), labels=labels)


def train_epochs(
    problem: Problem,
    instance: Instance,
    direction: Params,
    spectrum: TransferSpectrum,
    key: jax.Array,
    *,
    labels: Sequence[int],
    whole: bool = False,
    arms: Mapping[str, int] = ARMS,
    trained: int = TRAINED,
) -> Epochs:
    """Train students of a teacher in any direction: a small step of it on many labels, or the whole on one an input."""
    inputs = instance.inputs
    shared = instance._replace(student=instance.teacher)
    units = natural_units(problem, instance, direction)
    curvature = transfer_form(problem, shared, direction, direction)
    rate = jnp.where(units.visible, 1 / spectrum.largest, 1.0)
    mean, variance, fresh_variance = predict(spectrum.matrix, rate)
    square = inner_product(direction, direction)
    outputs = problem.apply(instance.teacher, inputs)
    num_labels = len(outputs) * (1 if whole else LABELS_AN_INPUT)
    small = 1.0 if whole else SIGNAL_TO_NOISE / jnp.sqrt(num_labels * curvature)
    step = jnp.where(units.visible, small, 0.0)
    unit = jnp.sqrt(square * variance[0] / num_labels)

    moved = optax.tree.add_scale(instance.teacher, step, direction)
    teacher = log_probabilities(problem, labels, moved, inputs)
    base = log_probabilities(problem, labels, instance.teacher, inputs)

    def draw_labels(key: jax.Array, learned: jax.Array) -> jax.Array:
        logs = jnp.where(learned, teacher, base)
        if whole:
            counts = jax.nn.one_hot(jax.random.categorical(key, logs), logs.shape[-1], dtype=logs.dtype)
        else:
            counts = jax.random.multinomial(key, jnp.array(float(LABELS_AN_INPUT)), jnp.exp(logs))
        return outputs.at[:, jnp.array(labels)].set(jnp.log(counts))

    def train(key: jax.Array, fresh: jax.Array, learned: jax.Array) -> jax.Array:
        def take_step(state: tuple[Params, jax.Array, jax.Array]) -> tuple[Params, jax.Array, jax.Array]:
            student, following, drawn = state
            student = optax.tree.add_scale(student, rate, imitation_descent(problem, student, inputs, drawn))
            this, following = jax.random.split(following)
            drawn = jax.lax.cond(fresh, lambda: draw_labels(this, learned), lambda: drawn)
            return student, following, drawn

        first, following = jax.random.split(key)
        start = (instance.student, following, draw_labels(first, learned))
        students, *_ = iterate(take_step, start, TIMES[:trained])
        displaced = jax.tree.map(lambda after, before: after - before[None], students, instance.student)
        return jax.vmap(inner_product, (0, None))(displaced, direction)

    names = np.repeat(list(arms), list(arms.values()))
    flags = (jnp.array(names == FRESH), jnp.array(names != UNLEARNED))
    displaced = jax.lax.map(lambda arm: train(*arm), (jax.random.split(key, len(names)), *flags)) / unit
    return Epochs(
        signal=step * square * mean / unit,
        noise=jnp.sqrt(variance / variance[0]),
        fresh_noise=jnp.sqrt(fresh_variance / variance[0]),
        ceiling=jnp.sqrt(2 * num_labels * nats_a_label(base, teacher)),
        trained=displaced[names == SAME],
        fresh=displaced[names == FRESH],
        unlearned=displaced[names == UNLEARNED],
        visible=units.visible,
    )


def predict(
    matrix: Float[Array, "products products"], rate: Float[Array, ""], times: Sequence[int] = TIMES
) -> Float[Array, "moments times"]:
    r"""Mean and variances in units of $\epsilon\|\Delta_T\|^2$ and $\|\Delta_T\|^2/N$: the same labels, fresh labels.

    The student reads its data set along $z_t = (s(K)/K)\Delta_T$: $z_{t+1} = z_t + \eta(\Delta_T - K z_t)$, with the
    mean $\Delta_T^\top K z_t$ and the variance $z_t^\top K z_t$.
    """
    start = jnp.eye(len(matrix))[0]

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        read, noise = state
        rest = start - matrix @ read
        return read + rate * rest, noise + rate**2 * rest @ matrix @ rest

    read, fresh = iterate(step, (jnp.zeros_like(start), jnp.zeros(())), times)
    return jnp.stack([read @ matrix[0], jnp.sum(read * (read @ matrix), axis=-1), fresh])


def excess(power: int, arm: str = "trained", *, pooled: bool = False) -> Callable[[Epochs], np.ndarray]:
    """A power of what the prediction leaves, in predicted deviations, averaged over data sets or `pooled` with them."""

    def scores(one: Epochs) -> np.ndarray:
        left = getattr(one, arm) - one.signal[:, None, :TRAINED]
        powers = ((left / one.noise[:, None, :TRAINED]) ** power)[one.visible]
        return powers.reshape(-1, powers.shape[-1]) if pooled else np.mean(powers, axis=1)

    return scores


def gain(arm: str, noise: str) -> Callable[[Epochs], np.ndarray]:
    """What the last epoch has more than the first, in standard deviations, averaged over data sets."""

    def deviations(one: Epochs) -> np.ndarray:
        read = getattr(one, arm) / getattr(one, noise)[:, None, :TRAINED]
        return np.mean(read[..., -1] - read[..., 0], axis=1)[one.visible]

    return deviations


def decline(noise: str) -> Callable[[Epochs], np.ndarray]:
    """Signal-to-noise over that at the time before, at every later time."""

    def ratios(one: Epochs) -> np.ndarray:
        ratio = (one.signal / getattr(one, noise))[one.visible]
        return ratio[:, 1:] / ratio[:, :-1]

    return ratios


def reached(index: int) -> Callable[[Epochs], np.ndarray]:
    """Signal-to-noise over its ceiling."""
    return lambda one: np.asarray(one.signal[:, index] / one.noise[:, index] / one.ceiling)[one.visible]


def draw(axes: "Axes", evidence: "Evidence") -> None:
    """Signal-to-noise over the number of epochs: it falls on the same labels and grows on fresh ones."""
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    one = evidence.first
    looks = (("trained", "noise", SAME, BLUE, "o", "-"), ("fresh", "fresh_noise", FRESH, ORANGE, "s", "--"))
    for arm, kind, label, color, marker, line in looks:
        trained, signal, noise = (getattr(one, field)[one.visible] for field in (arm, "signal", kind))
        left = (trained - signal[:, None, :TRAINED]) / noise[:, None, :TRAINED]
        read = np.mean(trained.mean(axis=1) / noise[:, :TRAINED], axis=0)
        axes.plot(TIMES, np.mean(signal / noise, axis=0), line, color=BLACK, label=f"predicted, {label}", zorder=1)
        measured = read / np.sqrt(np.mean(left**2, axis=(0, 1)))
        reach = 1.96 * measured / np.sqrt(2 * left[..., 0].size)
        look = {"fmt": marker, "color": color, "capsize": 2, "label": f"trained, {label} (95 %)"}
        axes.errorbar(TIMES[:TRAINED], measured, yerr=reach, **look)
    ceiling = one.ceiling[one.visible].mean()
    axes.axhline(ceiling, color=BLACK, lw=0.9, ls=":", label=r"all that $N$ labels carry, $\sqrt{2N\,\mathrm{KL}}$")
    axes.set(xscale="log", xlabel="gradient steps $t$, each on all $N$ labels", ylim=(0, 14))
    axes.set_ylabel(r"$\Delta_T\cdot(\theta_S - \theta^0)$: mean / standard deviation")
    axes.set_title(stated("Epochs on the same labels lose: the first step detects best", evidence))
    axes.legend(loc="upper left")


def zoo_problems(sampling: "Sampling") -> list[Problem]:
    """The reference, disjoint outputs and another network."""
    cases = [problem for problem in zoo.neighborhood(sampling) if problem.name in CASES]
    return cases if sampling.cases == "all" else cases[:1]


AFTER, LAST = f"t = {', '.join(map(str, TIMES[:TRAINED]))}", TIMES[TRAINED - 1]
SHOWN = ("signal", "noise", "fresh_noise", "ceiling", "trained", "fresh", "visible")
UNIT_VARIANCE = Accepted(low=1.0, high=1.0, rule="covers")


def moments(*, pooled: bool = False) -> tuple[Check, ...]:
    """Check the mean and the mean square of what the prediction leaves; few instances are `pooled` with data sets."""
    return (
        Check(
            says=f"mean of (Δ_T·(θ_S − θ⁰) − εΣa²s) / σ_t of trained students, {AFTER}, worst, {{cases}}",
            predicted="0",
            of=every_case(excess(1, pooled=pooled)),
            by=worst_mean(NO_EXCESS),
            accepted=NO_EXCESS,
            control=UNLEARNED,
            broken=every_case(excess(1, "unlearned", pooled=pooled)),
            least=LEAST_SEEDS,
        ),
        Check(
            says="mean square of the same, σ_t² = Σa²s²/λN, {cases}",
            predicted="1",
            of=every_case(excess(2, pooled=pooled)),
            by=worst_mean(UNIT_VARIANCE),
            accepted=UNIT_VARIANCE,
            control=FRESH,
            broken=every_case(excess(2, "fresh", pooled=pooled)),
            least=LEAST_SEEDS,
        ),
    )


CLAIM = Claim(
    number=8.2,
    name="epochs",
    statement="on N sampled labels one step is the best detector: epochs only lose, SNR_t ≤ ε√(NA) = √(2N·KL)",
    measurement=Epochs,
    problems=zoo_problems,
    cases=measure_labels(measure),
    checks=(
        *moments(),
        Check(
            says=f"standard deviations after {LAST} epochs less those after 1, trained students, mean of {{cases}}",
            predicted="< 0",
            of=every_case(gain("trained", "noise")),
            by=mean(),
            accepted=Accepted(low=-np.inf, high=0.0),
            control=FRESH,
            broken=every_case(gain("fresh", "fresh_noise")),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"predicted SNR_t over that before, every t = {', '.join(map(str, TIMES[1:]))}, {{cases}}",
            predicted="≤ 1",
            of=every_case(decline("noise")),
            by=every,
            accepted=Accepted(low=0.0, high=1.0),
            control=FRESH,
            broken=every_case(decline("fresh_noise")),
        ),
        Check(
            says="SNR₁ / √(2N·KL), the divergence exact: one step reaches the bound, {cases}",
            predicted="1",
            of=every_case(reached(0)),
            by=every,
            accepted=NEAR_ONE,
            control=f"{TIMES[-1]} steps",
            broken=every_case(reached(-1)),
        ),
    ),
    panels={"epochs": Panel(draw=draw, shows=SHOWN, needs=any_visible)},
    applies_to=APPLIES_TO,
)
