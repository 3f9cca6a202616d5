r"""Claim 10.4: momentum and weight decay: how they bend the student's course, and what share of its teacher remains.

With momentum $\beta$ and decay $w$ towards $c$ the student takes the steps

$$\theta^+ = \theta - \eta\,[\nabla L_S(\theta) + w(\theta - c)] + \beta(\theta - \theta^-).$$

*Towards the init*, $c = \theta^0$: with a shared init the displacement $\delta = \theta - \theta^0$ follows, up to
$O(\epsilon^2)$ at a fixed number of steps,

$$\delta^+ = \delta + \eta\,[K(\epsilon\Delta_T - \delta) - w\delta] + \beta(\delta - \delta^-), \qquad
\frac{\delta_t\cdot\Delta_T}{\epsilon\|\Delta_T\|^2} \to \frac{\sum_i a_i^2\lambda_i/(\lambda_i + w)}{\sum_i a_i^2}$$

in the eigenbasis of $K$: momentum leaves the limit alone, decay lets only through what is seen by more than $w$. It
converges for every teacher if and only if $\eta(\lambda_{max} + w) < 2(1 + \beta)$.

*Towards zero*, $c = 0$, as is usual: the student drifts whatever its teacher learned. What the student of a teacher
that learned nothing does must be subtracted, and then the same holds up to $O(\epsilon^2 + \epsilon w)$. A decay that
is not small soon takes the student to where another kernel rules: nothing is guaranteed.

References:
    Derived here. The gradient at $\theta^0 + \delta$ on the teacher's labels is $-K(\epsilon\Delta_T - \delta)$ up to
    second order in both, see `theory.tangent_kernel.transferred_displacement`. For $c = \theta^0$ that is all.
    Component $i$ has the fixed point $\epsilon a_i\lambda_i/(\lambda_i + w)$, and its distance from there is a sum of
    powers of the roots of $x^2 - (1 + \beta - h)x + \beta$, $h = \eta(\lambda_i + w)$. Both are inside the unit circle
    if and only if $\beta < 1$ and $|1 + \beta - h| < 1 + \beta$ (Jury's conditions): $0 < h < 2(1 + \beta)$. For $c =
    0$ there is the term $-\eta w\theta^0$ in every step. It moves both students by $O(w)$ alike; their difference sees
    the kernel change by $O(w)$, and so changes by $O(\epsilon w)$. Polyak (1964) for heavy balls; Li et al. (2018),
    arXiv:1802.01483, for decay towards the init.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, any_visible, measure_with
from theory.predictions import natural_units
from theory.problem import Instance, Problem, flatten, imitation_descent, trait_descent
from theory.runs.checks import LEAST_SEEDS, NEAR_ONE, SECOND_ORDER, Check, every, every_case, first_case, worst_median
from theory.runs.statistics import fitted_order
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import iterate, kernel_product, optimize, transfer_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.runs.checks import Evidence

MOMENTUM = 0.5
r"""$\beta$."""

DECAY = 0.1
r"""$w$, in units of $\lambda_{max}$."""

TIMES = (1, 3, 10, 20, 30)
"""Numbers of steps."""

SIZES = (1e-5, 1e-4, 1e-3)
r"""$\epsilon$ in natural units; and where the decay is small, $w$ in units of $\lambda_{max}$ as well."""

NUM_PRODUCTS = 16
"""Lanczos's products with the kernel."""

EDGES = (0.98, 1.02)
r"""Learning rates $\eta(\lambda_{max} + w)$, in units of $2(1 + \beta)$."""

EARLIER = 2
"""At the edges the last time is compared with this one."""


