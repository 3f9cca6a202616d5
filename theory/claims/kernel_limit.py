r"""Claim 10.3: the share of a teacher that reaches its student in the end is what inputs explain of a Gaussian process.

Many steps of imitation have the limit $\rho_\infty = \|P\Delta_T\|^2/\|\Delta_T\|^2$, $P$ projecting on the range of
$K = \mathbb{E}[J^\top M J]$ (claim 10). In kernels instead of parameters it is

$$\rho_\infty = \frac{k_{TX} K_{XX}^+ k_{XT}}{k_{TT}}, \qquad
k_{TT} = \|\Delta_T\|^2, \quad k_{XT} = M J \Delta_T, \quad K_{XX} = M J J^\top M,$$

rows and columns running over inputs and outputs. Give the parameters the prior $\theta \sim N(\theta^0, I)$. To first
order the outputs and the trait $-L_T$ are then jointly Gaussian: their covariance is the tangent kernel, and the
trait's own gradient is $\Delta_T$, so that $k_{TT}$ is its prior variance, $k_{XT}$ its covariance with what the
student sees of the outputs. $\rho_\infty$ is *the share of the trait's variance that the inputs explain*, and
$1 - \rho_\infty$ what remains of it in the posterior. It is known before any teacher is trained.

The sizes of the weights $M$ drop out: $M^{1/2}$, as it stands in $K$, or any other with the same null space gives the
same. In the limit it doesn't matter how much a probability weighs, only what imitation doesn't see at all.

References:
    Derived here. With $\Phi = MJ$, $P = \Phi^\top(\Phi\Phi^\top)^+\Phi$, as $J^\top M$, $J^\top M^{1/2}$ and
    $K$ have the same range. The posterior variance of $\Delta_T\cdot\theta$ given $\Phi\theta$ is $\Delta_T^\top(I -
    P)\Delta_T$. Rasmussen and Williams (2006), Gaussian processes for machine learning, equation 2.24. Students are
    trained with momentum, which leaves the limit alone (claim 10.4).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, any_visible, measure_with
from theory.losses import Scalar
from theory.predictions import label_response, natural_units
from theory.problem import (
    BatchOutputs,
    Inputs,
    Instance,
    Problem,
    flatten,
    imitation_descent,
    own_key,
    repeat_inputs,
    trait_descent,
)
from theory.runs.checks import NEAR_ONE, Check, Evidence, every, every_case, first_case
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import optimize, transfer_fraction, transfer_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_INPUTS = (1, 2, 4)
"""On how many different inputs the student imitates."""

CONDITION, NUM_STEPS = 1e3, 300
r"""Largest over smallest eigenvalue of $K$ for which the momentum is best, and steps of training."""

NUM_PRODUCTS = 26
"""Lanczos's products with the kernel: more than it has directions."""

FOREVER = 10**6
"""Steps after which Lanczos's polynomial has its limit; more would add up the rounding of its null directions."""

NEGLIGIBLE = 1e-11
"""Eigenvalues of the Gram matrix below this share of the largest are null directions of $M$."""

SMALL_STEP = 1e-7
"""The teacher's natural step: small even for inputs that see next to nothing of the trait."""


class Kernel(NamedTuple):
    """The tangent kernel on inputs and trait."""

    inputs: Float[Array, "*seeds rows rows"]
    """$K_{XX}$, rows for each output of each input."""
    across: Float[Array, "*seeds rows"]
    """$k_{XT}$."""
    trait: Float[Array, "*seeds"]
    """$k_{TT}$."""


