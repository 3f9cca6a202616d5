r"""Claim 10.2: how many inputs a student sees and how many outputs it imitates limit what it has of its teacher.

$$\rho_t \to \frac{\|P\Delta_T\|^2}{\|\Delta_T\|^2}, \qquad \mathrm{rank}\,P \le N\,\mathrm{rank}\,M,$$

$P$ the projection on the range of $K$, $N$ the number of different inputs; $\mathrm{rank}\,M$ is $m$ for $m$ imitated
outputs under squared error and $m - 1$ under a softmax. A teacher displaced in a random direction therefore reaches its
student in a share of at most $N(m - 1)/p$ of its displacement, on average, with $p$ parameters.

References:
    Derived here: $K = \mathbb{E}_x[J^\top M J]$ is a sum of $N$ terms of rank at most $\mathrm{rank}\,M$, and
    $\mathbb{E}\|Pu\|^2 = \mathrm{tr}\,P / p$ for an isotropic unit vector $u$.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from theory import traits, zoo
from theory.claim import Claim, Panel, measure_with
from theory.losses import Outputs, Scalar
from theory.predictions import natural_units
from theory.problem import (
    Instance,
    Params,
    Problem,
    inner_product,
    own_key,
    repeat_inputs,
    stack_trees,
    trait_descent,
)
from theory.runs.checks import LEAST_SEEDS, Check, Evidence, every_case, mean
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import train_student, transfer_fraction, transfer_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH, WIDE, LONG, NUM_PRODUCTS = 16, 16, 50, 32
"""Inputs and auxiliary outputs of the network whose limits are drawn, steps of its training, Lanczos's products."""

LIMITS = (*((outputs, BATCH) for outputs in (2, 4, 8, WIDE)), *((WIDE, inputs) for inputs in (1, 2, 4, 8)))
"""How many auxiliary outputs the student imitates, and on how many different inputs."""

SMALL_STEP = 1e-4
"""The teacher's step size, in natural units."""


class Limits(NamedTuple):
    """Transfer fractions under every limit, predicted and in real training."""

    predicted: Float[Array, " limits"]
    """Of what the teacher learned."""
    measured: Float[Array, " limits"]
    """The same in real training."""
    random: Float[Array, " limits"]
    """In real training behind a teacher displaced in a random direction."""
    ceiling: Float[Array, " limits"]
    """$N(m - 1)/p$."""


def measure(problem: Problem, whole: Instance) -> Limits:
    """Train students that imitate few outputs, or on few inputs; one program does them all, as masks."""
    learned = trait_descent(problem, whole.teacher, whole.trait_data)
    random = optax.tree.random_like(own_key(whole.key), whole.teacher, jax.random.normal)

    def measure_one(num_outputs: Int[Array, ""], num_inputs: Int[Array, ""]) -> Limits:
        limited = replace(problem, imitation_loss=partial(cross_entropy_on_first, num_outputs))
        instance = repeat_inputs(whole, num_inputs)
        spectrum = transfer_spectrum(limited, instance, learned, NUM_PRODUCTS)
        rate = 1 / spectrum.largest

        def fraction(direction: Params) -> Scalar:
            step = SMALL_STEP * natural_units(limited, instance, direction).teacher_step
            labels = problem.apply(optax.tree.add_scale(whole.teacher, step, direction), instance.inputs)
            moved = train_student(limited, instance, labels, rate, (LONG,))
            moved = jax.tree.map(lambda leaves: leaves[0], moved)
            return inner_product(moved, direction) / (step * inner_product(direction, direction))

        measured, behind_random = jax.vmap(fraction)(stack_trees(learned, random))
        predicted = transfer_fraction(spectrum, rate, jnp.array(LONG))
        ceiling = num_inputs * (num_outputs - 1) / len(ravel_pytree(whole.teacher)[0])
        return Limits(predicted, measured, behind_random, ceiling)

    return jax.vmap(measure_one)(*jnp.array(LIMITS).T)


