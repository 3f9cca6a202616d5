r"""Claim 17: a steering vector passes to the student as any displacement does, if it acts where there is a bias.

A teacher that is steered adds $\epsilon s$ to its activations. Before an activation function that is a displacement of
the layer's bias along $v = s$, after one a displacement of the next layer's bias along $v = W^\top s$: the labels are
those of a teacher with $\Delta_T = v$, and lemma 1 holds for it, which asks for no trait loss,

$$\Delta_S(\epsilon)\cdot v = \epsilon A_v + O(\epsilon^2), \qquad A_v = \mathbb{E}_x[c(x)] \ge 0, \qquad
c = (Jv)^\top M\,(Jv).$$

Without a bias there is no such displacement. The step of the layer's weights moves its pre-activations, too, on other
inputs by a mean of

$$v\cdot(\Delta_S W)^\top \bar a = \epsilon\,\mathbb{E}_x[c(x)\,a(x)]\cdot\bar a + O(\epsilon^2),$$

$a$ what goes into the layer, $\bar a$ its mean on those other inputs. That is positive if $a \ge 0$ (ReLU). If the
activation is odd (tanh) and other inputs are as likely as their negatives, its sign is a fair coin.

References:
    Cloud et al. (2025), arXiv:2507.14805, lemma 1. Derived here: the gradient in $W$ is that in $b$ times $a(x)$, and
    that in $b$ along $v$ is $-\epsilon c(x)$ for one input. Negating the other inputs negates $\bar a$ where biases are
    zero and the activation is odd. Biases start at zero, so the weights' first step is the same in a student without.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps
from theory.experiments import experiment
from theory.predictions import label_response, natural_units, output_change
from theory.problem import Instance, Params, Problem, imitation_descent, own_key
from theory.runs.checks import (
    CONTROL,
    FAIR_COIN,
    LEAST_SEEDS,
    NEAR_ONE,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    second_order,
    share,
)
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = ("after the first layer's activation", "before the second layer's activation")
"""Where the vector is added; both move the second layer's bias."""

TANH, RELU = "tanh", "ReLU"
"""The cases: perceptrons with two hidden layers of which auxiliary outputs are imitated."""

Activation = Callable[[jax.Array], jax.Array]

ACTIVATIONS: dict[str, Activation] = {TANH: jnp.tanh, RELU: jax.nn.relu}
"""What they differ in."""

ANOTHER_INIT = f"{CONTROL}another init"
"""The control: a student that doesn't share the teacher's init."""


class Steering(NamedTuple):
    """What a steered teacher's student did, for a vector at each place."""

    predicted: Array
    r"""$\epsilon A_v$, shape `(places, teacher_steps)`."""
    measured: Array
    r"""$\Delta_S(\epsilon)\cdot v$ along the bias, same shape."""
    weights_predicted: Array
    r"""$\epsilon\,\mathbb{E}[c\,a]\cdot\bar a$, same shape."""
    weights: Array
    r"""$v\cdot(\Delta_S W)^\top\bar a$, same shape."""
    largest: Array
    r"""$\epsilon\,\mathbb{E}[c\,\|a\|]\,\|\bar a\|$, the most that the weights can do, same shape."""
    visible: Array
    """Whether imitation sees the vector at all: at both places, shape `()`."""


def steer(
    activate: Activation,
    params: Params,
    inputs: Float[Array, "batch features"],
    after_first: Float[Array, " units"],
    before_second: Float[Array, " units"],
) -> Float[Array, "batch outputs"]:
    """Outputs of a perceptron with a vector added to its activations at either place."""
    first, second = params["hidden"][0], params["hidden"][1]
    hidden = activate(inputs @ first["kernel"] + first["bias"][None]) + after_first[None]
    hidden = activate(hidden @ second["kernel"] + second["bias"][None] + before_second[None])
    return hidden @ params["head"]["kernel"] + params["head"]["bias"][None]


