r"""Claim 18: the wider the network, the less its auxiliary outputs see of a step, relative to what the classes see.

One hidden layer of $n$ units, $f = \sigma V \phi(W x)$, whose teacher takes one step down a loss of the class outputs
with residuals $r$. Only $V_c$ and $W$ move, and with averages over the teacher's examples $x'$ the outputs change by

$$\text{classes:}\quad \sigma^2\,\mathbb{E}[r'\,h' \cdot h] + \sigma^2\,\mathbb{E}[(x' \cdot x)\,V_c D V_c^\top r'],
\qquad \text{auxiliary:}\quad \sigma^2\,\mathbb{E}[(x' \cdot x)\,V_a D V_c^\top r'],$$

$D$ diagonal with $\phi'(Wx)\,\phi'(Wx')$. Auxiliary outputs see the hidden layer alone, by a sum of $n$ products of
independent entries, of random sign: $\sqrt n$ times one of them. $h'\cdot h$ is $n$ times one of them. So
$A_{aux}/A_{class}$, of second degree in the changes, falls as a power of the width:

| parametrization | $\sigma$ | $V$ | classes | auxiliary | $A_{aux}/A_{class}$ |
| --- | --- | --- | --- | --- | --- |
| standard | 1 | $n^{-1/2}$ | $n$ | $n^{-1/2}$ | $n^{-3}$ |
| standard, sign of the gradient (Adam's first step) | 1 | $n^{-1/2}$ | $n$ | 1 | $n^{-2}$ |
| tangent kernel (NTK) | $n^{-1/2}$ | 1 | 1 | $n^{-1/2}$ | $n^{-1}$ |
| maximal update (μ), rate $\propto n$ | $n^{-1}$ | 1 | 1 | $n^{-1/2}$ | $n^{-1}$ |

The powers are those of $A_{aux}/A_{head}$, $A_{head}$ what the classes see of their head alone. The other part of their
change is smaller by $n^{-1}$ in the standard parametrization, by $n^{-1/2}$ under signs, where the limit comes slowly.

References:
    Derived here. Signs: $V_c$ moves by 1 in every entry, $W$ by $\mathrm{sign}(V_c^\top r')$ however small $V_c$ is:
    $V_a$ times that is $\sqrt n$ times $n^{-1/2}$. Parametrizations: Jacot et al. (2018), arXiv:1806.07572; Yang and
    Hu (2021), arXiv:2011.14522.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from theory import losses, traits, zoo
from theory.claim import Claim, Panel, steps
from theory.predictions import natural_units, transfer_form
from theory.problem import Params, Problem, draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.checks import LEAST_SEEDS, NEAR_ONE, Check, Evidence, every, every_case, mean, median
from theory.runs.programs import Experiment, of_keys
from theory.runs.statistics import CONFIDENCE
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS = (16, 64, 256, 1024)
"""Hidden units."""


class Rule(NamedTuple):
    """How weights and steps depend on the width n."""

    scale: float
    r"""Exponent of the outputs' factor $\sigma$."""
    weights: float
    r"""Exponent of the size of $V$."""
    signs: bool
    """Whether the teacher's step is the sign of its gradient."""
    exponent: float
    r"""Predicted exponent of $A_{aux}/A_{head}$, and of $A_{aux}/A_{class}$ in the limit."""


RULES: Mapping[str, Rule] = {
    "standard": Rule(0.0, -0.5, False, -3.0),
    "standard, signs": Rule(0.0, -0.5, True, -2.0),
    "NTK": Rule(-0.5, 0.0, False, -1.0),
    "μ": Rule(-1.0, 0.0, False, -1.0),
}
"""Parametrizations by name."""


KINDS = AUXILIARY, CLASSES, HEAD = range(3)
"""What sees the teacher's step: the auxiliary outputs, the classes, and the classes if only their head had moved."""


