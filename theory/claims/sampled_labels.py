r"""Claim 8: sampled labels carry the teacher's step too, under a noise that $N$ labels average away.

The student sees no outputs but $N$ labels, each of a random input $x$ and drawn as
$k \sim \mathrm{softmax}(y^\epsilon)$, as tokens are. One label's step $J^\top(e_k - p)$ has an inner product with
$\Delta_T$ of

$$\text{mean } \epsilon A + \tfrac12\epsilon^2 (S + B) + O(\epsilon^3), \qquad
\text{variance } A + \epsilon S + O(\epsilon^2),$$

where $S = \mathbb{E}_x\sum_k p_k c_k^3$, $B = \mathbb{E}_x\sum_k p_k c_k w_k$, $u = J\Delta_T$, $c = u - p\cdot u$ and
$w = \partial_\epsilon^2 y^\epsilon$. The step on $N$ labels has

$$\text{signal-to-noise } \epsilon\sqrt{AN} = \sqrt{2N\,\mathrm{KL}}, \qquad
\mathrm{KL} = \tfrac12\epsilon^2 A + O(\epsilon^3) \text{ nats a label between teacher and base:}$$

a data set transmits at $k$ standard deviations once it carries $k^2/2$ nats in all. The next term tells the direction
of the divergence: it is $\epsilon^3(\tfrac13 S + \tfrac12 B)$, and of the base from the teacher
$\epsilon^3(\tfrac16 S + \tfrac12 B)$.

References:
    Derived here. The teacher's probabilities $q$ start as $\partial_\epsilon q = p\,c$ and
    $\partial^2_\epsilon q = p\,(c^2 + w - p\cdot(c^2 + w))$. Hence $\mathbb{E}_q c$ starts as
    $\epsilon\,\mathrm{Var}_p u$, whose mean over inputs is $A$ since $M = \mathrm{diag}(p) - pp^\top$; and
    $\mathbb{E}_q c^2$ as $\mathrm{Var}_p u + \epsilon\sum p c^3$. The means of different inputs differ by
    $O(\epsilon)$, which adds $O(\epsilon^2)$ to the variance. KL is the Fisher metric $\mathrm{Var}_p u$ times
    $\epsilon^2/2$. To third order: under $q$ the mean of $\log q/p$ has the derivative
    $\mathrm{Cov}_q(u + \epsilon w, v) = \epsilon A + \epsilon^2 S + \tfrac32\epsilon^2 B$ in $\epsilon$, with
    $v = \epsilon u + \tfrac12\epsilon^2 w$; under $p$ that of $\log p/q$ is $\log\mathbb{E}_p e^v - \mathbb{E}_p v$, to
    third order $\epsilon^3(S/6 + B/2)$.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from theory.claim import Claim, steps
from theory.claims._label_pictures import PANELS
from theory.data_sets import (
    LABEL_STEPS,
    MANY_LABELS,
    SMALL_STEP,
    DataSets,
    Judge,
    LabelSource,
    SampledLabels,
    cells,
    draw_data_sets,
    mean_excess,
    share_excess,
    signal_to_noise_excess,
    variance_ratio,
    worst,
)
from theory.labels import APPLIES_TO, label_alignments, log_probabilities, measure_labels, nats_a_label, softmax_spread
from theory.losses import Scalar
from theory.predictions import natural_units, output_change, transfer_form
from theory.problem import Instance, Params, Problem, own_key, trait_descent
from theory.runs.checks import (
    LEAST_SEEDS,
    NO_EXCESS,
    ROUNDING,
    THIRD_ORDER,
    Check,
    Comparison,
    Evidence,
    curved,
    every_case,
    first_case,
    hidden_by_rounding,
    mean,
    order,
    second_order,
)
from theory.runs.verdicts import Accepted

NO_FACTOR = Accepted(low=1.0, high=1.0, rule="covers")
"""Nothing is left of a ratio to the prediction but chance."""


def measure(
    problem: Problem, instance: Instance, *, labels: Sequence[int], teacher_steps: Sequence[float | Scalar]
) -> tuple[SampledLabels, LabelSource]:
    """Predict the moments of a label's step in closed form, and compute every single label's."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps, label_steps = (jnp.array(sizes) * units.teacher_step for sizes in (teacher_steps, LABEL_STEPS))
    curvature = transfer_form(problem, instance, direction, direction)

    def change(params: Params) -> Float[Array, "batch labels"]:
        return output_change(problem, params, instance.inputs, direction).change[:, jnp.array(labels)]

    first, second = jax.jvp(change, (instance.teacher,), (direction,))
    student = log_probabilities(problem, labels, instance.student, instance.inputs)
    base = jnp.exp(student)
    centered = first - jnp.sum(base * first, axis=-1, keepdims=True)
    skewness, fourth, bend = (
        jnp.mean(jnp.sum(base * term, axis=-1)) for term in (centered**3, centered**4, centered * second)
    )
    alignments = label_alignments(problem, labels, instance.student, instance.inputs, direction)

    def at_step(step: Scalar) -> tuple[Float[Array, "batch labels"], Scalar, Scalar, Scalar]:
        params = optax.tree.add_scale(instance.teacher, step, direction)
        teacher = log_probabilities(problem, labels, params, instance.inputs)
        mean, square = (jnp.mean(jnp.sum(jnp.exp(teacher) * alignments**power, axis=-1)) for power in (1, 2))
        return teacher, mean, square - mean**2, nats_a_label(student, teacher)

    _, mean, variance, information = jax.vmap(at_step)(steps)
    teachers, _, _, label_information = jax.vmap(at_step)(label_steps)
    favorites = jnp.take_along_axis(alignments, jnp.argmax(base, axis=-1)[:, None], axis=-1)
    sampled = SampledLabels(
        curvature=curvature,
        mean_drift=(skewness + bend) / 2,
        variance_drift=skewness,
        kurtosis=fourth / curvature**2 - 3,
        steps=steps,
        mean=mean,
        variance=variance,
        hard_variance=jnp.var(favorites),
        information=information,
        hard_information=-jnp.mean(jnp.max(student, axis=-1)),
        label_steps=label_steps,
        label_information=label_information,
        visible=units.visible,
    )
    return sampled, LabelSource(teachers, alignments, jax.random.bits(own_key(instance.key), (2,)))


