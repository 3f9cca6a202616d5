r"""Claim 10: many steps of imitation take the student towards the teacher as far as the tangent kernel reaches.

With a shared initialization, the teacher's outputs fixed and any imitation loss of the theorem's class, $t$ gradient
steps of size $\eta$ give, for networks of any width,

$$\theta_S - \theta^0 = \epsilon\,[I - (I - \eta K)^t]\,\Delta_T + O(\epsilon^2)\quad\text{at fixed } t, \qquad
\Delta_T\cdot(\theta_S - \theta^0) = \epsilon\,\rho_t\,\|\Delta_T\|^2 + O(\epsilon^2).$$

In the eigenbasis of $K$ step $t + 1$ adds $\eta\lambda_i (1 - \eta\lambda_i)^t$ times the teacher's share. So the
alignment grows at every step for *every* teacher if and only if $\eta\lambda_{max} \le 1$, and stays positive and
converges for every visible one below $\eta\lambda_{max} = 2$. A teacher displaced along the top eigenvector makes both
edges sharp: after two steps its student has $2 - \eta\lambda_{max}$ times the alignment that it had after one.

References:
    Derived here, see `theory.tangent_kernel`. Kitkana and Arora (2026), arXiv:2604.25779, find the alignment of the
    instantaneous gradients weakly but consistently positive throughout training, and causal for the transfer. To first
    order it is $\epsilon\,\Delta_T^\top K (I - \eta K)^t \Delta_T$: not negative for $\eta\lambda_{max} \le 1$, and
    fading.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, fitted_steps, measure_with
from theory.experiments import experiment
from theory.losses import Scalar
from theory.predictions import natural_units
from theory.problem import Instance, Problem, inner_product, trait_descent
from theory.runs.checks import CONTROL, NEAR_ONE, Check, Comparison, case, every, every_case, second_order
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import (
    TransferSpectrum,
    train_student,
    transfer_fraction,
    transfer_spectrum,
    transferred_displacement,
)

TIMES = (1, 5, 30)
"""Numbers of gradient steps."""

NUM_PRODUCTS = 16
"""Lanczos's products with the kernel: enough for 30 steps, to 1e-6."""

EDGES = (0.95, 1.05, 1.95, 2.05)
r"""Learning rates $\eta\lambda_{max}$ just inside and just outside of steady growth, and of stability."""


ANOTHER_INIT = "another init"
"""The control: a student that does not share the teacher's init."""


class ManySteps(NamedTuple):
    """One instance's training, predicted and simulated."""

    predicted: Float[Array, " times"]
    r"""$\Delta_T\cdot(\theta_S - \theta^0)$ to first order, at the smallest $\epsilon$."""
    measured: Float[Array, " times"]
    """The same in real training."""
    distance: Float[Array, " times"]
    r"""$\epsilon\,\|[I - (I - \eta K)^t]\Delta_T\|$ at the smallest $\epsilon$."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$ over the smallest, the same in every instance."""
    error: Float[Array, "times teacher_steps"]
    """Distance of the trained student from its predicted parameters."""
    second_step: Float[Array, " edges"]
    """Alignment after two steps over that after one, teacher along the top eigenvector."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""


def measure(problem: Problem, instance: Instance, *, teacher_steps: Sequence[float]) -> ManySteps:
    """Predict the course of training from products with the kernel, as if the init were shared, then train."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps = jnp.array(teacher_steps) * units.teacher_step
    spectrum = transfer_spectrum(problem, instance, direction, NUM_PRODUCTS)
    rate = jnp.where(units.visible, 1 / spectrum.largest, 1.0)
    fraction = transfer_fraction(spectrum, rate, jnp.array(TIMES))
    expected = transferred_displacement(problem, instance, direction, rate, TIMES)

    def simulate(teacher_step: Scalar) -> tuple[Float[Array, " times"], Float[Array, " times"]]:
        labels = problem.apply(optax.tree.add_scale(instance.teacher, teacher_step, direction), instance.inputs)
        moved = train_student(problem, instance, labels, rate, TIMES)
        missed = optax.tree.add_scale(moved, -teacher_step, expected)
        return jax.vmap(inner_product, (0, None))(moved, direction), jax.vmap(optax.tree.norm)(missed)

    measured, error = jax.vmap(simulate, out_axes=1)(steps)
    predicted = fraction * inner_product(direction, direction)
    distance = jax.vmap(optax.tree.norm)(expected)
    second_step = measure_edges(problem, instance, spectrum, teacher_steps[0])
    return ManySteps(
        predicted=predicted * steps[0],
        measured=measured[:, 0],
        distance=distance * steps[0],
        steps=jnp.array(teacher_steps) / teacher_steps[0],
        error=error,
        second_step=second_step,
        visible=units.visible,
    )