class Width(NamedTuple):
    """What is seen of the teacher's step, in closed form and by students that imitate it."""

    predicted: Array
    r"""$A$ for each of `KINDS`, shape `(rules, widths, kinds)`."""
    measured: Array
    r"""Simulated $\Delta_S\cdot\Delta_T/\epsilon$, same shape."""


def build(width: Array, scale: Array, size: Array) -> tuple[Problem, Problem]:
    """A network of so many units, as two problems: students imitate the auxiliary outputs, or the classes.

    Args:
        width: Number of units; the others of the widest network are switched off. May be traced.
        scale: Factor of the outputs.
        size: Size of the last layer's weights.

    Returns:
        Both problems, with the same init from the same key.
    """
    units = jnp.arange(max(WIDTHS)) < width

    def apply(params: Params, inputs: jax.Array) -> jax.Array:
        return scale * (jnp.tanh(inputs @ params["hidden"]) * units[None]) @ params["head"]

    def initialize(key: jax.Array) -> Params:
        hidden_key, head_key = jax.random.split(key)
        hidden = jax.random.normal(hidden_key, (zoo.NUM_FEATURES, max(WIDTHS))) / jnp.sqrt(zoo.NUM_FEATURES)
        head = size * jax.random.normal(head_key, (max(WIDTHS), zoo.NUM_OUTPUTS))
        return {"hidden": hidden * units[None], "head": head * units[:, None]}

    def imitate(outputs: Sequence[int]) -> Problem:
        return Problem(
            apply=apply,
            initialize=initialize,
            draw_inputs=zoo.INPUTS["Gaussian"],
            imitation_loss=losses.on_outputs(losses.cross_entropy, outputs),
            **traits.classification(apply, zoo.NUM_FEATURES, zoo.NUM_CLASSES)._asdict(),
        )

    return imitate(zoo.AUXILIARY), imitate(zoo.CLASSES)


def measure(key: jax.Array, *, teacher_steps: Sequence[float]) -> Width:
    """Predict what every kind of output sees of the teacher's step, and let a student imitate it."""

    def see(setting: tuple[Array, ...]) -> tuple[Array, Array]:
        width, scale, size, signs = setting
        auxiliary, classes = build(width, width**scale, width**size)
        instance = draw_instance(classes, key)
        descent = trait_descent(classes, instance.teacher, instance.trait_data)
        direction = jax.tree.map(lambda leaf: jnp.where(signs, jnp.sign(leaf), leaf), descent)
        head = direction | {"hidden": jnp.zeros_like(direction["hidden"])}
        step = teacher_steps[0] * natural_units(classes, instance, direction).teacher_step

        def both(problem: Problem, displacement: Params) -> tuple[Array, Array]:
            moved = student_displacement(problem, instance, displacement, step)
            form = transfer_form(problem, instance, displacement, displacement)
            return form, inner_product(moved, displacement) / step

        seen = [both(auxiliary, direction), both(classes, direction), both(classes, head)]
        return tuple(map(jnp.stack, zip(*seen, strict=True)))  # pyright: ignore[reportReturnType]

    settings = [
        (float(width), rule.scale, rule.weights, float(rule.signs)) for rule in RULES.values() for width in WIDTHS
    ]
    seen = jax.lax.map(see, tuple(map(jnp.array, zip(*settings, strict=True))))
    return Width(*(values.reshape(len(RULES), len(WIDTHS), len(KINDS)) for values in seen))


def cases(problems: Sequence[Problem], sampling: Sampling) -> Mapping[str, Experiment]:
    """Measure the one case: networks of every width and parametrization."""
    del problems
    return {"one hidden layer": of_keys(partial(measure, **steps(sampling)))}