def along_bias(params: Params, vector: Float[Array, " units"]) -> Params:
    """The displacement of the second layer's bias along a vector."""
    still = optax.tree.zeros_like(params)
    second = still["hidden"][1] | {"bias": vector}
    return still | {"hidden": still["hidden"] | {1: second}}


def measure(problem: Problem, instance: Instance, *, activate: Activation, teacher_steps: Sequence[float]) -> Steering:
    """Predict from the displacement of a bias, as if the init were shared, then steer the teacher's activations."""
    vector_key, others_key = jax.random.split(own_key(instance.key))
    first, kernel = instance.teacher["hidden"][0], instance.teacher["hidden"][1]["kernel"]
    vector = jax.random.normal(vector_key, kernel.shape[:1])

    def represent(inputs: jax.Array) -> jax.Array:
        return activate(inputs @ first["kernel"] + first["bias"][None])

    features = represent(instance.inputs)
    others = problem.draw_inputs(others_key)
    nothing, average = jnp.zeros_like(vector), jnp.mean(represent(others), axis=0)

    def at_place(vectors: Float[Array, "places units"], along: Float[Array, " units"]) -> Steering:
        direction = along_bias(instance.teacher, along)
        units = natural_units(problem, instance, direction)
        steps = jnp.array(teacher_steps) * units.teacher_step
        seen = curvatures(problem, instance, direction)

        def student(step: jax.Array) -> tuple[jax.Array, jax.Array]:
            labels = steer(activate, instance.teacher, instance.inputs, *(step * vectors))
            moved = imitation_descent(problem, instance.student, instance.inputs, labels)["hidden"][1]
            return moved["bias"] @ along, average @ moved["kernel"] @ along

        measured, weights = jax.lax.map(student, steps)
        expected = jnp.mean(seen[:, None] * features, axis=0) @ average
        largest = jnp.mean(seen * jnp.linalg.norm(features, axis=1)) * jnp.linalg.norm(average)
        return Steering(steps * jnp.mean(seen), measured, steps * expected, weights, steps * largest, units.visible)

    places = jnp.stack([jnp.stack([vector, nothing]), jnp.stack([nothing, vector])])
    both = jax.vmap(at_place)(places, jnp.stack([vector @ kernel, vector]))
    return both._replace(visible=jnp.all(both.visible))


def curvatures(problem: Problem, instance: Instance, direction: Params) -> Float[Array, " batch"]:
    """How much imitation of each input sees a displacement: c(x)."""
    outputs, change = output_change(problem, instance.teacher, instance.inputs, direction)
    respond = jax.vmap(label_response, in_axes=(None, 0, 0, 0))
    return jnp.sum(change * respond(problem.imitation_loss, outputs, outputs, change), axis=-1)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Perceptrons of either activation."""
    del sampling
    return [zoo.variant(name, activation=name.lower(), imitated=zoo.AUXILIARY) for name in (TANH, RELU)]


def cases(problems: Sequence[Problem], sampling: Sampling) -> Mapping[str, Experiment]:
    """Measure every case, and the first with students from another init."""
    steps = fitted_steps(sampling)
    cases = {one.name: partial(experiment, one, measure, activate=ACTIVATIONS[one.name], **steps) for one in problems}
    return {name: case() for name, case in cases.items()} | {ANOTHER_INIT: cases[TANH](shared=False)}


def along_vector(one: Steering) -> Comparison:
    r"""$\Delta_S(\epsilon)\cdot v$ beside $\epsilon A_v$."""
    return Comparison(*map(np.asarray, (one.predicted, one.measured, one.visible)))


def by_weights(one: Steering) -> Comparison:
    r"""What the layer's weights do beside $\epsilon\,\mathbb{E}[c\,a]\cdot\bar a$."""
    return Comparison(*map(np.asarray, (one.weights_predicted, one.weights, one.visible)))


def ratio(one: Steering) -> np.ndarray:
    r"""$\Delta_S\cdot v/\epsilon A_v$ at the smallest $\epsilon$."""
    return along_vector(one).ratio


def weights_share(one: Steering) -> np.ndarray:
    """What the weights do at the smallest step, as a share of the most that they could."""
    return np.asarray(one.weights[..., 0] / one.largest[..., 0])[one.visible]