def keep(measured: tuple[SampledLabels, LabelSource]) -> SampledLabels:
    """Draw the data sets, and keep the moments and signs of the student's steps on those of one kind."""
    sampled, source = measured
    alignment, hard_alignment = draw_data_sets(source)
    spread, hard_spread = (np.var(drawn, axis=-1, ddof=1) for drawn in (alignment, hard_alignment))
    positive = np.sum(alignment > 0, axis=-1, dtype=np.int8)
    return sampled._replace(average=alignment.mean(axis=-1), spread=spread, positive=positive, hard_spread=hard_spread)


def variances(one: SampledLabels) -> Comparison:
    r"""Variance of one label beside $A + \epsilon S$."""
    leading = one.curvature[:, None] + one.steps * one.variance_drift[:, None]
    return Comparison(*map(np.asarray, (leading, one.variance, one.visible)))


def nats(one: SampledLabels) -> Comparison:
    r"""$\mathrm{KL}/\epsilon$ beside $\epsilon A/2$."""
    leading = one.steps * one.curvature[:, None] / 2
    return Comparison(*map(np.asarray, (leading, one.information / one.steps, one.visible)))


def expanded_nats(one: SampledLabels, skew: float = 1 / 3) -> Comparison:
    r"""The same beside $\epsilon A/2 + \epsilon^2(\text{skew}\,S + B/2)$, above the rounding of it."""
    compared = nats(one)
    bend = np.asarray(one.mean_drift + (skew - 0.5) * one.variance_drift)[:, None]
    rounding = ROUNDING * np.finfo(float).eps * np.sqrt(np.abs(np.asarray(one.curvature)))
    return compared._replace(leading=compared.leading + np.asarray(one.steps) ** 2 * bend, rounding=rounding)


def reversed_nats(one: SampledLabels) -> Comparison:
    """The same beside what it would be of the base model from the teacher."""
    return expanded_nats(one, 1 / 6)


def hard_variances(one: SampledLabels) -> Comparison:
    """The same if each input has its most likely label."""
    compared = variances(one)
    return compared._replace(measured=np.broadcast_to(one.hard_variance[:, None], compared.leading.shape))


