r"""Claim 12: which trait reaches a student of which teacher, as one symmetric, positive semi-definite matrix.

Teacher $i$ takes a step $\epsilon$ along its own trait, $\Delta_i = -\nabla L_i(\theta^0)$; its student takes a step of
size $\alpha$. Then the loss of trait $j$ changes in that student by

$$L_j(\theta_S) - L_j(\theta^0) = -\epsilon\alpha\,G_{ij} + O(\epsilon^2), \qquad G_{ij} = \Delta_i^\top K \Delta_j,$$

so that trait $j$ passes to a student of teacher $i$ as $i$ does to a student of teacher $j$, no more than
$|G_{ij}| \le \sqrt{G_{ii} G_{jj}}$, and a teacher of several traits gives each of them its part. Nothing makes the
diagonal a row's largest entry: it is the whole matrix that says what a student picks up.

References:
    Derived here: the student moves by $\epsilon\alpha K\Delta_i + O(\epsilon^2)$ (Cloud et al. (2025),
    arXiv:2507.14805, lemma 1), and $\nabla L_j = -\Delta_j$. $K$ is symmetric and positive semi-definite, so $G$ is the
    Gram matrix of the $K^{1/2}\Delta_i$, and linear in each of them. From another init the two Jacobians differ, and
    $G$ loses symmetry and sign.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory import zoo
from theory.claim import Claim, Panel, fitted_steps, measure_with
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Params, Problem, draw_instance, inner_product, student_displacement
from theory.runs.checks import (
    CONTROL,
    VANISHING,
    Check,
    Comparison,
    Evidence,
    case,
    every,
    every_case,
    mean,
    second_order,
)
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted
from theory.several_traits import KINDS, NUM_TRAITS, several_kinds, trait_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIXTURE = tuple(float(weight) for weight in np.linspace(-1.0, 1.5, NUM_TRAITS))
"""How the last teacher mixes all traits; their sum is not 1, for a student's own drift not to pass as their effect."""

FIRST_ORDER = 100.0
"""Corrections of the measured matrix, relative to it and to the step size: far below 1 at the smallest step."""

ANOTHER_INIT = "another init"
"""The control: a student that does not share the teachers' init."""


class TraitMatrix(NamedTuple):
    """Traits of all students, each in units in which its teacher's step of 1 moves the outputs by 1."""

    predicted: jax.Array
    r"""$G$, scaled by each pair's units, shape `(traits, traits)`: teachers by traits."""
    own_units: jax.Array
    """$G$ in the losses' own units, same shape."""
    changes: jax.Array
    r"""Fall of every trait's loss over $\alpha$, last row the mixture, shape `(traits + 1, traits, teacher_steps)`."""
    drift: jax.Array
    r"""The same behind a teacher that stands still, shape `(traits,)`; rounding for a shared init."""
    visible: jax.Array
    """Whether imitation sees every trait, shape `()`."""


def measure(problem: Problem, key: jax.Array, *, teacher_steps: Sequence[float], shared: bool = True) -> TraitMatrix:
    """Predict how every trait changes in the student of every teacher that starts where they do, then simulate all."""
    instance = draw_instance(problem, key, shared=shared)
    keys = jax.random.split(instance.trait_key, NUM_TRAITS)
    evaluate = trait_losses(problem)
    directions = optax.tree.scale(-1.0, jax.jacrev(evaluate)(instance.teacher, keys))
    units = jax.vmap(lambda direction: natural_units(problem, instance, direction))(directions)
    same = instance._replace(student=instance.teacher)
    moved = jax.vmap(lambda direction: predicted_displacement(problem, same, direction))(directions)
    matrix = jax.vmap(lambda left: jax.vmap(lambda right: inner_product(left, right))(directions))(moved)
    scale = units.teacher_step
    scaled = jax.tree.map(lambda leaves: jnp.einsum("t,t...->t...", scale, leaves), directions)
    mixed = jax.tree.map(lambda leaves: jnp.einsum("t,t...->...", jnp.array(MIXTURE), leaves), scaled)
    teachers = jax.tree.map(lambda leaves, leaf: jnp.concatenate([leaves, leaf[None]]), scaled, mixed)
    predicted = matrix * jnp.outer(scale, scale)
    rate = jnp.sum(jax.vmap(inner_product)(scaled, scaled)) / jnp.trace(predicted)
    rate = jnp.where(jnp.all(units.visible), rate, 1.0)
    before = evaluate(instance.student, keys)

    def fall(teacher: Params, teacher_step: jax.Array) -> jax.Array:
        displacement = student_displacement(problem, instance, teacher, teacher_step)
        student = optax.tree.add_scale(instance.student, rate, displacement)
        return scale * (before - evaluate(student, keys)) / rate

    steps = jnp.array((0.0, *teacher_steps))
    falls = jax.lax.map(lambda teacher: jax.lax.map(partial(fall, teacher), steps), teachers)
    changes = jnp.moveaxis(falls[:, 1:], 1, 2)
    return TraitMatrix(predicted, matrix, changes, falls[0, 0], jnp.all(units.visible))


