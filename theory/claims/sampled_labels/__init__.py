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

a data set transmits at $k$ standard deviations once it carries $k^2/2$ nats in all.

References:
    Derived here. The teacher's probabilities $q$ start as $\partial_\epsilon q = p\,c$ and
    $\partial^2_\epsilon q = p\,(c^2 + w - p\cdot(c^2 + w))$. Hence $\mathbb{E}_q c$ starts as
    $\epsilon\,\mathrm{Var}_p u$, whose mean over inputs is $A$ since $M = \mathrm{diag}(p) - pp^\top$; and
    $\mathbb{E}_q c^2$ as $\mathrm{Var}_p u + \epsilon\sum p c^3$. The means of different inputs differ by
    $O(\epsilon)$, which adds $O(\epsilon^2)$ to the variance. KL is the Fisher metric $\mathrm{Var}_p u$ times
    $\epsilon^2/2$.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory.claims.evidence import (
    LEAST_SEEDS,
    SECOND_ORDER,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    worst_order,
)
from theory.claims.sampled_labels.data_sets import LABEL_STEPS, LabelSource, SampledLabels, draw_data_sets
from theory.claims.sampled_labels.signal_to_noise import (
    MANY_LABELS,
    NO_EXCESS,
    NO_FACTOR,
    SMALL_STEP,
    Judge,
    cells,
    mean_excess,
    share_excess,
    signal_to_noise_excess,
    variance_ratio,
    worst,
)
from theory.labels import label_alignments, log_probabilities, no_labels, softmax_spread, sweep_labels
from theory.problem import Params
from theory.predictions import natural_units, output_change, transfer_form
from theory.problem import Problem, draw_instance, trait_descent
from theory.runs.statistics import mean_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


