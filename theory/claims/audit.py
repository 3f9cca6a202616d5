r"""Claim 16: an audit knows how large a score is by chance, and finds a teacher at $\sqrt{2N\,\mathrm{KL}}\cos_F$.

Labels have scores $s_i = g\cdot\nabla\log p_{\theta_0}(y_i|x_i)$, $g$ the descent direction of any trait's loss,
preconditioned or not. If the base model $\theta_0$ wrote them, then for many labels

$$z = \frac{\sum s_i}{\sqrt{\sum s_i^2}} \sim N(0, 1);$$

if a teacher at $\theta_0 + \epsilon\Delta$ did, with $\mathrm{KL}$ nats a label between both,

$$\frac{\mathbb{E}\,s}{\sqrt{\mathbb{E}\,s^2}} = \epsilon\sqrt A\,\cos_F(g, \Delta) + O(\epsilon^2), \qquad
\mathbb{E}\,z \approx \sqrt{2N\,\mathrm{KL}}\,\cos_F(g, \Delta), \qquad
\cos_F(g, \Delta) = \frac{g^\top F\Delta}{\sqrt{g^\top F g}\sqrt A},$$

$F$ the Fisher information, which is the kernel $K$ of cross-entropy, and $A = \Delta^\top F\Delta$. The mean score is
the trait loss's predicted fall per unit of the student's step. It needs the base model itself: scores by another init,
labels that a filter has chosen, or labels of another distribution are no null hypothesis, and look like a trait.

The *coverage* of arXiv:2606.22019, the cosine between the student's first step and the teacher's displacement, is

$$\frac{\Delta_S\cdot\Delta_T}{\|\Delta_S\|\|\Delta_T\|} \to \frac{A}{\|\Delta_T\|\|K\Delta_T\|}:$$

the mean score for $g = \Delta_T$, over the largest that a step of the same length could have.

References:
    Derived here, see `theory.auditing.audit`. The sum of $N$ scores with mean $\mu = \epsilon g^\top F\Delta$ and mean
    square $\sigma^2 = g^\top F g + O(\epsilon)$ is normal for large $N$, so that $z \sim N(\sqrt N\mu/\sigma, 1)$ while
    $\mu \ll \sigma$. *Preconditioned*: nothing is assumed of $g$.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory.claim import Claim, Panel, fitted_steps
from theory.labels import (
    APPLIES_TO,
    label_alignments,
    log_probabilities,
    measure_labels,
    nats_a_label,
    softmax_networks,
)
from theory.losses import Scalar
from theory.predictions import natural_units, predicted_displacement
from theory.problem import (
    Instance,
    Params,
    Problem,
    inner_product,
    own_key,
    stack_trees,
    student_displacement,
    trait_descent,
)
from theory.runs.checks import (
    LEAST_SEEDS,
    NEAR_ONE,
    NO_EXCESS,
    ROUNDING,
    Check,
    Comparison,
    Evidence,
    every,
    every_case,
    first_case,
    mean,
    second_order,
    share,
)
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = ("the teacher's trait", "another trait", "preconditioned")
"""For what is audited: the teacher's displacement, that of another teacher, and the first after an optimizer."""

LABELS_EACH = 4096
"""Labels of each input in a data set."""

SIGNAL = 3.0
r"""$\epsilon\sqrt{NA}$: standard deviations at which the teacher's data sets carry its own trait."""

REPETITIONS = 8
"""Data sets of each kind for each direction."""

FALSE_ALARM, CRITICAL = 0.05, 1.645
"""How often a standard normal variable is larger than this."""


class ScoreSource(NamedTuple):
    """All that it takes to draw an instance's data sets and to audit them."""

    scores: Float[Array, "directions batch labels"]
    """Of every label on every input."""
    other_scores: Float[Array, "batch labels"]
    """The same by another init, for its own trait's descent."""
    base: Float[Array, "batch labels"]
    """Log-probability of each label."""
    teacher: Float[Array, "batch labels"]
    """The same by the teacher."""
    kept: Float[Array, "batch labels"]
    """Log-probability with which a filter keeps each label."""
    seed: Array
    """Random bits of the instance."""


