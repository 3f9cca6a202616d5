r"""One step of the teacher and one of the student, simulated once for both statements about it (claims 1 and 2)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from theory import losses, zoo
from theory.claim import measure_with, steps_and_rates
from theory.experiments import experiment
from theory.losses import Scalar
from theory.predictions import natural_units, transfer_form
from theory.problem import Instance, Problem, inner_product, trait_descent
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling

PROBES = (1.1, 1.2, 1.3)
"""Steps beside the smallest, in its units: from one to the next any power bends too little to pass for rounding."""


class OneStep(NamedTuple):
    """What one step of the teacher and one of the student did in one instance, and what decides it."""

    curvature: Float[Array, ""]
    r"""$A = \Delta_T^\top K \Delta_T$ in closed form."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$: the natural step sizes times this instance's unit."""
    rates: Float[Array, " learning_rates"]
    r"""$\alpha$: the natural step sizes times this instance's unit."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""
    alignment: Float[Array, " teacher_steps"]
    r"""$\Delta_S(\epsilon)\cdot\Delta_T$, simulated."""
    change: Float[Array, "teacher_steps learning_rates"]
    r"""$g = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0)$."""
    alignment_rounding: Float[ArrayLike, ""] = 0.0
    """Rounding of the alignment, if it was measured."""
    change_rounding: Float[ArrayLike, " learning_rates"] = 0.0
    """Rounding of the change likewise."""


def measure(
    problem: Problem,
    instance: Instance,
    *,
    teacher_steps: Sequence[float],
    learning_rates: Sequence[float],
    steps_at_once: int | None = None,
) -> OneStep:
    r"""Find $A$ in closed form, then simulate both steps for every $\epsilon$ and $\alpha$.

    The student starts from one place whatever its teacher did, so its outputs there are computed once and
    $\Delta_S(\epsilon) = -J_S^\top \nabla_z L_S(z, y^\epsilon)$ is one pull-back for each $\epsilon$. The loop over
    $\epsilon$ is what keeps everything else out of it: without one, XLA fuses the draw of the weights into the
    teacher's step and draws them anew for each $\epsilon$. One step at a time compiles fastest; `steps_at_once` of
    them are simulated side by side. All sizes are in natural units.
    """
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    curvature = transfer_form(problem, instance._replace(student=instance.teacher), direction, direction)
    units = natural_units(problem, instance, direction)
    steps, rates = jnp.array(teacher_steps) * units.teacher_step, jnp.array(learning_rates) * units.learning_rate
    outputs, pull_back = jax.vjp(lambda params: problem.apply(params, instance.inputs), instance.student)
    before = problem.trait_loss(instance.student, instance.trait_data)

    def simulate(step: Scalar) -> tuple[Scalar, Float[Array, " learning_rates"]]:
        labels = problem.apply(optax.tree.add_scale(instance.teacher, step, direction), instance.inputs)
        slopes = jax.grad(lambda outputs: jnp.mean(jax.vmap(problem.imitation_loss)(outputs, labels)))(outputs)
        (displacement,) = pull_back(-slopes)

        def change(rate: Scalar) -> Scalar:
            student = optax.tree.add_scale(instance.student, rate, displacement)
            return problem.trait_loss(student, instance.trait_data) - before

        return inner_product(displacement, direction), jax.vmap(change)(rates)

    simulated = jax.lax.map(simulate, steps, batch_size=steps_at_once)
    return OneStep(curvature, steps, rates, units.visible, *simulated)


def measure_with_rounding(
    problem: Problem, instance: Instance, *, teacher_steps: Sequence[float], **options: Any
) -> OneStep:
    """Measure the rounding, too: second differences of what is simulated close to the smallest step, the first."""
    probes = [factor * teacher_steps[0] for factor in PROBES]
    whole = measure(problem, instance, teacher_steps=(*teacher_steps, *probes), **options)
    num_steps = len(teacher_steps)
    places = jnp.array([0, *range(num_steps, num_steps + len(probes))])

    def rounding(values: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(jnp.diff(values[places], 2, axis=0)), axis=0)

    kept = {name: getattr(whole, name)[:num_steps] for name in ("steps", "alignment", "change")}
    return whole._replace(**kept, alignment_rounding=rounding(whole.alignment), change_rounding=rounding(whole.change))


ANOTHER_INIT, STRETCHED_LOSS = "another init", "stretched loss"
"""The controls: a student that does not share the teacher's init, and a loss whose minimum is elsewhere."""


def broken(problem: Problem) -> dict[str, Callable[..., Experiment]]:
    """Break each assumption of claims 1 and 2."""
    outside = replace(problem, imitation_loss=losses.stretched(problem.imitation_loss))
    return {
        ANOTHER_INIT: partial(experiment, problem, measure_with_rounding, shared=False),
        STRETCHED_LOSS: partial(experiment, outside, measure_with_rounding),
    }


CASES = measure_with(measure_with_rounding, steps_and_rates, broken)
"""What claims 1 and 2 look at."""


def zoo_problems(sampling: Sampling) -> tuple[Problem, ...]:
    """The reference, its neighbors, and the case whose alignment has no remainder at all."""
    linear = zoo.variant("linear, squared error", hidden=(), loss="squared error")
    return (*zoo.neighborhood(sampling), linear)
