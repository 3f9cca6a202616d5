r"""Claim 9.1: Adam's student follows the linearized one that has Adam's memory; its first P, kept, doesn't.

Adam's steps don't shrink with the gradient, so that its learning rate must: let it, and what Adam adds to its
denominators, be proportional to $\epsilon$. With a shared init, and the student's gradient replaced by its
linearization, Adam's own recursion of moments predicts the student:

$$g_t = -K(\epsilon\Delta_T - \delta_t), \qquad \delta_{t+1} = \delta_t + \mathrm{Adam}(g_1, \ldots, g_t), \qquad
\theta_S - \theta^0 = \delta_t + O(\epsilon^2) \text{ at fixed } t.$$

Its first step is the one of the preconditioner $P = \mathrm{diag}(1/|K\Delta_T|)$. Kept, that $P$ would give
$\epsilon\,[I - (I - \eta P K)^t]\Delta_T$, and is off to *first* order from the second step on: the denominators
remember gradients that are gone. Nothing guarantees the sign of $\Delta_T\cdot(\theta_S - \theta^0)$, neither at
the first step, where it is that of $\sum_i |\Delta_i|\,\mathrm{sign}\,\Delta_i (K\Delta_T)_i$, nor later.

References:
    Derived here. Adam's update is homogeneous of degree 0 in all its gradients and the number that it adds to their
    root mean square, so that $\delta_t/\epsilon$ doesn't depend on $\epsilon$, and it is differentiable while that
    number is positive. The student's gradient differs from the linearized one by $O(\epsilon^2)$ while $\delta =
    O(\epsilon)$, see `theory.tangent_kernel.transferred_displacement`: relative to the gradient by $O(\epsilon)$, which
    changes an update, itself $O(\epsilon)$, by $O(\epsilon^2)$. Kingma and Ba (2015), arXiv:1412.6980.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, any_visible, measure_with
from theory.predictions import natural_units
from theory.problem import Instance, Params, Problem, flatten, imitation_descent, trait_descent
from theory.runs.checks import LEAST_SEEDS, SECOND_ORDER, Check, every_case, first_case, median, share, worst_median
from theory.runs.statistics import fitted_order
from theory.tangent_kernel import kernel_product, optimize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.runs.checks import Evidence

TIMES = (1, 3, 10, 30)
"""Numbers of steps."""

SIZES = (1e-6, 1e-5, 1e-4)
r"""$\epsilon$ in natural units."""

RATE = 0.1
"""Adam's learning rate, in units of the teacher's displacement, root mean square of a parameter."""

ADDED = 0.01
"""What is added to the denominators, in units of the first gradient, root mean square of a parameter."""


class Adam(NamedTuple):
    """One instance's training by Adam, predicted and simulated."""

    distance: Float[Array, "times sizes"]
    r"""Predicted $\|\delta_t\|$."""
    error: Float[Array, "times sizes"]
    """Distance of the trained student from its predicted parameters."""
    frozen_error: Float[Array, "times sizes"]
    """Distance from those that the first step's preconditioner would give."""
    cosine: Float[Array, " times"]
    r"""Between the trained student's displacement and $\Delta_T$."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance) -> Adam:
    """Run Adam on linearized gradients and on those of a network, in the same units."""
    return train_adam(problem, instance, trait_descent(problem, instance.teacher, instance.trait_data))


def train_adam(problem: Problem, instance: Instance, direction: Params, *, whole: bool = False) -> Adam:
    """Train a student of a teacher in any direction: of small steps of it, or of the whole teacher."""
    direction, _ = ravel_pytree(direction)
    problem, instance = flatten(problem, instance)
    init, inputs = instance.teacher, instance.inputs
    units, product = natural_units(problem, instance, direction), kernel_product(problem, instance)
    rate = RATE * jnp.sqrt(jnp.mean(direction**2))
    first = jnp.abs(product(direction))
    added = jnp.where(units.visible, ADDED * jnp.sqrt(jnp.mean(first**2)), 1.0)

    train = partial(optimize, start=jnp.zeros_like(init), times=TIMES)

    def linearized(moved: jax.Array) -> jax.Array:
        return product(direction - moved)

    expected = train(optax.adam(rate, eps=added), linearized)
    expected_frozen = train(optax.sgd(rate), lambda moved: linearized(moved) / (first + added))

    def at_size(step: jax.Array) -> tuple[jax.Array, ...]:
        labels = problem.apply(init + step * direction, inputs)

        def descend(moved: jax.Array) -> jax.Array:
            return imitation_descent(problem, instance.student + moved, inputs, labels)

        moved = train(optax.adam(step * rate, eps=step * added), descend)
        lengths = [step * expected, moved - step * expected, moved - step * expected_frozen, moved]
        distance, error, frozen_error, length = jnp.linalg.norm(jnp.stack(lengths), axis=-1)
        return distance, error, frozen_error, moved @ direction / length

    steps = jnp.ones(1) if whole else jnp.array(SIZES) * units.teacher_step
    distance, error, frozen_error, aligned = jax.lax.map(at_size, steps)
    cosine = aligned[0] / jnp.linalg.norm(direction)
    return Adam(distance.T, error.T, frozen_error.T, cosine, units.visible)


def orders(quantity: str) -> Callable[[Adam], np.ndarray]:
    r"""Order of a remainder in $\epsilon$, after every number of steps but the first, in every visible instance."""
    return lambda one: fitted_order(np.array(SIZES), np.asarray(getattr(one, quantity))[one.visible, 1:])


def reversed_sign(index: int) -> Callable[[Adam], np.ndarray]:
    """Whether the student has gone against its teacher, after so many steps."""
    return lambda one: np.asarray(one.cosine)[one.visible, index] < 0


def miss(quantity: str, size: int) -> Callable[[Adam], np.ndarray]:
    """Distance from a prediction, relative to the predicted distance, after each number of steps."""
    return lambda one: np.asarray(getattr(one, quantity) / one.distance)[one.visible, :, size]


def draw(axes: "Axes", evidence: "Evidence") -> None:
    """How far the student is from what each prediction says, over the number of steps."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    one = evidence.first
    looks = [
        ("frozen_error", -1, ORANGE, "s", "the first step's preconditioner, kept"),
        ("error", -1, BLUE, "o", "Adam on linearized gradients"),
        ("error", 0, GREEN, "^", "Adam on linearized gradients"),
    ]
    for quantity, size, color, marker, label in looks:
        low, middle, high = np.quantile(miss(quantity, size)(one), (0.05, 0.5, 0.95), axis=0)
        kept = slice(quantity == "frozen_error", None)
        axes.plot(
            TIMES[kept],
            middle[kept],
            marker,
            ls="-",
            color=color,
            label=f"{label}, $\\epsilon = 10^{{{np.log10(SIZES[size]):.0f}}}$",
        )
        axes.fill_between(TIMES[kept], low[kept], high[kept], color=color, alpha=0.2, lw=0)
    axes.axhline(1, color=BLACK, lw=0.8, ls=":", label="an error as large as the student's way")
    axes.set(xscale="log", yscale="log", xlabel="steps of Adam $t$", ylim=(None, 1e6))
    axes.set_xticks(TIMES, list(map(str, TIMES)))
    axes.minorticks_off()
    axes.set_ylabel("student's distance from its prediction,\nover the length of its way")
    axes.set_title(stated("Adam is predicted by its memory, not by a preconditioner", evidence))
    axes.legend(loc="upper left", title="predicted by: median and 90 % of seeds", title_fontsize=8, alignment="left")


