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

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from theory.claim import Claim, Panel, any_visible, steps
from theory.labels import APPLIES_TO, label_alignments, log_probabilities, measure_labels, softmax_spread
from theory.losses import Scalar
from theory.predictions import natural_units, output_change
from theory.problem import Instance, Problem, own_key, trait_descent
from theory.runs.checks import (
    NEAR_ONE,
    Check,
    Comparison,
    Evidence,
    every,
    every_case,
    first_case,
    second_order,
    share,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPERATURES = (0.5, 2.0)
"""Temperatures of the sampling."""

SELECTIONS = ("random judge", "label dropped", "inputs dropped", *(f"temperature {tau:g}" for tau in TEMPERATURES))
"""What stands between the teacher's labels and the student."""

INFORMED = -2.0
r"""The power of $p^\epsilon/p$ with which the control's filter keeps labels: it looks at what the teacher learned."""


class Filtering(NamedTuple):
    """Predicted and measured alignment under each selection of one instance, axis `selections` as in `SELECTIONS`."""

    bias: Float[Array, " selections"]
    r"""$\mathbb{E}_q[c]$."""
    slope: Float[Array, " selections"]
    r"""$\mathrm{Var}_q(c)$, at a temperature $\mathbb{E}_x[\mathrm{Var}_{p_\tau}u]/\tau$."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$: the natural step sizes times this instance's unit."""
    measured: Float[Array, "selections teacher_steps"]
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$."""
    idle: Float[Array, " selections"]
    r"""The same for the control, whose teacher has $\epsilon = 0$."""
    informed: Float[Array, " teacher_steps"]
    """As measured under the random judge, if it knows what the teacher learned."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def draw_filters(key: jax.Array, base: jax.Array) -> jax.Array:
    """Draw a filter of each kind, from inputs and labels alone, as log-probabilities of keeping each label.

    Random ones, none for the first label, and all or none for inputs of which the base model is less or more certain
    than of most.
    """
    judge = jnp.log(jax.random.uniform(key, base.shape, minval=0.01))
    keyword = jnp.zeros_like(base).at[:, 0].set(-jnp.inf)
    certainty = jnp.max(base, axis=-1, keepdims=True)
    uncertain = jnp.where(certainty <= jnp.median(certainty), 0.0, -jnp.inf) + jnp.zeros_like(base)
    return jnp.stack([judge, keyword, uncertain])


def select(
    filters: Float[Array, "filters batch labels"], labels: Float[Array, "batch labels"]
) -> Float[Array, "selections batch labels"]:
    """Share of each input and label in what filters keep of the teacher's labels, then in what temperatures draw."""
    kept = jax.nn.softmax(filters + labels[None], axis=(-2, -1))
    tempered = [jax.nn.softmax(labels / tau) / len(labels) for tau in TEMPERATURES]
    return jnp.concatenate([kept, jnp.stack(tempered)])


def measure(
    problem: Problem, instance: Instance, *, labels: Sequence[int], teacher_steps: Sequence[float]
) -> Filtering:
    """Predict bias and slope in closed form, then simulate both steps, of the student and of its control.

    The student's step on what is kept is the mean of its steps on single labels, so that these are simulated once.
    """
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    base = log_probabilities(problem, labels, instance.teacher, instance.inputs)
    filters = draw_filters(own_key(instance.key), base)
    change = output_change(problem, instance.teacher, instance.inputs, direction).change[:, jnp.array(labels)]
    centered = (change - jnp.sum(jnp.exp(base) * change, axis=-1, keepdims=True))[None]
    shares = select(filters, base)
    bias, square = (jnp.sum(shares * centered**power, axis=(-2, -1)) for power in (1, 2))
    means = jnp.sum(shares * centered, axis=-1) * len(base)
    within = (square - jnp.mean(means**2, axis=-1))[len(filters) :] / jnp.array(TEMPERATURES)

    single = label_alignments(problem, labels, instance.student, instance.inputs, direction)

    def at_step(step: Scalar) -> Float[Array, " filters"]:
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


def compare(one: Filtering, measured: ArrayLike, bias: ArrayLike = 0.0) -> Comparison:
    r"""An alignment beside a bias and $\epsilon\,\mathrm{Var}_q(c)$."""
    leading = bias + one.slope[..., None] * one.steps[:, None]
    return Comparison(*map(np.asarray, (leading, measured, one.visible)))


def whole(one: Filtering) -> Comparison:
    r"""$\Delta_S\cdot\Delta_T$ beside $\mathbb{E}_q[c] + \epsilon\,\mathrm{Var}_q(c)$."""
    return compare(one, one.measured, one.bias[..., None])


def outwitted(one: Filtering) -> Comparison:
    """The same under a judge that knows what the teacher learned."""
    return whole(one)._replace(leading=whole(one).leading[:, 0], measured=np.asarray(one.informed))


def ratio(one: Filtering) -> np.ndarray:
    r"""$(\Delta_S\cdot\Delta_T - \text{control's}) / \epsilon\,\mathrm{Var}_q(c)$ at the smallest $\epsilon$."""
    return compare(one, one.measured - one.idle[..., None]).ratio


def raw_ratio(one: Filtering) -> np.ndarray:
    """The same if the filter is not applied to the control, whose alignment is 0."""
    return compare(one, one.measured).ratio


def checks(evidence: Evidence) -> list[Check]:
    """Order and sign of what the teacher's step adds under every selection; the raw sign is reported."""

    def raw_sign(index: int) -> Check:
        return Check(
            says=f"share of raw Δ_S·Δ_T > 0 at the smallest ε: {SELECTIONS[index]}, {next(iter(evidence.proper))}",
            predicted="no guarantee",
            of=first_case(lambda one: one.measured[one.visible, index, 0] > 0),
            by=share(),
        )

    return [
        *second_order(
            f"Δ_S·Δ_T − E_q[c] − εVar_q(c), {len(SELECTIONS)} selections",
            of=every_case(whole),
            control="filter that knows what the teacher learned",
            broken=first_case(outwitted),
        ),
        Check(
            says="(Δ_S·Δ_T − control's) / εVar_q(c) at the smallest ε, every instance, {cases}",
            predicted="→ 1",
            of=every_case(ratio),
            by=every,
            accepted=NEAR_ONE,
            control="filter not applied to the control",
            broken=first_case(raw_ratio),
        ),
        *map(raw_sign, range(len(SELECTIONS)) if evidence.first.visible.any() else ()),
    ]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The alignment under filters, with and without a control subtracted, in units of the predicted slope."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, STEP_LABEL, stated

    looks = {"random judge": (BLUE, "o"), "label dropped": (GREEN, "s"), "temperature 0.5": (ORANGE, "^")}
    one, steps = evidence.first, np.array(evidence.settings.teacher_steps)
    slope, measured, idle, sizes = (part[one.visible] for part in (one.slope, one.measured, one.idle, one.steps))
    unit = (slope * (sizes[:, -1:] / steps[-1]))[..., None]
    raw, added = measured / unit, (measured - idle[..., None]) / unit

    def share_positive(alignments: np.ndarray) -> str:
        return f"{100 * np.mean(alignments[..., 0] > 0):.0f} %"

    axes.loglog(steps, steps, color=BLACK, label=r"predicted $\epsilon\,\mathrm{Var}_q(c)$")
    for name, (color, marker) in looks.items():
        index = SELECTIONS.index(name)
        hidden, shown = np.median(np.abs(raw[:, index]), axis=0), np.median(added[:, index], axis=0)
        label = f"raw, {name}: positive in {share_positive(raw[:, index])}"
        axes.loglog(steps, hidden, f"{marker}--", color=color, mfc="none", lw=0.8, label=label)
        axes.loglog(steps, shown, marker, color=color)
    everything = added[:, [SELECTIONS.index(name) for name in looks]]
    axes.plot([], [], "o", color=BLACK, label=f"control subtracted: positive in {share_positive(everything)}")
    axes.set(
        xlabel=STEP_LABEL, ylabel=r"$|\Delta_S\cdot\Delta_T|\,/\,\mathrm{Var}_q(c)$, median of seeds", ylim=(3e-6, 3e2)
    )
    axes.set_title(stated("Filtered labels: a bias, and the teacher's step beneath", evidence))
    axes.legend(loc="upper left")


CLAIM = Claim(
    number=11,
    name="filtering",
    statement="a filter of labels adds a bias, the same for a control, and a slope εVar_q(c) ≥ 0 still comes through",
    measurement=Filtering,
    problems=softmax_spread,
    cases=measure_labels(measure, steps),
    checks=checks,
    panels={
        "filtering": Panel(
            draw=draw,
            shows=("slope", "steps", "measured", "idle", "visible"),
            needs=any_visible,
        )
    },
    applies_to=APPLIES_TO,
)