def change(one: TraitMatrix) -> np.ndarray:
    """What the teachers' steps added to the students' traits: changes less those behind a teacher that stands still."""
    return np.asarray(one.changes - one.drift[:, None, :, None])


def compare(one: TraitMatrix, remainder: np.ndarray, steps: np.ndarray) -> Comparison:
    """The size of a matrix that should vanish at second order, over all entries, beside that of the leading term."""
    leading = np.linalg.norm(one.predicted, axis=(1, 2))[:, None] * steps
    size = np.sqrt(np.sum(remainder**2, axis=tuple(range(1, remainder.ndim - 1))))
    return Comparison(leading, leading + size, np.asarray(one.visible))


def remainders(one: TraitMatrix, steps: np.ndarray) -> Comparison:
    """Measured changes less the predicted matrix, and the mixed teacher's less the mixture of its rows."""
    mixed = np.einsum("i,nij->nj", MIXTURE, one.predicted)
    rows = np.concatenate([one.predicted, mixed[:, None]], axis=1)
    return compare(one, change(one) - rows[..., None] * steps, steps)


def asymmetry(one: TraitMatrix, steps: np.ndarray) -> Comparison:
    """What trait j gains from teacher i less what trait i gains from teacher j."""
    pure = change(one)[:, :NUM_TRAITS]
    return compare(one, pure - pure.swapaxes(1, 2), steps)


def superposition(one: TraitMatrix, steps: np.ndarray) -> Comparison:
    """The mixed teacher's student less the mixture of the others; a student's own drift is left in."""
    mixture = np.einsum("i,nijs->njs", MIXTURE, one.changes[:, :NUM_TRAITS])
    return compare(one, (one.changes[:, NUM_TRAITS] - mixture)[:, None], steps)


def smallest_eigenvalue(one: TraitMatrix) -> np.ndarray:
    """Smallest eigenvalue of the measured matrix over its largest in size, at the smallest step.

    The mean of each pair's two entries is taken; instances are those in which every trait is visible.
    """
    matrix = change(one)[one.visible, :NUM_TRAITS, :, 0]
    symmetric = (matrix + matrix.swapaxes(1, 2)) / 2
    return np.linalg.eigvalsh(symmetric)[:, 0] / np.linalg.norm(symmetric, 2, axis=(1, 2))


def alike(one: TraitMatrix) -> bool:
    """Whether all six traits are one, as those of a trait loss that ignores its key: equal entries, to rounding."""
    first = one.predicted[:, :1, :1]
    return bool(np.all(np.abs(one.predicted - first) <= VANISHING * np.abs(first)))


def leading_diagonals(one: TraitMatrix) -> np.ndarray:
    """Share of teachers whose own trait gains the most in their student, in the losses' own units, by instance."""
    return np.mean(np.argmax(one.own_units, axis=2) == np.arange(NUM_TRAITS), axis=1)