class Momentum(NamedTuple):
    """One instance's training with momentum and decay, predicted and simulated."""

    error: Float[Array, "times sizes"]
    """Distance of the trained student from its predicted parameters, decay towards the init."""
    drifted: Float[Array, "times sizes"]
    """The same if its decay pulls it towards zero."""
    small_error: Float[Array, "times sizes"]
    r"""Towards zero by $w = \epsilon\lambda_{max}$, the student of a teacher that learned nothing subtracted."""
    small_raw: Float[Array, "times sizes"]
    """The same with nothing subtracted."""
    predicted: Float[Array, " times"]
    r"""Predicted $\delta_t\cdot\Delta_T/\epsilon\|\Delta_T\|^2$, decay towards the init."""
    predicted_plain: Float[Array, " times"]
    """The same without decay."""
    trained: Float[Array, " times"]
    """In real training, decay towards the init."""
    trained_plain: Float[Array, " times"]
    """In real training without decay."""
    trained_zero: Float[Array, " times"]
    """In real training, decay towards zero, the student of a teacher that learned nothing subtracted."""
    limit: Float[Array, ""]
    r"""$\sum a^2\lambda/(\lambda + w) / \sum a^2$."""
    rest: Float[Array, " edges"]
    """Distance from the limit at the last time over that at an earlier one, teacher along the top eigenvector."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance) -> Momentum:
    """Predict the course of training from products with the kernel, then train all students in one program."""
    problem, instance = flatten(problem, instance)
    init, inputs = instance.teacher, instance.inputs
    direction = trait_descent(problem, init, instance.trait_data)
    units = natural_units(problem, instance, direction)
    spectrum = transfer_spectrum(problem, instance, direction, NUM_PRODUCTS)
    largest = jnp.where(units.visible, spectrum.largest, 1.0)
    rate, decay = 1 / largest, DECAY * largest
    product = kernel_product(problem, instance)

    def expect(decay: jax.Array) -> jax.Array:
        def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            moved, before = state
            pull = product(direction - moved) - decay * moved
            return moved + rate * pull + MOMENTUM * (moved - before), moved

        return iterate(step, (jnp.zeros_like(init), jnp.zeros_like(init)), TIMES)[0]

    def train(teacher: jax.Array, rate: jax.Array, decay: jax.Array, center: jax.Array) -> jax.Array:
        labels = problem.apply(teacher, inputs)
        optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, MOMENTUM))

        def descend(off_center: jax.Array) -> jax.Array:
            return imitation_descent(problem, center + off_center, inputs, labels)

        start = init - center
        return optimize(optimizer, descend, start, TIMES) - start[None]

    steps, small = jnp.array(SIZES) * units.teacher_step, jnp.array(SIZES) * largest
    top_step = SIZES[0] * natural_units(problem, instance, spectrum.top).teacher_step
    edges = jnp.array(EDGES) * 2 * (1 + MOMENTUM) / (largest + decay)
    learned, zero = init[None] + jnp.outer(steps, direction), jnp.zeros_like(init)
    groups = (
        (learned, rate, decay, init),
        (learned, rate, decay, zero),
        (init[None], rate, decay, zero),
        (learned, rate, small, zero),
        (jnp.tile(init, (len(SIZES), 1)), rate, small, zero),
        (learned[:1], rate, 0 * decay, init),
        (jnp.tile(init + top_step * spectrum.top, (len(EDGES), 1)), edges, decay, init),
    )
    students = [
        jnp.concatenate([jnp.broadcast_to(group[part], (len(group[0]), *shape)) for group in groups])
        for part, shape in enumerate((init.shape, (), (), init.shape))
    ]
    moved = jax.lax.map(lambda student: train(*student), tuple(students))
    ends = np.cumsum([len(group[0]) for group in groups])
    attached, drifting, base, slow, slow_base, plain, edge = jnp.split(moved, ends[:-1])

    expected, undecayed = jax.lax.map(expect, jnp.stack([decay, 0 * decay]))
    square = direction @ direction

    def missed(moved: jax.Array, predicted: jax.Array) -> jax.Array:
        return jnp.linalg.norm(moved - steps[:, None, None] * predicted[None], axis=-1).T

    def share(moved: jax.Array) -> jax.Array:
        return moved @ direction / square

    rest = edge @ spectrum.top / top_step - largest / (largest + decay)
    return Momentum(
        error=missed(attached, expected),
        drifted=missed(drifting, expected),
        small_error=missed(slow - slow_base, undecayed),
        small_raw=missed(slow, undecayed),
        predicted=share(expected),
        predicted_plain=share(undecayed),
        trained=share(attached[0]) / steps[0],
        trained_plain=share(plain[0]) / steps[0],
        trained_zero=share(drifting[0] - base[0]) / steps[0],
        limit=limiting_share(spectrum.matrix, decay),
        rest=rest[:, -1] / rest[:, EARLIER],
        visible=units.visible,
    )


def limiting_share(matrix: Float[Array, "products products"], decay: Float[Array, ""]) -> Float[Array, ""]:
    r"""$\sum a^2\lambda/(\lambda + w) / \sum a^2$ in the Krylov space of the kernel, by plain iteration."""
    damped, start = matrix + decay * jnp.eye(len(matrix)), jnp.eye(len(matrix))[0]
    rate = DECAY / (1 + DECAY) / decay
    (solution,) = iterate(lambda moved: moved + rate * (start - damped @ moved), jnp.zeros_like(start), (300,))
    return matrix[0] @ solution


def orders(quantity: str) -> Callable[[Momentum], np.ndarray]:
    r"""Order of a remainder in $\epsilon$, at every time, in every visible instance."""
    return lambda one: fitted_order(np.array(SIZES), np.asarray(getattr(one, quantity))[one.visible])


def ratio(trained: str, predicted: str) -> Callable[[Momentum], np.ndarray]:
    """Trained over predicted share of the teacher, in every instance and at every time."""
    return lambda one: np.asarray(getattr(one, trained) / getattr(one, predicted))[one.visible]


def limiting_ratio(trained: str) -> Callable[[Momentum], np.ndarray]:
    """Trained share of the teacher at the last time over the predicted limit, in every instance."""
    return lambda one: np.asarray(getattr(one, trained)[:, -1] / one.limit)[one.visible]


def rest(index: int) -> Callable[[Momentum], np.ndarray]:
    """How the distance from the limit grew at an edge of the learning rate, in every instance."""
    return lambda one: np.asarray(one.rest)[one.visible, index]


def predicted_rest(edge: float) -> float:
    """The same by the recursion of a single component."""
    now, before, rests = 1.0, 1.0, []
    for _ in range(TIMES[-1]):
        now, before = now - edge * 2 * (1 + MOMENTUM) * now + MOMENTUM * (now - before), now
        rests.append(now)
    return rests[-1] / rests[TIMES[EARLIER] - 1]


def draw(axes: "Axes", evidence: "Evidence") -> None:
    """The student's share of its teacher over the steps, with and without decay."""
    from theory.runs.style import BLACK, BLUE, GREEN, ORANGE, stated

    one, times = evidence.first, np.array(TIMES)

    def mean(values: np.ndarray) -> np.ndarray | np.floating:
        return np.mean(values[one.visible], axis=0)

    axes.plot(times, mean(one.predicted), color=BLACK, label="predicted", zorder=1)
    axes.plot(times, mean(one.predicted_plain), color=BLACK, zorder=1)
    axes.axhline(
        float(mean(one.limit)), color=BLACK, lw=0.9, ls=":", label=r"limit $\sum a^2\lambda/(\lambda+w)\,/\sum a^2$"
    )
    axes.plot(times, mean(one.trained_plain), "s", color=ORANGE, label="trained, no decay")
    axes.plot(times, mean(one.trained), "o", color=BLUE, label="trained, decay towards the init")
    label = "trained, decay towards zero: less the $\\epsilon = 0$ student"
    axes.plot(times, mean(one.trained_zero), "^", color=GREEN, mfc="none", label=label)
    axes.set(xscale="log", xlabel=f"gradient steps $t$, momentum {MOMENTUM:g}", ylim=(0, 1))
    axes.set_xticks(times, list(map(str, times)))
    axes.minorticks_off()
    axes.set_ylabel("share of the teacher transferred (mean)")
    axes.set_title(stated("Weight decay $w$ lets through what is seen by more than $w$", evidence))
    axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.16), ncols=2)