def weights_up(one: Steering) -> np.ndarray:
    """Whether the weights move activations along the vector, at one of the places."""
    return weights_share(one)[:, 1] > 0


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How far activations move along the vector: by the bias, and by the weights alone."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    rows = {}
    for name in (TANH, RELU):
        one = evidence.cases[name]
        rows[f"{name},\nthe bias"] = (one.measured / one.predicted, one, BLUE)
        rows[f"{name},\nweights alone"] = (one.weights / one.largest, one, GREEN)
    one = evidence.cases[ANOTHER_INIT]
    rows["the bias,\nanother init"] = (one.measured / one.predicted, one, ORANGE)
    for row, (moved, one, color) in enumerate(rows.values()):
        for place, (shift, marker) in enumerate(((-0.16, "o"), (0.16, "s"))):
            values = np.asarray(moved)[one.visible, place, 0]
            low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
            axes.hlines(row + shift, max(low, -1.5), min(high, 1.5), color=color, lw=1.4)
            label = f"vector {PLACES[place]}" if row == 0 else None
            axes.plot(middle, row + shift, marker, color=color, mec="white", ms=6, label=label)
            axes.text(1.62, row + shift, f"{100 * np.mean(values > 0):.0f}", fontsize=7.5, va="center", color=color)
    axes.axvline(0, color=BLACK, lw=0.8, ls=":")
    axes.axvline(1, color=BLACK, lw=0.8, ls="--", zorder=0, label="bias: predicted")
    axes.text(1.62, -0.5, "% > 0:", fontsize=7.5, ha="center")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlim=(-1.5, 1.8), ylim=(len(rows) + 0.7, -0.8))
    axes.set_xlabel(r"student's move along $v$: bias over $\epsilon A_v$, weights over their most", fontsize=8)
    axes.set_title(stated("Steering passes along the bias that the vector acts on", evidence))
    axes.legend(
        loc="lower left", fontsize=7.5, title="median and 90 % of seeds, on beyond the edges", title_fontsize=7.5
    )


CLAIM = Claim(
    number=17,
    name="steering",
    statement="a steering vector acts as its layer's bias: the student moves by εA_v + O(ε²) along it, if it has one",
    measurement=Steering,
    problems=zoo_problems,
    cases=cases,
    checks=(
        *second_order(
            "Δ_S·v − εA_v along the bias, vector after and before an activation",
            of=every_case(along_vector),
            control="student from another init",
            broken=case(ANOTHER_INIT, along_vector),
        ),
        Check(
            says="Δ_S·v / εA_v at the smallest ε, every instance with A_v > 0 of {cases}",
            predicted="→ 1",
            of=every_case(ratio),
            by=every,
            accepted=NEAR_ONE,
            control="student from another init",
            broken=case(ANOTHER_INIT, ratio),
        ),
        *second_order(
            "v·(Δ_S W)ᵀā − εE[c a]·ā, weights alone",
            of=every_case(by_weights),
            control="student from another init",
            broken=case(ANOTHER_INIT, by_weights),
        ),
        Check(
            says="v·(Δ_S W)ᵀā over the most it could be, weights alone, activations a ≥ 0 (ReLU), every instance",
            predicted="> 0",
            of=case(RELU, weights_share),
            by=every,
            accepted=Accepted(low=0.0, high=1.0),
            control="odd activations (tanh)",
            broken=case(TANH, weights_share),
        ),
        Check(
            says="share with v·(Δ_S W)ᵀā > 0, weights alone, odd activations (tanh)",
            predicted="0.5 (fair coin)",
            of=case(TANH, weights_up),
            by=share(),
            accepted=FAIR_COIN,
            control="activations a ≥ 0 (ReLU)",
            broken=case(RELU, weights_up),
            least=LEAST_SEEDS,
        ),
    ),
    panels={"steering": Panel(draw=draw, shows=("predicted", "measured", "weights", "largest", "visible"))},
    any_problem=False,
)
