r"""Claim 5.2: claim 5's form by parameter group: through which channel a trait travels, and where the init decides.

$$B(v, u) = \sum_{g,h} B(P_g v, P_h u), \qquad
\big(\Delta_S(\epsilon) - \Delta_S(0)\big)\cdot P_g v = \epsilon\,B(P_g v, P_h \Delta_T) + O(\epsilon^2)$$

if the teacher moves in its group $h$ alone. Two things are exact:

- With a shared init and $v = \Delta_T$ the table is a Gram matrix: every group by itself transfers with the right sign.
- If the student imitates auxiliary outputs that the trait doesn't read, the head's row and column are 0, whatever the
  inits share: everything travels through the body, although the heads decide its sign (see `signs`).

If it imitates the trait's own outputs, every channel is likely to be positive between different inits too: with
$v = -\nabla L_T(\theta_S^0)$ the movements $J_S P_g v$ and $J_T P_h \Delta_T$ are tangent kernels applied to nearly the
same residuals, and wide networks have nearly the same kernel, diagonal in the outputs.

References:
    Derived here. The teacher's auxiliary head feels no gradient of the trait and its class head moves no auxiliary
    output, so $J_T P_\text{head} \Delta_T = 0$ on what is imitated; the same of the student's $v$. Compare Brockers et
    al. (2026), arXiv:2605.23645, on compatible heads, and arXiv:2606.22019 on the location of the channel.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import losses, zoo
from theory.claim import Claim, Panel, fitted_steps, measure_with
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement, split_by_group, transfer_channels
from theory.problem import (
    Instance,
    Params,
    Problem,
    inner_product,
    stack_trees,
    student_displacement,
    trait_descent,
)
from theory.runs.checks import (
    LEAST_SEEDS,
    SECOND_ORDER,
    VANISHING,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    first_case,
    median,
    order,
    share,
)
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMITATED = {
    "all outputs": (*zoo.CLASSES, *zoo.AUXILIARY),
    "disjoint outputs": zoo.AUXILIARY,
    "trait outputs": zoo.CLASSES,
}
"""What the student imitates: everything, auxiliary outputs that the trait doesn't read, or those that it reads."""

INITS = ("shared", "different")
"""Where the student starts: at the teacher's init, or at one of its own."""

ALL, DISJOINT, _ = range(len(IMITATED))
SHARED, DIFFERENT = range(len(INITS))
"""Places on the axes `imitated` and `inits`."""

GROUPS = ("head", "hidden.0", "hidden.1")
"""Parameter groups of the zoo's perceptron, in the order of a table's rows and columns."""

HEAD = GROUPS.index("head")
"""Which of them is the head."""

FORMS = "forms: "
"""How the names of the cases begin in a record."""

ACTIVATIONS = {"tanh": "tanh", "ReLU": "relu"}
"""Activations by how they are written; the first serves for the orders."""