def measure_edges(
    problem: Problem, instance: Instance, spectrum: TransferSpectrum, teacher_step: float
) -> Float[Array, " edges"]:
    r"""Alignment after two steps over that after one, $2 - \eta\lambda_{max}$ to first order.

    The teacher moved along the top eigenvector of the kernel.
    """
    step = teacher_step * natural_units(problem, instance, spectrum.top).teacher_step
    labels = problem.apply(optax.tree.add_scale(instance.teacher, step, spectrum.top), instance.inputs)

    def ratio(edge: Scalar) -> Scalar:
        moved = train_student(problem, instance, labels, edge / spectrum.largest, (1, 2))
        first, second = jax.vmap(inner_product, (0, None))(moved, spectrum.top)
        return second / first

    return jax.vmap(ratio)(jnp.array(EDGES))


def parameters(one: ManySteps) -> Comparison:
    r"""How far the student went beside $\epsilon\,\|[I - (I - \eta K)^t]\Delta_T\|$, plus what it missed."""
    distance = one.distance[..., None] * one.steps[:, None]
    return Comparison(*map(np.asarray, (distance, distance + one.error, one.visible)))


def ratio(one: ManySteps) -> np.ndarray:
    r"""$\Delta_T\cdot(\theta_S - \theta^0) / \epsilon\rho_t\|\Delta_T\|^2$ at the smallest $\epsilon$."""
    return np.asarray(one.measured / one.predicted)[one.visible]


def check_edge(says: str, inside: int, shift: float) -> Check:
    """Hold the second step's effect just inside an edge of the learning rate against that just outside."""

    def second_step(index: int) -> Callable[[ManySteps], np.ndarray]:
        return lambda one: np.asarray(one.second_step)[one.visible, index] - shift

    return Check(
        says=f"Δ_T along the top eigenvector, ηλ_max = {EDGES[inside]}: {says}, relative to step 1",
        predicted=f"{2 - shift:g} − ηλ_max = {2 - shift - EDGES[inside]:.2f}",
        of=every_case(second_step(inside)),
        by=every,
        accepted=Accepted(low=0.0, high=2.0 - shift),
        control=f"ηλ_max = {EDGES[inside + 1]}",
        broken=every_case(second_step(inside + 1)),
    )


AFTER = f"t = {', '.join(map(str, TIMES))}"
"""After how many steps, in the words of the checks."""

CLAIM = Claim(
    number=10,
    name="many-steps",
    statement="t steps carry over ε[I − (I − ηK)ᵗ]Δ_T + O(ε²): growing for ηλ_max ≤ 1, positive below 2",
    measurement=ManySteps,
    problems=zoo.spread,
    cases=measure_with(
        measure, fitted_steps, lambda problem: {ANOTHER_INIT: partial(experiment, problem, measure, shared=False)}
    ),
    checks=(
        *second_order(
            f"‖θ_S − θ⁰ − ε[I − (I − ηK)ᵗ]Δ_T‖, {AFTER}",
            of=every_case(parameters),
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", parameters),
            optional=True,
        ),
        Check(
            says=f"Δ_T·(θ_S − θ⁰) / ερ_t‖Δ_T‖² at the smallest ε, {AFTER}, ηλ_max = 1, {{cases}}",
            predicted="→ 1",
            of=every_case(ratio),
            by=every,
            accepted=NEAR_ONE,
            control="student from another init",
            broken=case(f"{CONTROL}{ANOTHER_INIT}", ratio),
        ),
        check_edge("growth of the alignment in step 2", 0, 1.0),
        check_edge("alignment after 2 steps", 2, 0.0),
    ),
)