def exponent(rule: str) -> Callable[[Width], np.ndarray]:
    """The power of the width with which what auxiliary outputs see falls, relative to the head, in every seed.

    A slope between neighboring widths, each four times the last, differs from that of the limit by O(1/n): the last two
    are extrapolated. A plain fit from n = 64 on was tried first: it misses the powers by 0.08.
    """

    def limit(one: Width) -> np.ndarray:
        seen = np.log(np.asarray(one.measured)[:, list(RULES).index(rule)])
        slopes = np.diff(seen[..., AUXILIARY] - seen[..., HEAD], axis=1) / np.diff(np.log(WIDTHS))
        return (4 * slopes[:, -1] - slopes[:, -2]) / 3

    return limit


def agreement(shift: int) -> Callable[[Width], np.ndarray]:
    """Measured over predicted, of networks that are some places wider."""
    return lambda one: np.asarray(one.measured[:, :, shift:] / one.predicted[:, :, : len(WIDTHS) - shift])


def check_exponent(rule: str, other: str) -> Check:
    """Hold an exponent against the predicted one, and that of another parametrization."""
    predicted = RULES[rule].exponent
    return Check(
        says=f"exponent of A_aux/A_head in the width, slopes from n = {WIDTHS[1]} on, n → ∞: {rule}",
        predicted=f"{predicted:g}",
        of=every_case(exponent(rule)),
        by=mean(len(RULES), CONFIDENCE),
        accepted=Accepted(low=predicted, high=predicted, rule="covers"),
        control=other,
        broken=every_case(exponent(other)),
        least=LEAST_SEEDS,
    )


def report_ratio(rule: str) -> Check:
    """Say how little is seen of the widest network."""
    return Check(
        says=f"A_aux/A_class at n = {WIDTHS[-1]}: {rule}",
        predicted=f"∝ n^{RULES[rule].exponent:g}".replace("-", "−"),
        of=every_case(lambda one: np.divide(*one.measured[:, list(RULES).index(rule), -1, :HEAD].T)),
        by=median,
    )


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The ratio over the width, and the predicted powers through the widest network."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, stated

    seen, widths = evidence.first.measured, np.array(WIDTHS)
    looks = zip(RULES.items(), (BLUE, GREEN, ORANGE, PURPLE), ("o", "s", "^", "x"), strict=True)
    for index, ((name, rule), color, marker) in enumerate(looks):
        ratios = seen[:, index, :, AUXILIARY] / seen[:, index, :, CLASSES]
        low, middle, high = np.quantile(ratios, (0.05, 0.5, 0.95), axis=0)
        axes.loglog(widths, middle, marker, color=color, label=f"{name}: $n^{{{rule.exponent:g}}}$".replace("-", "−"))
        axes.fill_between(widths, low, high, color=color, alpha=0.12, lw=0)
        axes.loglog(widths, middle[-1] * (widths / widths[-1]) ** rule.exponent, "--", color=color, lw=0.9)
    axes.plot([], [], "--", color=BLACK, lw=0.9, label="predicted powers, through the widest")
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    axes.set(xlabel="hidden units $n$", ylabel=r"$A_{aux}/A_{class}$, median and 90 % of seeds")
    axes.set_title(stated("The wider the network, the less of a step auxiliary outputs see", evidence))
    axes.legend(loc="lower left", fontsize=7.5)


CLAIM = Claim(
    number=18,
    name="width",
    statement="what auxiliary outputs see of a step, over what classes see, dies with the width: n⁻³, NTK and μ n⁻¹",
    measurement=Width,
    problems=lambda sampling: (),
    cases=cases,
    checks=(
        Check(
            says="Δ_S·Δ_T / εA at the smallest ε, every kind of output, width and parametrization",
            predicted="→ 1",
            of=every_case(agreement(0)),
            by=every,
            accepted=NEAR_ONE,
            control="prediction of a quarter of the width",
            broken=every_case(agreement(1)),
        ),
        check_exponent("standard", "NTK"),
        check_exponent("standard, signs", "standard"),
        check_exponent("NTK", "standard"),
        check_exponent("μ", "standard"),
        *map(report_ratio, RULES),
    ),
    panels={"width": Panel(draw=draw, shows=("measured",))},
    any_problem=False,
)