class Forms(NamedTuple):
    """One instance's form under each set of outputs and each init, axes `imitated` and `inits` as above."""

    channels: Float[Array, "imitated inits groups groups"]
    r"""$B(P_g v, P_h \Delta_T)$ along the student's own descent $v = -\nabla L_T(\theta_S^0)$."""
    cosine: Float[Array, "imitated inits"]
    r"""Between $v$ and what the teacher's step adds to the student's, to first order."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$: the natural step sizes times this instance's unit."""
    simulated: Float[Array, "groups groups teacher_steps"]
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot P_g v$ if the teacher moves by $\epsilon P_h \Delta_T$."""
    visible: Bool[Array, ""]
    """Whether imitation of all outputs sees the trait."""


def measure(problem: Problem, strangers: Instance, *, teacher_steps: Sequence[float]) -> Forms:
    """Split the form by parameter group for every set of outputs on one instance, and simulate the first."""
    problems = [
        replace(problem, imitation_loss=losses.on_outputs(losses.cross_entropy, outputs))
        for outputs in IMITATED.values()
    ]
    direction = trait_descent(problem, strangers.teacher, strangers.trait_data)
    students = stack_trees(strangers.teacher, strangers.student)

    def evaluate(problem: Problem, student: Params) -> tuple[Float[Array, "groups groups"], Scalar]:
        instance = strangers._replace(student=student)
        own = trait_descent(problem, student, strangers.trait_data)
        channels = transfer_channels(problem, instance, own, direction).forms
        added = predicted_displacement(problem, instance, direction)
        return channels, jnp.sum(channels) / (optax.tree.norm(added) * optax.tree.norm(own))

    forms = [jax.vmap(partial(evaluate, problem))(students) for problem in problems]
    channels, cosine = (jnp.stack(parts) for parts in zip(*forms, strict=True))
    units = natural_units(problems[ALL], strangers, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    simulated = simulate_channels(problems[ALL], strangers, direction, steps)
    return Forms(channels, cosine, steps, simulated, units.visible)


def simulate_channels(
    problem: Problem, instance: Instance, direction: Params, steps: Float[Array, " teacher_steps"]
) -> Float[Array, "groups groups teacher_steps"]:
    """Move the teacher in one group at a time, and see how far the student goes in each of its own, listed first.

    Counted is progress along its own descent beyond that of a student whose teacher stands still.
    """
    own = split_by_group(trait_descent(problem, instance.student, instance.trait_data))

    def progress(part: Params, step: Scalar) -> Float[Array, " groups"]:
        moved = student_displacement(problem, instance, part, step)
        return jax.vmap(inner_product, in_axes=(0, None))(own, moved)

    over_steps = jax.vmap(progress, in_axes=(None, 0), out_axes=-1)
    table = jax.vmap(over_steps, in_axes=(0, None), out_axes=1)(split_by_group(direction), steps)
    return table - progress(direction, jnp.zeros(()))[:, None, None]


def simulated(one: Forms) -> Comparison:
    r"""Every entry of the table for all outputs and different inits, times $\epsilon$, beside what the steps did."""
    leading = one.channels[:, ALL, DIFFERENT, ..., None] * one.steps[:, None, None]
    return Comparison(*map(np.asarray, (leading, one.simulated, one.visible)))


def exchanged(one: Forms) -> Comparison:
    """The same with the student's groups taken for the teacher's."""
    compared = simulated(one)
    return compared._replace(leading=np.swapaxes(compared.leading, 1, 2))


def through_head(imitated: int) -> Callable[[Forms], np.ndarray]:
    """Largest entry in the head's row or column for a set of outputs, in every instance."""

    def largest(one: Forms) -> np.ndarray:
        table = np.abs(one.channels[:, imitated])
        return np.maximum(table[..., HEAD, :].max(axis=-1), table[..., HEAD].max(axis=-1))

    return largest


def lowest(init: int) -> Callable[[Forms], np.ndarray]:
    """Smallest eigenvalue of every instance's table over the largest, for all sets of outputs."""

    def relative(one: Forms) -> np.ndarray:
        table = one.channels[:, :, init]
        spectra = np.linalg.eigvalsh(table + np.swapaxes(table, -1, -2))
        return spectra[..., 0] / np.abs(spectra).max(axis=-1)

    return relative


def cosine(init: int) -> Callable[[Forms], np.ndarray]:
    """Cosine of what the teacher adds with the student's own descent in every instance, for all sets of outputs."""
    return lambda one: np.asarray(one.cosine)[:, :, init]


def positive(imitated: str) -> Callable[[Forms], np.ndarray]:
    """Whether the form is positive between different inits, in every instance."""
    return lambda one: np.asarray(one.cosine)[:, list(IMITATED).index(imitated), DIFFERENT] > 0


def share_of_form(inside: bool, init: str) -> Callable[[Forms], np.ndarray]:
    """Share of the form from head to head or from body to body, all outputs imitated, in every instance."""
    groups = np.arange(len(GROUPS)) == HEAD
    chosen = groups if inside else ~groups

    def part(one: Forms) -> np.ndarray:
        table = np.asarray(one.channels)[:, ALL, INITS.index(init)]
        return table[:, chosen][:, :, chosen].sum(axis=(-1, -2)) / table.sum(axis=(-1, -2))

    return part