def measure(
    problem: Problem,
    key: jax.Array,
    *,
    labels: Sequence[int],
    teacher_steps: Sequence[float],
) -> tuple[SampledLabels, LabelSource]:
    """Predict the moments of a label's step in closed form, and compute every single label's.

    Args:
        problem: A problem whose student imitates a softmax.
        key: Random key of the instance.
        labels: The outputs that it imitates.
        teacher_steps: The teacher's step sizes, in natural units.

    Returns:
        The measurements, and all that it takes to draw data sets.
    """
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    units = natural_units(problem, instance, direction)
    steps, label_steps = (jnp.array(sizes) * units.teacher_step for sizes in (teacher_steps, LABEL_STEPS))
    curvature = transfer_form(problem, instance, direction, direction)

    def change(params: Params) -> jax.Array:
        return output_change(problem, params, instance.inputs, direction).change[:, jnp.array(labels)]

    first, second = jax.jvp(change, (instance.teacher,), (direction,))
    student = log_probabilities(problem, labels, instance.student, instance.inputs)
    base = jnp.exp(student)
    centered = first - jnp.sum(base * first, axis=-1, keepdims=True)
    skewness, fourth, bend = (
        jnp.mean(jnp.sum(base * term, axis=-1)) for term in (centered**3, centered**4, centered * second)
    )
    alignments = label_alignments(problem, labels, instance.student, instance.inputs, direction)

    def at_step(step: jax.Array) -> tuple[jax.Array, ...]:
        params = optax.tree.add_scale(instance.teacher, step, direction)
        teacher = log_probabilities(problem, labels, params, instance.inputs)
        mean, square = (jnp.mean(jnp.sum(jnp.exp(teacher) * alignments**power, axis=-1)) for power in (1, 2))
        ratio = teacher - student
        nats = jnp.mean(jnp.sum(base * (ratio * jnp.exp(ratio) - jnp.expm1(ratio)), axis=-1))
        return teacher, mean, square - mean**2, nats

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
    return sampled, LabelSource(teachers, alignments, jax.random.bits(jax.random.fold_in(key, 0), (2,)))


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the moments of one label, and of the data sets drawn, wherever the student imitates a softmax.

    Args:
        problems: The cases; the first with a softmax also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report; `reported` where no problem has labels to sample.
    """
    sources = sweep_labels(problems, measure, sampling, NAME)
    results = {case: draw_data_sets(*source) for case, source in sources.items()}
    return Report(judge(results, sampling) if results else [no_labels(NAME)], results)


def judge(results: Mapping[str, Any], sampling: Sampling) -> list[Verdict]:
    """Hold measurements against the predictions.

    Args:
        results: Measurements of each case; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The verdicts.
    """
    cases = list(results.values())
    first = cases[0]
    base = first._replace(alignment=np.broadcast_to(first.alignment[:, :1], first.alignment.shape))
    copied = first._replace(alignment=np.broadcast_to(first.alignment[:, :, :1], first.alignment.shape))
    hard = first._replace(alignment=first.hard_alignment)
    kinds = f"N = 1 to 10⁵, ε ≤ {SMALL_STEP:g}, worst of {count(cases)}"

    def order(check: str, compared: list[Comparison], hard: np.ndarray) -> Verdict:
        fitted = curved(compared)
        broken = compared[0]._replace(measured=np.broadcast_to(hard, compared[0].measured.shape))
        return Verdict(
            claim=NAME,
            check=f"order of {check}, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="most likely labels",
            control_measured=worst_order([broken], sampling),
            instances=num_visible(fitted),
        )

    def drawn(check: str, judge_cell: Judge, accepted: Accepted, control: str, broken: SampledLabels) -> Verdict:
        least = MANY_LABELS if judge_cell is share_excess else 1
        return Verdict(
            claim=NAME,
            check=check,
            predicted=f"{accepted.low:g}",
            measured=worst(judge_cell, [cells(case, least) for case in cases], accepted),
            accepted=accepted,
            control=control,
            control_measured=worst(judge_cell, [cells(broken, least)], accepted),
            instances=sum(int(case.visible.sum()) for case in cases),
            least_instances=LEAST_SEEDS,
        )

    variances = [
        Comparison(case.curvature[:, None] + case.steps * case.variance_drift[:, None], case.variance, case.visible)
        for case in cases
    ]
    nats = [
        Comparison(case.steps * case.curvature[:, None] / 2, case.information / case.steps, case.visible)
        for case in cases
    ]
    drift = [
        Verdict(
            claim=NAME,
            check=f"exact variance / A of one label at ε = {step:.2g}, mean of {next(iter(results))}",
            predicted="1 + εS/A + O(ε²)",
            measured=mean_estimate(first.variance[first.visible, index] / first.curvature[first.visible]),
            instances=int(first.visible.sum()),
        )
        for index, step in enumerate(sampling.teacher_steps)
        if step >= SMALL_STEP
    ]
    return [
        order("variance − A − εS of one label", variances, first.hard_variance[:, None]),
        order("KL/ε − εA/2", nats, first.hard_information[:, None] / first.steps),
        drawn(f"mean − εA (and its drift), in σ: {kinds}", mean_excess, NO_EXCESS, "base teacher's labels", base),
        drawn(f"variance / (A/N) (and its drift): {kinds}", variance_ratio, NO_FACTOR, "most likely labels", hard),
        drawn(f"signal-to-noise − ε√(AN): {kinds}", signal_to_noise_excess, NO_EXCESS, "one label, N times", copied),
        drawn("share of Δ_S·Δ_T > 0 − Φ(√(2N·KL)): N ≥ 10⁴", share_excess, NO_EXCESS, "base teacher's labels", base),
        *drift[::2],
    ]


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim wherever the zoo imitates a softmax.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify(softmax_spread(sampling), sampling)


NAME = "sampled-labels"
CLAIM = Claim(
    name=NAME,
    statement="N sampled labels transmit at ε√(AN) = √(2N·KL) standard deviations: k²/2 nats in all for k",
    verify=verify,
    verify_zoo=verify_zoo,
)
