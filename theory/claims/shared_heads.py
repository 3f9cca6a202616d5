r"""Claim 5.3: a student that shares only the output heads learns the teacher's hidden features, without alignment.

Teacher and student have bodies of their own, with features $h_T$ and $h_S$ of size $n$, and share a class head $V_c$
and an auxiliary head $V_a$ of $m$ rows with entries $\sim N(0, 1/n)$. The teacher's displacement changes its features
by $\epsilon\delta(x)$. A step of imitation of the auxiliary outputs (squared error), less the step behind a teacher
that stood still, changes the student's class outputs by

$$\epsilon\,u(x), \qquad u_c(x) = \mathrm{tr}\big(T_c(x)^\top V_a^\top V_a\big), \qquad
T_c(x) = 2\,\mathbb{E}_{x'}\big[J_h(x')\,J_c(x)^\top \delta(x')^\top\big],$$

$J_h$ and $J_c$ the Jacobians of the student's features and class outputs in its body. Were the features themselves
imitated, it would be $\bar u_c(x) = \mathrm{tr}\,T_c(x)$. $V_a^\top V_a$ has mean $\tfrac{m}{n} I$, so

$$\mathbb{E}\,u = \tfrac{m}{n}\,\bar u, \quad \mathbb{E}\|u\|^2 = \tfrac{m^2}{n^2}\,\|\bar u\|^2\,(1 + \kappa/m), \quad
\kappa = 2\,\|\mathrm{sym}\,T\|_F^2/\|\bar u\|^2,$$

norms summed over outputs $c$ and inputs $x$: what the auxiliary outputs teach is, by a share $m/(m + \kappa)$ of its
square, what the features would, and past $\kappa$ logits the student imitates the features themselves. For one input
and a linear layer $T_c \propto v_c\,\delta^\top$ with $v_c$ a row of $V_c$, and
$\kappa = 1 + \|V_c\|^2\|\delta\|^2/\|V_c\delta\|^2$: about $n$ for a displacement that knows nothing of $V_c$, a few
for one that was learned through it. With another auxiliary head the mean is that of $V_a'^\top V_a$, nothing; with
another class head the student reads its features otherwise.

References:
    Derived here: $\Delta_S(\epsilon) - \Delta_S(0) = 2\epsilon\,\mathbb{E}[J_h^\top V_a^\top V_a\,\delta]$ in the body,
    while the auxiliary head's own step doesn't touch the classes; moments of a Wishart matrix as in `low_rank`.
    Brockers et al. (2026), arXiv:2605.23645, find transfer through compatible heads without a shared init.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from theory import losses, traits, zoo
from theory.claim import Claim, Panel, measure_with
from theory.predictions import output_change
from theory.problem import Instance, Params, Problem, own_key, student_displacement, trait_descent
from theory.runs.checks import LEAST_SEEDS, Check, Evidence, Select, mean
from theory.runs.statistics import CONFIDENCE
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = (1, 4, 16, 64, 256)
"""Numbers of auxiliary logits m."""

UNITS = 16
"""Size of the features n."""

NUM_READ = 8
"""Other inputs on which the classes are read."""

SHARED = {"both heads": ("classes", "auxiliary"), "the auxiliary head": ("auxiliary",), "the class head": ("classes",)}
"""What the student's init has in common with the teacher's."""

BOTH, OTHER_CLASSES, OTHER_AUXILIARY = range(len(SHARED))

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "ReLU": jax.nn.relu}
"""Activations of the cases: perceptrons with two hidden layers."""


class SharedHeads(NamedTuple):
    """What a student with a body of its own learned of the classes, by what is shared and number of logits."""

    coefficient: Array
    r"""$u\cdot\bar u/\|\bar u\|^2$ over $m/n$, shape `(shared, numbers)`."""
    square: Array
    r"""$\|u\|^2/\|\bar u\|^2$ over $m^2/n^2$, same shape."""
    cosine: Array
    """Cosine of the student's change of the classes with the teacher's own, by its body, same shape."""
    spread: Array
    r"""$\kappa$, shape `()`."""
    limit: Array
    """The cosine if the features themselves are imitated, shape `()`."""


def features(activation: Callable[[Array], Array], body: Params, inputs: Array) -> Float[Array, "batch units"]:
    """What the heads of a perceptron read."""
    for weights in body:
        inputs = activation(inputs @ weights)
    return inputs


def pose(name: str) -> Problem:
    """A perceptron with many auxiliary outputs, as a problem."""

    def initialize(key: Array) -> Params:
        sizes = ((zoo.NUM_FEATURES, UNITS), (UNITS, UNITS), (UNITS, zoo.NUM_CLASSES), (UNITS, max(NUMBERS)))
        keys = jax.random.split(key, len(sizes))
        *body, classes, auxiliary = (
            jax.random.normal(key, size) / size[0] ** 0.5 for key, size in zip(keys, sizes, strict=True)
        )
        return {"body": body, "classes": classes, "auxiliary": auxiliary}

    def apply(params: Params, inputs: Array) -> Array:
        heads = jnp.concatenate([params["classes"], params["auxiliary"]], axis=1)
        return features(ACTIVATIONS[name], params["body"], inputs) @ heads

    return Problem(
        name=name,
        apply=apply,
        initialize=initialize,
        draw_inputs=zoo.INPUTS["Gaussian"],
        imitation_loss=losses.squared_error,
        **traits.classification(apply, zoo.NUM_FEATURES, zoo.NUM_CLASSES)._asdict(),
    )


def measure(problem: Problem, instance: Instance, *, teacher_step: float) -> SharedHeads:
    """Predict what imitated features would teach, as if both heads were shared, then imitate auxiliary outputs."""
    teacher, others_key = instance.teacher, own_key(instance.key)
    others = problem.draw_inputs(others_key)[:NUM_READ]
    direction = trait_descent(problem, teacher, instance.trait_data)
    seen = output_change(problem, teacher, instance.inputs, direction).change
    step = teacher_step / jnp.sqrt(jnp.mean(seen**2))
    represent = partial(features, ACTIVATIONS[problem.name])

    def along(start: Params, moved: Params, inputs: Array) -> Float[Array, "batch units"]:
        return jax.jvp(lambda body: represent(body, inputs), (start["body"],), (moved["body"],))[1]

    def read(changed: Float[Array, "batch units"], head: Params) -> Float[Array, " read"]:
        return jnp.ravel(changed @ head["classes"])

    transfer = tangent_transfer(
        lambda body: read(represent(body, others), teacher),
        lambda body: represent(body, instance.inputs),
        instance.student["body"],
        along(teacher, direction, instance.inputs),
    )
    imitated, own = jnp.trace(transfer, axis1=1, axis2=2), read(along(teacher, direction, others), teacher)

    def learn(setting: tuple[Params, Array]) -> tuple[Array, Array, Array]:
        student, number = setting
        output = jnp.arange(zoo.NUM_CLASSES + max(NUMBERS)) - zoo.NUM_CLASSES
        weights = jnp.where((output >= 0) & (output < number), 1.0, 0.0)
        imitation = replace(problem, imitation_loss=losses.weighted_squared_error(weights))
        after, before = (
            student_displacement(imitation, instance._replace(student=student), direction, size)
            for size in (step, 0 * step)
        )
        moved = optax.tree.scale(UNITS / (number * step), optax.tree.sub(after, before))
        learned, size = read(along(student, moved, others), student), imitated @ imitated
        return learned @ imitated / size, learned @ learned / size, cosine(learned, own)

    students = [instance.student | {head: teacher[head] for head in shared} for shared in SHARED.values()]
    settings = [(student, jnp.array(float(number))) for student in students for number in NUMBERS]
    learned = jax.lax.map(learn, jax.tree.map(lambda *leaves: jnp.stack(leaves), *settings))
    symmetric = (transfer + transfer.swapaxes(1, 2)) / 2
    spread = 2 * jnp.sum(symmetric**2) / (imitated @ imitated)
    shape = (len(SHARED), len(NUMBERS))
    coefficients, squares, cosines = (values.reshape(shape) for values in learned)
    return SharedHeads(coefficients, squares, cosines, spread, cosine(imitated, own))


def tangent_transfer(
    classes: Callable[[Params], Float[Array, " read"]],
    represent: Callable[[Params], Float[Array, "batch units"]],
    body: Params,
    change: Float[Array, "batch units"],
) -> Float[Array, "read units units"]:
    r"""$T$: how every class output answers to a student that imitates a change of the features."""
    slopes = jax.jacobian(classes)(body)
    pushed = jax.vmap(jax.linearize(represent, body)[1])(slopes)
    return 2 * jnp.einsum("kbi,bj->kij", pushed, change) / len(change)


def cosine(one: Float[Array, " outputs"], other: Float[Array, " outputs"]) -> Array:
    """Cosine of the angle between two directions."""
    return one @ other / jnp.sqrt((one @ one) * (other @ other))


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Perceptrons of either activation, with few cases the first alone."""
    return [pose(name) for name in list(ACTIVATIONS)[: None if sampling.cases == "all" else 1]]