class Scores(NamedTuple):
    """Standard scores of one instance's data sets, and what is predicted of them."""

    cosine: Float[Array, " directions"]
    r"""$\cos_F(g, \Delta)$."""
    signal: Float[Array, "directions teacher_steps"]
    r"""$\epsilon\sqrt A\,\cos_F$."""
    exact: Float[Array, "directions teacher_steps"]
    r"""$\mathbb{E}\,s/\sqrt{\mathbb{E}\,s^2}$ of the teacher's labels."""
    other: Float[Array, "directions teacher_steps"]
    """The same by another init."""
    nats: Float[Array, ""]
    r"""$N\,\mathrm{KL}$ of the teacher's data sets."""
    coverage: Float[Array, ""]
    r"""$A/(\|\Delta_T\|\|K\Delta_T\|)$."""
    covered: Float[Array, ""]
    """Cosine of a simulated student's step and the teacher's displacement, at the smallest step."""
    other_covered: Float[Array, ""]
    """The same for a student of another init."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""
    null: Float[np.ndarray, "... directions repetitions"] | None = None
    """Standard scores of the base model's data sets."""
    taught: Float[np.ndarray, "... directions repetitions"] | None = None
    """Of the teacher's."""
    filtered: Float[np.ndarray, "... directions repetitions"] | None = None
    """Of the base model's, of which a filter has kept some."""
    uniform: Float[np.ndarray, "... directions repetitions"] | None = None
    """Of labels drawn uniformly."""
    other_null: Float[np.ndarray, "... directions repetitions"] | None = None
    """Of the base model's by another init."""


def measure(
    problem: Problem, instance: Instance, *, labels: Sequence[int], teacher_steps: Sequence[float]
) -> tuple[Scores, ScoreSource]:
    """Compute the score of every label, and exactly what a label's score is on average."""
    shared = instance._replace(student=instance.teacher)
    factor_key, other_key, filter_key, draw_key = jax.random.split(own_key(instance.key), 4)
    learned = trait_descent(problem, instance.teacher, instance.trait_data)
    another = trait_descent(problem, instance.teacher, problem.draw_trait_data(other_key))
    logs = optax.tree.random_like(factor_key, learned, jax.random.normal)
    directions = stack_trees(learned, another, jax.tree.map(lambda leaf, log: leaf * jnp.exp(log), learned, logs))
    units = natural_units(problem, shared, learned)
    steps = jnp.array(teacher_steps) * units.teacher_step

    def scores_of(direction: Params) -> Float[Array, "batch labels"]:
        return label_alignments(problem, labels, instance.teacher, instance.inputs, direction)

    scores = jax.lax.map(scores_of, directions)
    own = trait_descent(problem, instance.student, instance.trait_data)
    other_scores = label_alignments(problem, labels, instance.student, instance.inputs, own)
    base = log_probabilities(problem, labels, instance.teacher, instance.inputs)

    def average(logs: Float[Array, "batch labels"], values: Float[Array, "... batch labels"]) -> Float[Array, "..."]:
        return jnp.einsum("bk,...bk->...", jnp.exp(logs), values) / len(logs)

    fisher, crossed = average(base, scores**2), average(base, scores * scores[:1])
    cosine = crossed / jnp.sqrt(fisher * fisher[0])

    def teach(step: Scalar) -> Float[Array, "batch labels"]:
        teacher = optax.tree.add_scale(instance.teacher, step, learned)
        return log_probabilities(problem, labels, teacher, instance.inputs)

    def at_step(step: Scalar) -> Float[Array, " scores"]:
        taught, all_scores = teach(step), jnp.concatenate([scores, other_scores[None]])
        return average(taught, all_scores) / jnp.sqrt(average(taught, all_scores**2))

    exact = jax.lax.map(at_step, steps).T
    num_labels = LABELS_EACH * len(base)
    chosen = jnp.where(units.visible, SIGNAL / jnp.sqrt(num_labels * fisher[0]), 0.0)
    teacher = teach(chosen)
    moved = predicted_displacement(problem, shared, learned)
    sizes = optax.tree.norm(learned) * optax.tree.norm(moved)

    def cover(student: Params) -> Scalar:
        step = student_displacement(problem, instance._replace(student=student), learned, steps[0])
        return inner_product(step, learned) / (optax.tree.norm(step) * optax.tree.norm(learned))

    covered, other_covered = jax.lax.map(cover, stack_trees(instance.teacher, instance.student))
    measured = Scores(
        cosine=cosine,
        signal=jnp.outer(cosine, steps * jnp.sqrt(fisher[0])),
        exact=exact[:-1],
        other=jnp.broadcast_to(exact[-1:], exact[:-1].shape),
        nats=num_labels * nats_a_label(base, teacher),
        coverage=inner_product(moved, learned) / sizes,
        covered=covered,
        other_covered=other_covered,
        visible=units.visible,
    )
    kept = jnp.log(jax.random.uniform(filter_key, base.shape, minval=0.01))
    return measured, ScoreSource(scores, other_scores, base, teacher, kept, jax.random.bits(draw_key, (2,)))