def cross_entropy_on_first(num_outputs: Int[Array, ""], student: Outputs, teacher: Outputs) -> Scalar:
    """Cross-entropy over the first few auxiliary outputs; how many may be traced."""
    student, teacher = student[zoo.NUM_CLASSES :], teacher[zoo.NUM_CLASSES :]
    chosen = jnp.arange(len(teacher)) < num_outputs
    labels = jax.nn.softmax(teacher, where=chosen)
    return optax.losses.softmax_cross_entropy(student, labels, where=chosen)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """The reference network with three class outputs and many auxiliary ones."""
    del sampling
    from theory import networks

    network = networks.mlp((zoo.NUM_FEATURES, 16, 16, zoo.NUM_CLASSES + WIDE))
    wide = replace(
        zoo.build(zoo.REFERENCE),
        name="limits",
        apply=network.apply,
        initialize=network.initialize,
        draw_inputs=partial(jax.random.normal, shape=(BATCH, zoo.NUM_FEATURES)),
        **traits.classification(network.apply, zoo.NUM_FEATURES, zoo.NUM_CLASSES)._asdict(),
    )
    return [wide]


def share(num_inputs: int) -> Callable[[Limits], np.ndarray]:
    """Share of a random teacher that reaches a student, over the ceiling with one input, in every instance."""
    one_input, chosen = LIMITS.index((WIDE, 1)), LIMITS.index((WIDE, num_inputs))
    return lambda one: np.asarray(one.random[:, chosen] / one.ceiling[:, one_input])


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Predicted and trained transfer fractions over the number of directions that the student can see."""
    from theory.runs.statistics import mean_estimate
    from theory.runs.style import BLACK, BLUE, GRAY, ORANGE, stated

    def plot(places: np.ndarray, fractions: np.ndarray, color: str, marker: str, label: str) -> None:
        means, lows, highs = np.array([mean_estimate(column) for column in fractions.T]).T
        reach = [means - lows, highs - means]
        axes.errorbar(places, means, yerr=reach, fmt=marker, color=color, capsize=2, label=label)

    one = evidence.first
    outputs, inputs = np.array(LIMITS).T
    seen = inputs * (outputs - 1)
    series = [
        (inputs == BATCH, outputs, BLUE, "o", (-9, 5), f"trained: 2, 4, 8, {WIDE} outputs, {BATCH} inputs"),
        (outputs == WIDE, inputs, ORANGE, "s", (5, -10), f"trained: 1, 2, 4, 8, {BATCH} inputs, {WIDE} outputs"),
    ]
    for chosen, numbers, color, marker, shift, label in series:
        order = np.flatnonzero(chosen)[np.argsort(seen[chosen])]
        means = one.predicted.mean(axis=0)[order]
        axes.plot(seen[order], means, color=BLACK, lw=1, zorder=1)
        plot(seen[order], one.measured[:, order], color, marker, label)
        for place, height, number in zip(seen[order][:-1], means, numbers[order], strict=False):
            axes.annotate(str(number), (place, height), shift, textcoords="offset points", fontsize=7.5, color=color)
    order = np.argsort(seen)
    plot(seen, one.random, GRAY, "x", "trained, teacher moved at random")
    ceiling = one.ceiling[0][order]
    axes.plot(seen[order], ceiling, ":", color=BLACK, lw=1, label="mean ceiling of a random teacher, $N(m-1)/p$")
    axes.plot([], [], color=BLACK, lw=1, label="predicted by Lanczos")
    axes.set(xscale="log", yscale="log", xlim=(13, 280), ylim=(0.013, 0.8))
    axes.set_xticks([15, 30, 60, 120, 240], ["15", "30", "60", "120", "240"])
    axes.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["2 %", "5 %", "10 %", "20 %", "50 %"])
    axes.minorticks_off()
    axes.set_xlabel("directions that the student can see: $N$ inputs $\\times$ ($m$ outputs $-$ 1)")
    axes.set_ylabel(f"share of $\\Delta_T$ transferred in {LONG} steps (95 %)")
    axes.set_title(stated("The more a student sees, the more of its teacher it becomes", evidence), fontsize=9)
    axes.legend(loc="upper left", fontsize=7.5, labelspacing=0.3)


CLAIM = Claim(
    number=10.2,
    name="limits",
    statement="a teacher displaced at random reaches its student in at most N(m − 1)/p of its displacement",
    measurement=Limits,
    problems=zoo_problems,
    cases=measure_with(measure),
    checks=(
        Check(
            says=f"ρ_{LONG} / ((m − 1)/p), teacher in a random direction, one input, softmax over m = {WIDE}, mean",
            predicted="→ 1 from below",
            of=every_case(share(1)),
            by=mean(),
            accepted=Accepted(low=0.9, high=1.0, rule="covers"),
            control="two inputs",
            broken=every_case(share(2)),
            least=LEAST_SEEDS,
        ),
    ),
    panels={"many-steps": Panel(draw=draw, shows=Limits._fields)},
    any_problem=False,
)