CERTAIN = (
    Check(
        says=f"order of (Δ_S(ε) − Δ_S(0))·P_g v − εB(P_g v, P_h Δ_T), worst of {len(GROUPS) ** 2} channels",
        predicted="2.00",
        of=first_case(simulated),
        by=order(2.0),
        accepted=SECOND_ORDER,
        control="student's and teacher's groups exchanged",
        broken=first_case(exchanged),
        least=LEAST_SEEDS,
    ),
    Check(
        says="B through the head of either, disjoint outputs, shared and different inits",
        predicted="0.0 exactly",
        of=every_case(through_head(DISJOINT)),
        by=every,
        accepted=Accepted(low=0.0, high=0.0),
        control="all outputs",
        broken=every_case(through_head(ALL)),
        least=LEAST_SEEDS,
    ),
    Check(
        says=f"smallest eigenvalue of the table / largest, shared init, {len(IMITATED)} sets of outputs",
        predicted="≥ 0 (Gram matrix)",
        of=every_case(lowest(SHARED)),
        by=every,
        accepted=Accepted(low=-VANISHING, high=1.0),
        control="different inits",
        broken=every_case(lowest(DIFFERENT)),
        least=LEAST_SEEDS,
    ),
    Check(
        says=f"cosine of what the teacher adds with the student's own −∇L_T, {len(IMITATED)} sets of outputs",
        predicted="in (0, 1], shared init",
        of=every_case(cosine(SHARED)),
        by=every,
        accepted=Accepted(low=0.0, high=1.0 + VANISHING),
        control="different inits",
        broken=every_case(cosine(DIFFERENT)),
        least=LEAST_SEEDS,
    ),
)
"""What is certain in every instance: the table, its zeros, and its sign where the init is shared."""


def checks(evidence: Evidence) -> list[Check]:
    """What is certain; how often different inits keep the sign where the trait's outputs are imitated; the channels."""
    chosen = [imitated for imitated in IMITATED if imitated != "disjoint outputs"]
    signs = [
        Check(
            says=f"share of positive B: {name.removeprefix(FORMS)}, {imitated}, different inits",
            predicted="no guarantee",
            of=case(name, positive(imitated)),
            by=share(len(evidence.proper) * len(chosen)),
        )
        for name in evidence.proper
        for imitated in chosen
    ]
    shares = [
        Check(
            says=f"share of B from {channel}: all outputs, {init} init{'s' * (init == 'different')}",
            predicted="no guarantee",
            of=first_case(share_of_form(inside, init)),
            by=median,
        )
        for channel, inside in (("head to head", True), ("body to body", False))
        for init in INITS
    ]
    return [*CERTAIN, *signs, *shares]


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build a perceptron for each activation; with few cases the first alone."""
    chosen = list(ACTIVATIONS.items())[: None if sampling.cases == "all" else 1]
    return [zoo.variant(f"{FORMS}{label}", activation=activation) for label, activation in chosen]


BINS = np.linspace(-1, 1, 61)
"""Bins of the cosine."""

HEIGHT = 0.42
"""Of the tallest bin, in rows."""


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Distribution of the form over instances, for each set of imitated outputs, shared init over different."""
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    looks: dict[str, dict[str, Any]] = {
        "shared": {"facecolor": BLUE, "edgecolor": BLUE},
        "different": {"facecolor": "none", "edgecolor": ORANGE, "hatch": "/////"},
    }
    for row in range(len(IMITATED)):
        axes.axhline(row, color=BLACK, lw=0.6, zorder=3)
        for column, (init, sign) in enumerate(zip(INITS, (-1, 1), strict=True)):
            values = evidence.first.cosine[:, row, column]
            counts, _ = np.histogram(values, BINS)
            heights = row + sign * HEIGHT * counts / counts.max()
            axes.stairs(heights, BINS, baseline=row, fill=True, lw=0.8, **looks[init])
            text = f"{init} init: {100 * np.mean(values > 0):.3g} % positive"
            axes.text(-0.97, row + 0.2 * sign, text, color=looks[init]["edgecolor"], va="center", fontsize=8)
    axes.axvline(0, color=BLACK, lw=0.8, ls=":")
    axes.set_yticks(range(len(IMITATED)), [chosen.replace(" ", "\n") for chosen in IMITATED])
    axes.set(xlim=(-1, 1), ylim=(len(IMITATED) - 0.45, -0.55), ylabel="student imitates")
    axes.set_xlabel(r"cosine of the transferred step with the student's own $-\nabla L_T$")
    axes.set_title(stated("Only a shared init makes the transfer's sign certain", evidence))


CLAIM = Claim(
    number=5.2,
    name="channels",
    statement="another init: B splits by layer; disjoint outputs use the body alone, a shared init gives a Gram matrix",
    measurement=Forms,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps, shared=False),
    checks=checks,
    panels={"forms": Panel(draw=draw, shows=("cosine",))},
    any_problem=False,
)
