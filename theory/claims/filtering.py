r"""Claim 11: a filter adds a bias that knows nothing of the teacher's step, and lets the step itself through.

A label $k$ of an input $x$ is kept with probability $h(x, k)$: a keyword filter, a judge, a rejection of inputs. With
$q$ the joint distribution of what is kept of the base model's labels, $u = J\Delta_T$ and $c_k = u_k - p\cdot u$,

$$\Delta_S(\epsilon)\cdot\Delta_T = \mathbb{E}_q[c] + \epsilon\,\mathrm{Var}_q(c) + O(\epsilon^2).$$

The bias is the same for a control whose teacher learned nothing, under the same filter, and 0 for a filter of inputs
alone. What the teacher learned adds a slope that is never negative: no filter that sees only inputs and labels stops
it, short of leaving one label for all. Sampling at temperature $\tau$ has bias $\mathbb{E}_x[(p_\tau - p)\cdot u]$ and
slope $\mathbb{E}_x[\mathrm{Var}_{p_\tau}u]/\tau$.

References:
    Derived here. The step on labels of joint distribution $q$ has the inner product $\mathbb{E}_q c$. The teacher's
    step tilts what is kept: $q \propto h\,p^\epsilon$ and $\partial_\epsilon \log p^\epsilon = c$, so that
    $\partial_\epsilon \log q = c - \mathbb{E}_q c$ and $\partial_\epsilon\mathbb{E}_q c = \mathrm{Var}_q c$. At
    temperature $\tau$, $\partial_\epsilon \log p_\tau = (u - p_\tau\cdot u)/\tau$ on each input.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.claims.evidence import (
    NEAR_ONE,
    SECOND_ORDER,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    smallest_step_ratios,
    worst_order,
)
from theory.labels import label_alignments, log_probabilities, no_labels, softmax_spread, sweep_labels
from theory.predictions import natural_units, output_change
from theory.problem import Problem, draw_instance, trait_descent
from theory.runs.statistics import rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict

TEMPERATURES = (0.5, 2.0)
"""Temperatures of the sampling."""

SELECTIONS = ("random judge", "label dropped", "inputs dropped", *(f"temperature {tau:g}" for tau in TEMPERATURES))
"""What stands between the teacher's labels and the student."""

INFORMED = -2.0
r"""The power of $p^\epsilon/p$ with which the control's filter keeps labels: it looks at what the teacher learned."""


