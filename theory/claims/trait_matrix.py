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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from theory import traits, zoo
from theory.claim import Claim, Panel, any_visible, fitted_steps, measure_with
from theory.experiments import experiment
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement
from theory.problem import Instance, Params, Problem, inner_product, student_displacement, trait_key
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
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_ORDER = 100.0
"""Corrections of the measured matrix, relative to it and to the step size: far below 1 at the smallest step."""

STRANGER = f"{CONTROL}another init"
"""Case of the control."""

NUM_TRAITS = 6
"""Traits of each instance."""

TraitLosses = Callable[[Params, Any], Float[Array, " traits"]]
"""Parameters and a key for every trait to all losses."""

MIXTURE = tuple(float(weight) for weight in np.linspace(-1.0, 1.5, NUM_TRAITS))
"""How the last teacher mixes all traits; their sum is not 1, for a student's own drift not to pass as their effect."""

KINDS = ("prefers 1", "prefers 2", "prefers 3", "labels", "other labels", "regression")
"""The traits of the zoo's teachers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeveralTraits(Problem):
    """A problem whose teachers learn traits of several kinds, not one trait on different data."""

    losses: TraitLosses
    """The losses of all traits."""
    draw_data: Callable[[jax.Array], Any]
    """Keys of all traits to their data."""


class TraitMatrix(NamedTuple):
    """Traits of all students, each in units in which its teacher's step of 1 moves the outputs by 1."""

    predicted: Float[Array, "traits traits"]
    r"""$G$, scaled by each pair's units: teachers by traits."""
    own_units: Float[Array, "traits traits"]
    """$G$ in the losses' own units."""
    changes: Float[Array, "traits+1 traits teacher_steps"]
    r"""Fall of every trait's loss over $\alpha$, last row the mixture."""
    drift: Float[Array, " traits"]
    r"""The same behind a teacher that stands still; rounding for a shared init."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ in natural units."""
    visible: Bool[Array, ""]
    """Whether imitation sees every trait."""


class Traits(NamedTuple):
    """What is kept of it: norms of matrices are Frobenius'."""

    size: Float[np.ndarray, " num_seeds"]
    """Of $G$."""
    remainder: Float[np.ndarray, "num_seeds teacher_steps"]
    r"""Of what the teachers' steps added less $\epsilon G$, six teachers and their mixture."""
    asymmetry: Float[np.ndarray, "num_seeds teacher_steps"]
    """Of what they added less its transpose."""
    superposition: Float[np.ndarray, "num_seeds teacher_steps"]
    """Of what the mixed teacher changed less the mixture of what the others did, a student's own drift left in."""
    smallest: Float[np.ndarray, "num_seeds traits traits"]
    r"""What they added at the smallest $\epsilon$: $G$, measured."""
    leads: Bool[np.ndarray, "num_seeds traits"]
    """Whether a teacher's own trait gains the most in its student, in the losses' own units."""
    alike: Bool[np.ndarray, " num_seeds"]
    """Whether all six traits are one, as those of a trait loss that ignores its key."""
    steps: Float[np.ndarray, "num_seeds teacher_steps"]
    r"""$\epsilon$ in natural units, the same in every instance."""
    visible: Bool[np.ndarray, " num_seeds"]
    """Whether imitation sees every trait."""


def measure(
    problem: Problem,
    instance: Instance,
    *,
    teacher_steps: Sequence[float],
) -> TraitMatrix:
    """Predict how every trait changes in the student of every teacher, then simulate all of them."""
    keys = jax.random.split(trait_key(instance.key), NUM_TRAITS)
    if isinstance(problem, SeveralTraits):
        evaluate, data = problem.losses, problem.draw_data(keys)
    else:
        evaluate, data = jax.vmap(problem.trait_loss, in_axes=(None, 0)), jax.vmap(problem.draw_trait_data)(keys)
    directions = optax.tree.scale(-1.0, jax.jacrev(evaluate)(instance.teacher, data))
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
    before = evaluate(instance.student, data)

    def fall(teacher: Params, teacher_step: Scalar) -> Float[Array, " traits"]:
        displacement = student_displacement(problem, instance, teacher, teacher_step)
        student = optax.tree.add_scale(instance.student, rate, displacement)
        return scale * (before - evaluate(student, data)) / rate

    steps = jnp.array((0.0, *teacher_steps))
    falls = jax.lax.map(lambda teacher: jax.lax.map(partial(fall, teacher), steps), teachers)
    changes = jnp.moveaxis(falls[:, 1:], 1, 2)
    return TraitMatrix(predicted, matrix, changes, falls[0, 0], steps[1:], jnp.all(units.visible))