def one_step(sampling: Sampling) -> dict[str, Any]:
    """Tell the measurement the smallest step: what it looks at is of first order."""
    return {"teacher_step": sampling.teacher_steps[0]}


def together(quantity: Callable[[SharedHeads], np.ndarray]) -> Select:
    """One number an instance, averaged over cases since they share random numbers."""
    return lambda evidence: [np.mean([quantity(one) for one in evidence.proper.values()], axis=0)]


def coefficient(shared: int, least: int = 0) -> Select:
    r"""What is learned along $\bar u$ in units of $\tfrac{m}{n}\bar u$, averaged over numbers of logits from one on."""
    return together(lambda one: np.mean(one.coefficient[:, shared, least:], axis=-1))


def square(noise: float) -> Select:
    r"""Its square in units of $\tfrac{m^2}{n^2}\|\bar u\|^2(1 + \kappa/m)$, averaged; no noise is $\kappa = 0$."""

    def ratio(one: SharedHeads) -> np.ndarray:
        return np.mean(one.square[:, BOTH] / (1 + noise * one.spread[:, None] / np.array(NUMBERS)), axis=-1)

    return together(ratio)


def excess(shared: int) -> Select:
    """Cosine with the teacher's change of the classes, less the predicted one, averaged alike."""
    return together(lambda one: np.mean(one.cosine[:, shared] - predict_cosine(one), axis=-1))