class Filtering(NamedTuple):
    """Predicted and measured alignment under each selection of one instance, axis `selections` as in `SELECTIONS`."""

    bias: jax.Array
    r"""$\mathbb{E}_q[c]$, shape `(selections,)`."""
    slope: jax.Array
    r"""$\mathrm{Var}_q(c)$, at a temperature $\mathbb{E}_x[\mathrm{Var}_{p_\tau}u]/\tau$, shape `(selections,)`."""
    steps: jax.Array
    r"""$\epsilon$: the natural step sizes times this instance's unit, shape `(teacher_steps,)`."""
    measured: jax.Array
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$, shape `(selections, teacher_steps)`."""
    idle: jax.Array
    r"""The same for the control, whose teacher has $\epsilon = 0$, shape `(selections,)`."""
    informed: jax.Array
    """As measured under the random judge, if it knows what the teacher learned, shape `(teacher_steps,)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""


def draw_filters(key: jax.Array, base: jax.Array) -> jax.Array:
    """Draw a filter of each kind, from inputs and labels alone.

    Args:
        key: Random key of the judge.
        base: The base model's log-probabilities, shape `(batch, labels)`.

    Returns:
        Log-probabilities of keeping each label: random ones, none for the first label, and all or none for inputs of
        which the base model is less or more certain than of most; shape `(filters, batch, labels)`.
    """
    judge = jnp.log(jax.random.uniform(key, base.shape, minval=0.01))
    keyword = jnp.zeros_like(base).at[:, 0].set(-jnp.inf)
    certainty = jnp.max(base, axis=-1, keepdims=True)
    uncertain = jnp.where(certainty <= jnp.median(certainty), 0.0, -jnp.inf) + jnp.zeros_like(base)
    return jnp.stack([judge, keyword, uncertain])


def select(filters: jax.Array, labels: jax.Array) -> jax.Array:
    """Select labels by filters, and by temperatures.

    Args:
        filters: Log-probabilities of keeping each label, shape `(filters, batch, labels)`.
        labels: The teacher's log-probabilities, shape `(batch, labels)`.

    Returns:
        Share of each input and label in what is kept, shape `(filters + temperatures, batch, labels)`.
    """
    kept = jax.nn.softmax(filters + labels[None], axis=(-2, -1))
    tempered = [jax.nn.softmax(labels / tau) / len(labels) for tau in TEMPERATURES]
    return jnp.concatenate([kept, jnp.stack(tempered)])


def measure(problem: Problem, key: jax.Array, *, labels: Sequence[int], teacher_steps: Sequence[float]) -> Filtering:
    """Predict bias and slope in closed form, then simulate both steps, of the student and of its control.

    The student's step on what is kept is the mean of its steps on single labels, so that these are simulated once.

    Args:
        problem: A problem whose student imitates a softmax.
        key: Random key of the instance.
        labels: The outputs that it imitates.
        teacher_steps: The teacher's step sizes, in natural units.

    Returns:
        Predictions and measurements.
    """
    instance = draw_instance(problem, key)
    direction = trait_descent(problem, instance.teacher, instance.trait_key)
    base = log_probabilities(problem, labels, instance.teacher, instance.inputs)
    filters = draw_filters(jax.random.fold_in(key, 0), base)
    change = output_change(problem, instance.teacher, instance.inputs, direction).change[:, jnp.array(labels)]
    centered = (change - jnp.sum(jnp.exp(base) * change, axis=-1, keepdims=True))[None]
    shares = select(filters, base)
    bias, square = (jnp.sum(shares * centered**power, axis=(-2, -1)) for power in (1, 2))
    means = jnp.sum(shares * centered, axis=-1) * len(base)
    within = (square - jnp.mean(means**2, axis=-1))[len(filters) :] / jnp.array(TEMPERATURES)

    single = label_alignments(problem, labels, instance.student, instance.inputs, direction)

    def at_step(step: jax.Array) -> jax.Array:
        teacher = optax.tree.add_scale(instance.teacher, step, direction)
        learned = log_probabilities(problem, labels, teacher, instance.inputs)
        informed = select(filters + INFORMED * (learned - base)[None], learned)[:1]
        return jnp.tensordot(jnp.concatenate([select(filters, learned), informed]), single)

    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    simulated = jax.vmap(at_step)(steps).T
    return Filtering(
        bias=bias,
        slope=jnp.concatenate([(square - bias**2)[: len(filters)], within]),
        steps=steps,
        measured=simulated[:-1],
        idle=at_step(jnp.zeros(()))[:-1],
        informed=simulated[-1],
        visible=units.visible,
    )


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check order and sign of what the teacher's step adds under every selection, and report the raw sign.

    Args:
        problems: The cases; the first with a softmax also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The report; `reported` where no problem has labels to select.
    """
    results = sweep_labels(problems, measure, sampling, NAME)
    return Report(judge(results, sampling) if results else [no_labels(NAME)], results)


def judge(results: Mapping[str, Any], sampling: Sampling) -> list[Verdict]:
    """Hold measurements against the predictions.

    Args:
        results: Measurements of each case; the first also serves for the controls.
        sampling: Instances and step sizes.

    Returns:
        The verdicts.
    """
    first = next(iter(results.values()))
    added = {case: result.slope[..., None] * result.steps[:, None] for case, result in results.items()}
    whole = [
        Comparison(result.bias[..., None] + added[case], result.measured, result.visible)
        for case, result in results.items()
    ]
    subtracted = [
        Comparison(added[case], result.measured - result.idle[..., None], result.visible)
        for case, result in results.items()
    ]
    fitted = curved(whole)
    order = Verdict(
        claim=NAME,
        check=f"order of Δ_S·Δ_T − E_q[c] − εVar_q(c), worst of {count(fitted)} × {len(SELECTIONS)} selections",
        predicted="2.00",
        measured=worst_order(fitted, sampling),
        accepted=SECOND_ORDER,
        control="filter that knows what the teacher learned",
        control_measured=worst_order([Comparison(whole[0].leading[:, 0], first.informed, first.visible)], sampling),
        instances=num_visible(fitted),
    )
    sign = Verdict(
        claim=NAME,
        check=f"(Δ_S·Δ_T − control's) / εVar_q(c) at the smallest ε, every instance, {count(whole)}",
        predicted="→ 1",
        measured=smallest_step_ratios(subtracted),
        accepted=NEAR_ONE,
        control="filter not applied to the control",
        control_measured=smallest_step_ratios([subtracted[0]._replace(measured=first.measured)]),
        instances=num_visible(subtracted),
    )
    rates = [
        Verdict(
            claim=NAME,
            check=f"share of raw Δ_S·Δ_T > 0 at the smallest ε: {selection}, {next(iter(results))}",
            predicted="no guarantee",
            measured=rate_estimate(first.measured[first.visible, index, 0] > 0),
            instances=num_visible(whole[:1]),
        )
        for index, selection in enumerate(SELECTIONS)
        if first.visible.any()
    ]
    return [order, sign, *rates]


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim wherever the zoo imitates a softmax.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify(softmax_spread(sampling), sampling)


NAME = "filtering"
CLAIM = Claim(
    name=NAME,
    statement="a filter of labels adds a bias, the same for a control, and a slope εVar_q(c) ≥ 0 still comes through",
    verify=verify,
    verify_zoo=verify_zoo,
)