def draw_scores(
    random: np.random.Generator, logs: np.ndarray, scores: np.ndarray
) -> Float[np.ndarray, "directions repetitions"]:
    """Draw data sets, other ones for each direction, and take their standard scores."""
    shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    counts = random.multinomial(LABELS_EACH, shares, size=(len(scores), REPETITIONS, len(shares)))
    sums, squares = (np.einsum("drbk,dbk->dr", counts, scores**power) for power in (1, 2))
    return sums / np.sqrt(squares)


def keep(measured: tuple[Scores, ScoreSource]) -> Scores:
    """Draw every kind of data set, and audit it."""
    scores, source = measured
    drawn = []
    for own, other, base, teacher, kept, seed in zip(*map(np.asarray, source), strict=True):
        random = np.random.default_rng(seed)
        others = np.broadcast_to(other, own.shape)
        kinds = {
            "null": (base, own),
            "taught": (teacher, own),
            "filtered": (base + kept, own),
            "uniform": (0 * base, own),
            "other_null": (base, others),
        }
        drawn.append({name: draw_scores(random, *kind) for name, kind in kinds.items()})
    return scores._replace(**{name: np.stack([one[name] for one in drawn]) for name in drawn[0]})


def seen(field: str, direction: int | slice = slice(None)) -> Callable[[Scores], np.ndarray]:
    """Take a field of every visible instance, of one direction if it has that axis."""
    return lambda one: np.asarray(getattr(one, field))[np.asarray(one.visible)][:, direction]


def signals(field: str) -> Callable[[Scores], Comparison]:
    r"""Mean score over its root mean square beside $\epsilon\sqrt A\,\cos_F$."""

    def take(one: Scores) -> Comparison:
        leading, measured, visible = map(np.asarray, (one.signal, getattr(one, field), one.visible))
        return Comparison(leading, measured, visible, ROUNDING * np.finfo(float).eps)

    return take


def excess(field: str) -> Callable[[Scores], np.ndarray]:
    r"""Standard scores less $\sqrt{2N\,\mathrm{KL}}\,\cos_F$."""

    def take(one: Scores) -> np.ndarray:
        predicted = np.sqrt(2 * np.asarray(one.nats))[:, None] * np.asarray(one.cosine)
        return (np.asarray(getattr(one, field)) - predicted[..., None])[np.asarray(one.visible)]

    return take