AFTER = f"t = {', '.join(map(str, TIMES[1:]))}"

CLAIM = Claim(
    number=9.1,
    name="adam",
    statement="Adam's student follows Adam on linearized gradients up to O(ε²); the first step's P, kept, doesn't",
    measurement=Adam,
    problems=zoo.spread,
    cases=measure_with(measure),
    checks=(
        Check(
            says=f"order of ‖θ_S − θ⁰ − δ_t‖, Adam on linearized gradients, η ∝ ε, {AFTER}, worst of {{cases}}",
            predicted="2.00",
            of=every_case(orders("error")),
            by=worst_median(2.0),
            accepted=SECOND_ORDER,
            control="the first step's preconditioner, kept",
            broken=first_case(orders("frozen_error")),
            least=LEAST_SEEDS,
        ),
        *(
            Check(
                says=f"relative distance from what the first step's preconditioner would give, t = {time}, {{cases}}",
                predicted="no guarantee",
                of=every_case(lambda one, index=index: miss("frozen_error", 0)(one)[:, index]),
                by=median,
            )
            for index, time in enumerate(TIMES)
            if index
        ),
        *(
            Check(
                says=f"share of Adam's students that go against their teacher, t = {TIMES[index]}, {{cases}}",
                predicted="no guarantee",
                of=every_case(reversed_sign(index)),
                by=share(),
            )
            for index in (0, -1)
        ),
    ),
    panels={"adam": Panel(draw=draw, shows=("distance", "error", "frozen_error", "visible"), needs=any_visible)},
)