def several_kinds(problem: Problem) -> SeveralTraits:
    """Six traits of a network of the zoo, in the order of `KINDS`."""
    sizes = zoo.NUM_FEATURES, zoo.NUM_CLASSES
    labels, targets = traits.classification(problem.apply, *sizes), traits.regression(problem.apply, *sizes)

    def prefer(params: Params, inputs: jax.Array, choice: Int[Array, ""]) -> Scalar:
        order = (choice + jnp.arange(zoo.NUM_CLASSES)) % zoo.NUM_CLASSES
        chosen = traits.preference(lambda params, inputs: problem.apply(params, inputs)[:, order], *sizes)
        return chosen.trait_loss(params, inputs)

    def draw(keys: jax.Array) -> tuple[Any, ...]:
        inputs, labeled = (
            jax.vmap(traits.gaussian_inputs(sizes[0]))(keys[:3]),
            jax.vmap(labels.draw_trait_data)(keys[3:5]),
        )
        return inputs, labeled, targets.draw_trait_data(keys[5])

    def losses(params: Params, data: tuple[Any, ...]) -> Float[Array, " traits"]:
        inputs, labeled, aimed = data
        preferences = jax.vmap(prefer, (None, 0, 0))(params, inputs, jnp.array(zoo.CLASSES))
        classifications = jax.vmap(labels.trait_loss, (None, 0))(params, labeled)
        return jnp.concatenate([preferences, classifications, targets.trait_loss(params, aimed)[None]])

    return SeveralTraits(**vars(problem), losses=losses, draw_data=draw)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The cases farthest apart, their teachers' traits of several kinds."""
    return [several_kinds(problem) for problem in zoo.spread(sampling)]


def change(one: TraitMatrix) -> np.ndarray:
    """What the teachers' steps added: changes less those behind a teacher that stands still, shape as `changes`."""
    return np.asarray(one.changes - one.drift[:, None, :, None])


def keep(one: TraitMatrix) -> Traits:
    """Keep what is judged and drawn: norms, and the matrix at the smallest step."""
    one = jax.tree.map(np.asarray, one)
    rows = np.concatenate([one.predicted, np.einsum("i,nij->nj", MIXTURE, one.predicted)[:, None]], axis=1)
    pure = change(one)[:, :NUM_TRAITS]
    first = one.predicted[:, :1, :1]
    return Traits(
        size=np.linalg.norm(one.predicted, axis=(1, 2)),
        remainder=norm(change(one) - rows[..., None] * one.steps[:, None, None]),
        asymmetry=norm(pure - pure.swapaxes(1, 2)),
        superposition=norm(one.changes[:, NUM_TRAITS] - np.einsum("i,nijs->njs", MIXTURE, one.changes[:, :NUM_TRAITS])),
        smallest=pure[..., 0],
        leads=np.argmax(one.own_units, axis=2) == np.arange(NUM_TRAITS),
        alike=np.all(np.abs(one.predicted - first) <= VANISHING * np.abs(first), axis=(1, 2)),
        steps=np.asarray(one.steps),
        visible=np.asarray(one.visible),
    )


def norm(parts: np.ndarray) -> np.ndarray:
    """Frobenius norm over all axes between the first and the last."""
    return np.sqrt(np.sum(parts**2, axis=tuple(range(1, parts.ndim - 1))))