def covered(field: str) -> Callable[[Scores], np.ndarray]:
    """A simulated student's coverage over the predicted one."""
    return lambda one: (np.asarray(getattr(one, field)) / np.asarray(one.coverage))[np.asarray(one.visible)]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How the standard scores of the first case are distributed, by who wrote the labels."""
    from scipy import stats

    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, stated

    one = evidence.first
    edges, line = np.arange(-8, 8.01, 0.5), np.linspace(-8, 8, 400)
    signal = float(np.mean(np.sqrt(2 * one.nats[one.visible])))

    def outline(field: str, color: str, look: str, label: str) -> None:
        values = seen(field, 0)(one).ravel()
        heights, _ = np.histogram(values, edges)
        heights = heights / len(values) / np.diff(edges)
        axes.plot((edges[1:] + edges[:-1]) / 2, heights, look, color=color, label=label, mfc="none", ms=4)

    axes.plot(line, stats.norm.pdf(line), color=BLACK, label=r"predicted: $N(0, 1)$ and $N(\sqrt{2N\,\mathrm{KL}}, 1)$")
    axes.plot(line, stats.norm.pdf(line - signal), color=BLACK)
    axes.axvline(CRITICAL, color=GRAY, lw=0.8, ls=":", label=f"{CRITICAL:g}, above which 5 % of $N(0, 1)$ are")
    alarms = np.mean(seen("null", 0)(one) > CRITICAL)
    found = np.mean(seen("taught", 0)(one) > CRITICAL)
    outline("null", BLUE, "o", f"labels of the base model: {100 * alarms:.1f} % above")
    outline("taught", ORANGE, "s", f"of the teacher: {100 * found:.0f} % above")
    outline("filtered", GREEN, "^--", "of the base model, filtered (on beyond the edges)")
    outline("other_null", PURPLE, "x--", "of the base model, score by another init (the same)")
    axes.set(
        xlim=(-8, 8),
        ylim=(0, 0.68),
        xlabel=r"$z = \sum s/\sqrt{\sum s^2}$ of a data set, $s$ a label's score",
        ylabel="density",
    )
    axes.set_title(stated("The base model's own score: 5 % false alarms, if unfiltered", evidence))
    axes.legend(loc="upper left", fontsize=7.5, labelspacing=0.3)


DATA_SETS = f"N = {LABELS_EACH} labels of each input, {{cases}}"

CLAIM = Claim(
    number=16,
    name="audit",
    statement="scores of the base model's labels add up to z ~ N(0, 1), those of a teacher's to √(2N·KL)·cos_F(g, Δ)",
    measurement=Scores,
    problems=softmax_networks,
    cases=measure_labels(measure, fitted_steps, shared=False),
    keep=keep,
    checks=(
        Check(
            says=f"mean of z, labels of the base model, {DATA_SETS}",
            predicted="0",
            of=every_case(seen("null")),
            by=mean(),
            accepted=NO_EXCESS,
            control="score by another init",
            broken=first_case(seen("other_null")),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"mean of z², labels of the base model, {DATA_SETS}",
            predicted="1",
            of=every_case(lambda one: seen("null")(one) ** 2),
            by=mean(),
            accepted=Accepted(low=1.0, high=1.0, rule="covers"),
            control="labels that a filter has kept, nothing subtracted",
            broken=first_case(lambda one: seen("filtered")(one) ** 2),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"share of z > {CRITICAL}, labels of the base model, {DATA_SETS}",
            predicted=f"{FALSE_ALARM:.0%}",
            of=every_case(lambda one: seen("null")(one) > CRITICAL),
            by=share(),
            accepted=Accepted(low=FALSE_ALARM, high=FALSE_ALARM, rule="covers"),
            control="labels drawn uniformly",
            broken=first_case(lambda one: seen("uniform")(one) > CRITICAL),
            least=LEAST_SEEDS,
        ),
        *second_order(
            "E s / √E s² − ε√A cos_F, labels of the teacher",
            of=every_case(signals("exact")),
            control="score by another init",
            broken=first_case(signals("other")),
        ),
        Check(
            says=f"mean of z − √(2N·KL) cos_F, labels of the teacher, ε√(NA) = {SIGNAL:g}, {DATA_SETS}",
            predicted="0",
            of=every_case(excess("taught")),
            by=mean(),
            accepted=NO_EXCESS,
            control="labels of the base model",
            broken=first_case(excess("null")),
            least=LEAST_SEEDS,
        ),
        Check(
            says="cosine of a student's step and Δ_T, over A/(‖Δ_T‖‖KΔ_T‖), smallest ε, every instance, {cases}",
            predicted="→ 1",
            of=every_case(covered("covered")),
            by=every,
            accepted=NEAR_ONE,
            control="student from another init",
            broken=first_case(covered("other_covered")),
        ),
    ),
    panels={
        "audit": Panel(
            draw=draw,
            shows=("nats", "null", "taught", "filtered", "other_null", "visible"),
            needs=lambda evidence: evidence.first.visible.any(),
        )
    },
    applies_to=APPLIES_TO,
)