class KernelSource(NamedTuple):
    """What a program computes of an instance, for NumPy to decompose."""

    own: Kernel
    """At the shared init."""
    another_init: Kernel
    """At another init, with the gradient of the trait there."""
    another_teacher: Kernel
    """At the shared init, for another teacher."""
    lanczos: Float[Array, " num_inputs"]
    """Limit of the transfer fraction without any kernel matrix."""
    trained: Float[Array, " num_inputs"]
    r"""$\Delta_T\cdot(\theta_S - \theta^0)/\epsilon\|\Delta_T\|^2$ of a student trained to convergence."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


AGREEMENT = 1e-6
"""What rounding may leave of an inverse; chosen after 1e-7 was seen."""


class KernelLimit(NamedTuple):
    """Transfer fractions in the limit, over numbers of inputs."""

    explained: Float[Array | np.ndarray, "*seeds num_inputs"]
    """Share of the trait's variance that the inputs explain."""
    another_init: Float[Array | np.ndarray, "*seeds num_inputs"]
    """The same by the kernel of another init."""
    another_teacher: Float[Array | np.ndarray, "*seeds num_inputs"]
    """The same of another teacher's trait."""
    lanczos: Float[Array, " num_inputs"]
    """Limit of the transfer fraction without any kernel matrix."""
    trained: Float[Array, " num_inputs"]
    """What a student has that was trained to convergence."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def tangent_kernel(problem: Problem, params: Array, inputs: Inputs, direction: Array) -> Kernel:
    """Covariances of the trait and of what imitation sees of the outputs; parameters as one vector."""
    outputs, jacobian = problem.apply(params, inputs), jax.jacrev(problem.apply)(params, inputs)
    respond = jax.vmap(label_response, in_axes=(None, None, None, 1), out_axes=1)
    seen = jax.vmap(respond, in_axes=(None, 0, 0, 0))(problem.imitation_loss, outputs, outputs, jacobian)
    features = seen.reshape(-1, params.size)
    return Kernel(features @ features.T, features @ direction, direction @ direction)


def train(problem: Problem, instance: Instance, labels: BatchOutputs, largest: Scalar) -> Array:
    """Train a student on fixed labels, with the momentum that suits a spectrum of `CONDITION`, until nothing moves."""
    root = np.sqrt(CONDITION)
    optimizer = optax.sgd(4 / (largest * (1 + 1 / root) ** 2), momentum=((root - 1) / (root + 1)) ** 2)

    def descend(params: Array) -> Array:
        return imitation_descent(problem, params, instance.inputs, labels)

    (trained,) = optimize(optimizer, descend, instance.student, (NUM_STEPS,))
    return trained - instance.student


def measure(problem: Problem, drawn: Instance) -> KernelSource:
    """Compute the kernels on all inputs, then train a student on each number of them."""
    problem, drawn = flatten(problem, drawn._replace(inputs=drawn.inputs[: max(NUM_INPUTS)]))

    def kernel(params: Array, data: Any) -> Kernel:
        return tangent_kernel(problem, params, drawn.inputs, trait_descent(problem, params, data))

    direction = trait_descent(problem, drawn.teacher, drawn.trait_data)
    shared = drawn._replace(student=drawn.teacher)

    def on_inputs(num_inputs: jax.Array) -> tuple[Scalar, Scalar]:
        instance = repeat_inputs(shared, num_inputs)
        units = natural_units(problem, instance, direction)
        spectrum = transfer_spectrum(problem, instance, direction, NUM_PRODUCTS)
        largest = jnp.where(units.visible, spectrum.largest, 1.0)
        limit = transfer_fraction(spectrum, 1 / largest, jnp.array(FOREVER))
        step = SMALL_STEP * units.teacher_step
        labels = problem.apply(instance.teacher + step * direction, instance.inputs)
        moved = train(problem, instance, labels, largest)
        return limit, moved @ direction / (step * direction @ direction)

    lanczos, trained = jax.lax.map(on_inputs, jnp.array(NUM_INPUTS))
    return KernelSource(
        own=kernel(drawn.teacher, drawn.trait_data),
        another_init=kernel(drawn.student, drawn.trait_data),
        another_teacher=kernel(drawn.teacher, problem.draw_trait_data(own_key(drawn.key))),
        lanczos=lanczos,
        trained=trained,
        visible=natural_units(problem, shared, direction).visible,
    )


def explained_share(kernel: Kernel) -> Float[np.ndarray, "num_seeds num_inputs"]:
    r"""$k_{TX} K_{XX}^+ k_{XT} / k_{TT}$ on the first few inputs, for every number of them."""
    inputs, across, trait = map(np.asarray, kernel)
    num_outputs = across.shape[-1] // max(NUM_INPUTS)
    shares = []
    for number in NUM_INPUTS:
        seen = slice(number * num_outputs)
        inverse = np.linalg.pinv(inputs[:, seen, seen], rcond=NEGLIGIBLE, hermitian=True)
        shares.append(np.einsum("si,sij,sj->s", across[:, seen], inverse, across[:, seen]) / trait)
    return np.stack(shares, axis=-1)


def keep(source: KernelSource) -> KernelLimit:
    """Invert the kernels."""
    return KernelLimit(
        explained=explained_share(source.own),
        another_init=explained_share(source.another_init),
        another_teacher=explained_share(source.another_teacher),
        lanczos=source.lanczos,
        trained=source.trained,
        visible=source.visible,
    )


def ratio(measured: str, predicted: str = "explained") -> Callable[[KernelLimit], np.ndarray]:
    """Measured over predicted share, in every visible instance and for every number of inputs."""
    return lambda one: (np.asarray(getattr(one, measured)) / np.asarray(getattr(one, predicted)))[one.visible]


def excess(predicted: str) -> Callable[[KernelLimit], np.ndarray]:
    """Size of Lanczos's limit over the kernel's, less 1."""
    return lambda one: np.abs(ratio("lanczos", predicted)(one) - 1)


def draw(axes: "Axes", evidence: Evidence) -> None:
    """What trained students have of their teachers over what the kernel says, in the first case."""
    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, stated

    one = evidence.first
    for index, (number, color, marker) in enumerate(zip(NUM_INPUTS, (ORANGE, GREEN, BLUE), "^so", strict=True)):
        trained = one.trained[one.visible, index]
        axes.plot(one.another_init[one.visible, index], trained, "x", color=GRAY, ms=2, mew=0.5, zorder=1)
        label = f"{number} input{'s' if number > 1 else ''}"
        look = {"color": color, "mfc": "none", "ms": 3, "mew": 0.6, "label": label, "zorder": 2}
        axes.plot(one.explained[one.visible, index], trained, marker, **look)
    axes.plot([], [], "x", color=GRAY, ms=4, label="by the kernel of another init")
    axes.plot([0, 1], [0, 1], color=BLACK, lw=0.9, label="equal, nothing fitted", zorder=3)
    axes.set(xlim=(0, 0.9), ylim=(0, 0.9))
    axes.set_xlabel("share of the trait's variance that the inputs explain, $k_{TX}K_{XX}^+k_{XT}/k_{TT}$")
    axes.set_ylabel("share of the teacher in a student trained to convergence")
    axes.set_title(stated("The limit of the transfer is what inputs explain of the trait", evidence))
    axes.legend(loc="upper left")


ON_INPUTS = f"{', '.join(map(str, NUM_INPUTS))} inputs"

CLAIM = Claim(
    number=10.3,
    name="kernel-limit",
    statement="the limit of the transfer is k_TX K_XX⁺ k_XT / k_TT: the share of the trait that the inputs explain",
    measurement=KernelLimit,
    problems=zoo.spread,
    cases=measure_with(measure, shared=False),
    keep=keep,
    checks=(
        Check(
            says=f"size of ρ_∞ by Lanczos over k_TX K_XX⁺ k_XT / k_TT, less 1, every instance, {ON_INPUTS}, {{cases}}",
            predicted="0 (rounding)",
            of=every_case(excess("explained")),
            by=every,
            accepted=Accepted(low=0.0, high=AGREEMENT),
            control="kernel of another init",
            broken=first_case(excess("another_init")),
        ),
        Check(
            says=f"Δ_T·(θ_S − θ⁰)/ε‖Δ_T‖² after {NUM_STEPS} steps over the share explained, {ON_INPUTS}, {{cases}}",
            predicted="→ 1",
            of=every_case(ratio("trained")),
            by=every,
            accepted=NEAR_ONE,
            control="another teacher's trait",
            broken=first_case(ratio("trained", "another_teacher")),
        ),
    ),
    panels={
        "kernel-limit": Panel(draw=draw, shows=("explained", "another_init", "trained", "visible"), needs=any_visible)
    },
)