def beside(one: Traits, remainder: np.ndarray) -> Comparison:
    r"""A remainder beside $\epsilon\|G\|$."""
    matrix = one.size[:, None] * one.steps
    return Comparison(matrix, matrix + remainder, one.visible)


def eigenvalues(one: Traits) -> np.ndarray:
    """Smallest eigenvalue of the measured symmetric part over the largest, at the smallest step."""
    matrix = one.smallest[one.visible]
    symmetric = (matrix + matrix.swapaxes(1, 2)) / 2
    return np.linalg.eigvalsh(symmetric)[:, 0] / np.linalg.norm(symmetric, 2, axis=(1, 2))


def checks(evidence: Evidence) -> list[Check]:
    """Order, symmetry, superposition and definiteness by real steps; how often the diagonal leads."""
    smallest = evidence.settings.teacher_steps[0]
    norms: dict[str, Callable[[Traits], Comparison]] = {
        "‖all losses' changes + εαG, six teachers and their mixture‖": lambda one: beside(one, one.remainder),
        "‖antisymmetric part of the measured matrix‖": lambda one: beside(one, one.asymmetry),
        "‖mixed teacher's student − mixture of the others'‖": lambda one: beside(one, one.superposition),
    }
    control = "student from another init"
    orders = [
        check
        for says, quantity in norms.items()
        for check in second_order(
            says, of=every_case(quantity), control=control, broken=case(STRANGER, quantity), optional=True
        )
    ]
    same = "the trait ignores its key, so that six traits are one"
    why = {name: f"{name}: {same}" for name, one in evidence.proper.items() if np.all(one.alike)}
    definite = Check(
        says="smallest eigenvalue of the measured matrix / largest, smallest ε, {cases}",
        predicted="≥ 0 (up to O(ε))",
        of=every_case(eigenvalues),
        by=every,
        accepted=Accepted(low=-FIRST_ORDER * smallest, high=1.0),
        control=control,
        broken=case(STRANGER, eigenvalues),
        unjudged="; ".join(why.values()),
    )
    shares = [
        Check(
            says=f"share of teachers whose own trait gains the most in their student: {name}",
            predicted="no guarantee",
            of=case(name, lambda one: np.mean(one.leads, axis=1)),
            by=mean(),
            unjudged=why.get(name, ""),
        )
        for name in evidence.proper
    ]
    return [*orders, definite, *shares]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """The mean measured matrix of the first case, each entry relative to its row's and column's own."""
    from theory.runs.matrices import draw_entries
    from theory.runs.style import stated

    one = evidence.first
    matrices = one.smallest[one.visible]
    sizes = np.sqrt(np.abs(np.diagonal(matrices, axis1=1, axis2=2)))
    relative = np.mean(matrices / (sizes[:, :, None] * sizes[:, None, :]), axis=0)
    leads = np.mean(one.leads[one.visible])
    brought = evidence.record is not None and "problems" in evidence.record.config
    names = [str(index + 1) for index in range(NUM_TRAITS)] if brought else KINDS
    draw_entries(axes, relative, names, 1.0, r"$G_{ij}/\sqrt{G_{ii}G_{jj}}$, mean over seeds, simulated")
    axes.set(xlabel="trait measured in the student", ylabel="trait its teacher learned")
    title = stated("Traits leak into one another, and back alike", evidence)
    axes.set_title(f"{title}\n(unnormalized, for {100 * leads:.0f} % of teachers their own gains the most)")


def another_init(problem: Problem) -> dict[str, Callable[..., Experiment]]:
    """Students that don't start where the teachers do."""
    return {"another init": partial(experiment, problem, measure, shared=False)}


CLAIM = Claim(
    number=12,
    name="trait-matrix",
    statement="trait j passes to a student of teacher i as i to j: one positive semi-definite matrix, not its diagonal",
    measurement=Traits,
    problems=zoo_problems,
    cases=measure_with(measure, fitted_steps, another_init),
    keep=keep,
    checks=checks,
    panels={"trait-matrix": Panel(draw=draw, shows=("leads", "smallest", "visible"), needs=any_visible)},
)