AFTER, LAST = f"t = {', '.join(map(str, TIMES))}", TIMES[-1]

CLAIM = Claim(
    number=10.4,
    name="momentum",
    statement="momentum leaves the limit alone, decay w leaves Σa²λ/(λ + w)/Σa²; stable below η(λ + w) = 2(1 + β)",
    measurement=Momentum,
    problems=zoo.spread,
    cases=measure_with(measure),
    checks=(
        Check(
            says=f"order of ‖θ_S − θ⁰ − δ_t‖, decay w = {DECAY:g} λ_max towards the init, {AFTER}, worst of {{cases}}",
            predicted="2.00",
            of=every_case(orders("error")),
            by=worst_median(2.0),
            accepted=SECOND_ORDER,
            control="decay towards zero",
            broken=first_case(orders("drifted")),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"order of ‖θ_S − θ_S(ε = 0) − δ_t‖, decay w = ελ_max towards zero, {AFTER}, worst of {{cases}}",
            predicted="2.00",
            of=every_case(orders("small_error")),
            by=worst_median(2.0),
            accepted=SECOND_ORDER,
            control="nothing subtracted",
            broken=first_case(orders("small_raw")),
            least=LEAST_SEEDS,
        ),
        Check(
            says=f"Δ_T·(θ_S − θ⁰) / Δ_T·δ_t at the smallest ε, decay towards the init, {AFTER}, {{cases}}",
            predicted="→ 1",
            of=every_case(ratio("trained", "predicted")),
            by=every,
            accepted=NEAR_ONE,
            control="no decay",
            broken=first_case(ratio("trained_plain", "predicted")),
        ),
        Check(
            says=f"Δ_T·(θ_S − θ⁰) / εΣa²λ/(λ + w) after {LAST} steps, decay towards the init, {{cases}}",
            predicted="→ 1",
            of=every_case(limiting_ratio("trained")),
            by=every,
            accepted=NEAR_ONE,
            control="no decay",
            broken=first_case(limiting_ratio("trained_plain")),
        ),
        Check(
            says=f"Δ_T along the top eigenvector, η(λ_max + w) = {EDGES[0]} · 2(1 + β): distance from the limit "
            f"after {LAST} steps over that after {TIMES[EARLIER]}, {{cases}}",
            predicted=f"{predicted_rest(EDGES[0]):.3f}",
            of=every_case(rest(0)),
            by=every,
            accepted=Accepted(low=0.9 * predicted_rest(EDGES[0]), high=1.1 * predicted_rest(EDGES[0])),
            control=f"{EDGES[1]} · 2(1 + β)",
            broken=every_case(rest(1)),
        ),
        Check(
            says=f"share of the teacher over predicted, w = {DECAY:g} λ_max towards zero, ε = 0 student subtracted, "
            f"{AFTER}, {{cases}}",
            predicted="no guarantee",
            of=every_case(ratio("trained_zero", "predicted")),
            by=every,
        ),
    ),
    panels={
        "momentum": Panel(
            draw=draw,
            shows=("predicted", "predicted_plain", "limit", "trained", "trained_plain", "trained_zero", "visible"),
            needs=any_visible,
        )
    },
)