def checks(evidence: Evidence) -> list[Check]:
    """Order, symmetry, superposition and definiteness by real steps; and how often the diagonal leads."""
    steps = np.array(evidence.settings.teacher_steps[: evidence.settings.num_fitted])
    stranger, control = f"{CONTROL}{ANOTHER_INIT}", "student from another init"
    vanishing: dict[str, Callable[..., Comparison]] = {
        "all losses' changes + εαG, six teachers and their mixture": remainders,
        "antisymmetric part of the measured matrix": asymmetry,
        "mixed teacher's student − mixture of the others'": superposition,
    }
    why = {
        name: f"{name}: the trait ignores its key, so that six traits are one"
        for name, one in evidence.proper.items()
        if alike(one)
    }
    orders = [
        second_order(
            f"‖{quantity}‖",
            of=every_case(partial(judged, steps=steps)),
            control=control,
            broken=case(stranger, partial(judged, steps=steps)),
            optional=True,
        )
        for quantity, judged in vanishing.items()
    ]
    definite = Check(
        says="smallest eigenvalue of the measured matrix / largest, smallest ε, {cases}",
        predicted="≥ 0 (up to O(ε))",
        of=every_case(smallest_eigenvalue),
        by=every,
        accepted=Accepted(low=-FIRST_ORDER * steps[0], high=1.0),
        control=control,
        broken=case(stranger, smallest_eigenvalue),
        unjudged="; ".join(why.values()),
    )
    leading = [
        Check(
            says=f"share of teachers whose own trait gains the most in their student: {name}",
            predicted="no guarantee",
            of=case(name, leading_diagonals),
            by=mean(),
            unjudged=why.get(name, ""),
        )
        for name in evidence.proper
    ]
    return [*(check for both in orders for check in both), definite, *leading]


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build the cases farthest apart, with traits of several kinds at once."""
    return [several_kinds(problem) for problem in zoo.spread(sampling)]


def start_elsewhere(problem: Problem) -> dict[str, Callable[..., TraitMatrix]]:
    """The student of teachers with another init."""
    return {ANOTHER_INIT: partial(measure, problem, shared=False)}


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Mean measured matrix of the first case, each entry relative to its row's and column's own."""
    from theory.runs.style import stated

    one = evidence.first
    matrices, own = one.changes[one.visible, :NUM_TRAITS, :, 0], one.own_units[one.visible]
    sizes = np.sqrt(np.abs(np.diagonal(matrices, axis1=1, axis2=2)))
    average = np.mean(matrices / (sizes[:, :, None] * sizes[:, None, :]), axis=0)
    leads = np.mean(np.argmax(own, axis=2) == np.arange(NUM_TRAITS))
    image = axes.imshow(average, cmap="PuOr_r", vmin=-1, vmax=1)
    for row, column in np.ndindex(average.shape):
        color = "white" if abs(average[row, column]) > 0.65 else "black"
        number = f"{average[row, column]:.2f}".replace("-", "−")
        axes.text(column, row, number, ha="center", va="center", fontsize=7.5, color=color)
    brought = evidence.record is not None and "problems" in evidence.record.config
    names = [str(index + 1) for index in range(NUM_TRAITS)] if brought else KINDS
    axes.set_xticks(range(NUM_TRAITS), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(NUM_TRAITS), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="trait measured in the student", ylabel="trait its teacher learned")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(r"$G_{ij}/\sqrt{G_{ii}G_{jj}}$, mean over seeds, simulated")
    bar.outline.set_visible(False)
    title = stated("Traits leak into one another, and back alike", evidence)
    axes.set_title(f"{title}\n(own trait gains the most: {100 * leads:.0f} % of teachers)")


def is_seen(evidence: Evidence) -> bool:
    """Whether the first case has an instance in which every trait is visible."""
    return bool(evidence.proper) and bool(np.any(evidence.first.visible))


CLAIM = Claim(
    number=12,
    name="trait-matrix",
    statement="trait j passes to a student of teacher i as i to j: one positive semi-definite matrix, not its diagonal",
    measurement=TraitMatrix,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps, start_elsewhere),
    checks=checks,
    panels={"trait-matrix": Panel(draw=draw, shows=("own_units", "changes", "visible"), needs=is_seen)},
)