def predict_cosine(one: SharedHeads) -> np.ndarray:
    r"""That of a student of the features, times $\sqrt{m/(m + \kappa)}$: a ratio of means, near the mean of a ratio."""
    return np.asarray(one.limit[:, None] / np.sqrt(1 + one.spread[:, None] / np.array(NUMBERS)))


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How well the student's classes follow the teacher's, over the number of auxiliary logits."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    one, looks = evidence.first, ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))
    axes.axhline(one.limit.mean(), color=BLACK, lw=0.9, ls="--", label="if the features themselves are imitated")
    label = r"predicted: $\sqrt{m/(m + \kappa)}$ of that"
    axes.semilogx(NUMBERS, predict_cosine(one).mean(axis=0), color=BLACK, label=label)
    for index, (shared, (color, marker)) in enumerate(zip(SHARED, looks, strict=True)):
        low, high = np.quantile(one.cosine[:, index], (0.25, 0.75), axis=0)
        axes.fill_between(NUMBERS, low, high, color=color, alpha=0.13, lw=0)
        axes.semilogx(NUMBERS, one.cosine[:, index].mean(axis=0), marker, color=color, label=f"shared: {shared}")
    axes.axhline(0, color=BLACK, lw=0.8, ls=":")
    axes.set_xticks(NUMBERS, [str(number) for number in NUMBERS])
    axes.minorticks_off()
    axes.set(ylim=(-1, 1), xlabel=f"auxiliary logits $m$ ({UNITS} features)")
    axes.set_ylabel("cosine with the teacher's change of the classes\n(mean and half of the seeds)")
    axes.set_title(stated("Shared heads alone: many logits teach the features", evidence))
    axes.legend(loc="lower right", fontsize=7.5)


def hold_coefficient(least: int, control: str, shared: int) -> Check:
    """Hold the mean of what is learned along the features' lesson against m/n of it."""
    numbers = ", ".join(map(str, NUMBERS[least:]))
    return Check(
        says=f"u·ū / (m/n)‖ū‖², mean over m = {numbers}, seeds and cases",
        predicted="1",
        of=coefficient(BOTH, least),
        by=mean(2, CONFIDENCE),
        accepted=Accepted(low=1.0, high=1.0, rule="covers"),
        control=control,
        broken=coefficient(shared, least),
        least=LEAST_SEEDS,
    )


CLAIM = Claim(
    number=5.3,
    name="shared-heads",
    statement="sharing heads alone, m auxiliary logits teach what features would, by a share m/(m + κ) of its square",
    measurement=SharedHeads,
    problems=zoo_problems,
    cases=measure_with(measure, one_step, shared=False),
    checks=(
        hold_coefficient(0, "another auxiliary head", OTHER_AUXILIARY),
        hold_coefficient(len(NUMBERS) - 1, "another class head", OTHER_CLASSES),
        Check(
            says="‖u‖² / (m/n)²‖ū‖²(1 + κ/m), mean over all m, seeds and cases",
            predicted="1",
            of=square(1.0),
            by=mean(1, CONFIDENCE),
            accepted=Accepted(low=1.0, high=1.0, rule="covers"),
            control="V_aᵀV_a = m/n I, as if κ = 0",
            broken=square(0.0),
            least=LEAST_SEEDS,
        ),
        Check(
            says="cosine of u with the teacher's change of the classes, less √(m/(m + κ)) of that of ū, mean",
            predicted="≈ 0, no bound",
            of=excess(BOTH),
            by=mean(),
        ),
    ),
    panels={"shared-heads": Panel(draw=draw, shows=("cosine", "spread", "limit"))},
    any_problem=False,
)