def hard_nats(one: SampledLabels) -> Comparison:
    """The same if the teacher were certain of that label."""
    return nats(one)._replace(measured=np.asarray(one.hard_information[:, None] / one.steps))


def from_base(one: SampledLabels) -> SampledLabels:
    """The data sets of a teacher that learned nothing, in place of the teacher's."""
    average, positive = (np.broadcast_to(drawn[:, :1], drawn.shape) for drawn in (one.average, one.positive))
    return one._replace(average=average, positive=positive)


def copied(one: SampledLabels) -> SampledLabels:
    """Data sets of one label, as many times as there should be labels."""
    average, spread = (np.broadcast_to(drawn[:, :, :1], drawn.shape) for drawn in (one.average, one.spread))
    return one._replace(average=average, spread=spread)


def hard(one: SampledLabels) -> SampledLabels:
    """Data sets of the most likely labels."""
    return one._replace(spread=one.hard_spread)


def check_drawn(
    says: str,
    judge: Judge,
    control: str,
    broken: Callable[[SampledLabels], SampledLabels],
    accepted: Accepted = NO_EXCESS,
    least: int = 1,
) -> Check:
    """Judge every kind of data set, of at least so many labels."""

    def data_sets(one: SampledLabels) -> DataSets:
        return DataSets(cells(one, least), int(one.visible.sum()))

    return Check(
        says=says,
        predicted=f"{accepted.low:g}",
        of=every_case(data_sets),
        by=worst(judge, accepted),
        accepted=accepted,
        control=control,
        broken=first_case(lambda one: data_sets(broken(one))),
        least=LEAST_SEEDS,
    )


def checks(evidence: Evidence) -> list[Check]:
    """The moments of one label, those of the data sets drawn, and the drift of the variance, which is reported."""
    kinds = f"N = 1 to 10⁵, ε ≤ {SMALL_STEP:g}, worst of {{cases}}"

    def drift(index: int, step: float) -> Check:
        return Check(
            says=f"exact variance / A of one label at ε = {step:.2g}, mean of {next(iter(evidence.proper))}",
            predicted="1 + εS/A + O(ε²)",
            of=first_case(lambda one: one.variance[one.visible, index] / one.curvature[one.visible]),
            by=mean(confidence=0.95),
        )

    drifts = [drift(index, step) for index, step in enumerate(evidence.settings.teacher_steps) if step >= SMALL_STEP]
    hardly, base = "most likely labels", "base teacher's labels"
    return [
        *second_order(
            "variance − A − εS of one label",
            of=every_case(variances),
            control=hardly,
            broken=first_case(hard_variances),
        ),
        *second_order("KL/ε − εA/2", of=every_case(nats), control=hardly, broken=first_case(hard_nats)),
        Check(
            says="order of KL/ε − εA/2 − ε²(S/3 + B/2), worst of {cases}",
            predicted="3.00",
            of=every_case(expanded_nats),
            by=order(3.0),
            among=curved,
            accepted=THIRD_ORDER,
            control="KL of the base from the teacher, S/6",
            broken=first_case(reversed_nats),
            optional=True,
        ),
        hidden_by_rounding("order of KL/ε − εA/2 − ε²(S/3 + B/2), {cases}", "3.00", every_case(expanded_nats)),
        check_drawn(f"mean − εA (and its drift), in σ: {kinds}", mean_excess, base, from_base),
        check_drawn(f"variance / (A/N) (and its drift): {kinds}", variance_ratio, hardly, hard, NO_FACTOR),
        check_drawn(f"signal-to-noise − ε√(AN): {kinds}", signal_to_noise_excess, "one label, N times", copied),
        check_drawn("share of Δ_S·Δ_T > 0 − Φ(√(2N·KL)): N ≥ 10⁴", share_excess, base, from_base, least=MANY_LABELS),
        *drifts[::2],
    ]


CLAIM = Claim(
    number=8,
    name="sampled-labels",
    statement="N sampled labels transmit at ε√(AN) = √(2N·KL) standard deviations: k²/2 nats in all for k",
    measurement=SampledLabels,
    problems=softmax_spread,
    cases=measure_labels(measure, steps),
    keep=keep,
    checks=checks,
    panels=PANELS,
    applies_to=APPLIES_TO,
)
