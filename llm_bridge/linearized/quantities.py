r"""What the theory says of one step of a language model's student, beside what the step does.

$\Delta_T$ is all that a teacher has learned, so that $s = 1$ is the teacher itself; teachers at
$\theta_T^0 + s\Delta_T$ are younger. $B$ is the bilinear form of `theory.predictions`, and with a shared init
$A = B(\Delta_T, \Delta_T)$. Parameters are in groups everywhere, and only what the problem moves has a derivative.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem
from theory.losses import Scalar
from theory.predictions import predicted_displacement, transfer_channels, transfer_form
from theory.problem import Instance, Params, imitation_descent, inner_product, student_displacement, trait_descent

SCALES = tuple(0.25**power for power in range(7))
"""Scales $s$ of what the teacher has learned; lengths of a student's step, in lengths of what it has learned."""


class Divergence(NamedTuple):
    """How far younger and younger teachers are from their base."""

    curvature: Float[Array, ""]
    """$A$."""
    nats: Float[Array, " scales"]
    r"""$\mathrm{KL}(\theta_T^0 + s\Delta_T \,\|\, \theta_T^0)$ a token."""


@partial(jax.jit, static_argnums=0)
def measure_divergence(problem: LanguageProblem, instance: Instance, displacement: Params) -> Divergence:
    r"""Measure the divergence of teacher from base, and predict it: $\mathrm{KL} = \tfrac12 s^2 A + O(s^3)$.

    The sum is written without its first order, which is zero and would cancel. The problem imitates all tokens.

    References:
        Claim 8, derived in `theory.claims.sampled_labels`.
    """
    shared = instance._replace(student=instance.teacher)
    base = jax.nn.log_softmax(problem.apply(instance.teacher, instance.inputs))

    def nats(scale: Scalar) -> Scalar:
        teacher = optax.tree.add_scale(instance.teacher, scale, displacement)
        ratio = jax.nn.log_softmax(problem.apply(teacher, instance.inputs)) - base
        return jnp.mean(jnp.sum(jnp.exp(base) * (ratio * jnp.exp(ratio) - jnp.expm1(ratio)), axis=-1))

    curvature = transfer_form(problem, shared, displacement, displacement)
    return Divergence(curvature, jax.lax.map(nats, jnp.array(SCALES)))


class Steps(NamedTuple):
    """One step of imitation behind younger and younger teachers, predicted and simulated."""

    form: Float[Array, ""]
    r"""$B(\Delta_T, \Delta_T)$."""
    alignment: Float[Array, " scales"]
    r"""$\Delta_S(s)\cdot\Delta_T$."""
    idle_alignment: Float[Array, ""]
    r"""The same of a student whose teacher has learned nothing, $\Delta_S(0)\cdot\Delta_T$."""
    predicted: Float[Array, " words"]
    r"""$\alpha B(v_j, \Delta_T)$ with $v_j$ the gradient of word $j$'s log-odds at $\theta_S^0 + \alpha\Delta_S(0)$."""
    changes: Float[Array, "scales words"]
    """Change of every word's log-odds by the step."""
    idle_changes: Float[Array, " words"]
    """The same in the student whose teacher has learned nothing."""


@partial(jax.jit, static_argnums=0)
def follow_scales(problem: LanguageProblem, instance: Instance, displacement: Params, rate: Scalar) -> Steps:
    r"""Predict what one step of imitation adds, and take it behind younger and younger teachers.

    $$o_j(\theta_S^0 + \alpha\Delta_S(s)) - o_j(\theta_S^0 + \alpha\Delta_S(0))
    = s\,\alpha\,B(v_j, \Delta_T) + O(s^2).$$

    References:
        Claims 1, 2, 5 and 12, derived in `theory.claims`.
    """
    idle = student_displacement(problem, instance, displacement, jnp.zeros(()))
    rested = optax.tree.add_scale(instance.student, rate, idle)
    added = predicted_displacement(problem, instance, displacement)
    before = problem.log_odds(instance.student)
    after_idle, lifts = jax.jvp(problem.log_odds, (rested,), (added,))

    def step(scale: Scalar) -> tuple[Scalar, Float[Array, " words"]]:
        moved = student_displacement(problem, instance, displacement, scale)
        after = problem.log_odds(optax.tree.add_scale(instance.student, rate, moved))
        return inner_product(moved, displacement), after - before

    alignment, changes = jax.lax.map(step, jnp.array(SCALES))
    return Steps(
        form=inner_product(added, displacement),
        alignment=alignment,
        idle_alignment=inner_product(idle, displacement),
        predicted=rate * lifts,
        changes=changes,
        idle_changes=after_idle - before,
    )


class Directions(NamedTuple):
    r"""Where a student's first step goes, against $\Delta_T$ and the student's own descent of the trait's loss."""

    added: Float[Array, "2"]
    r"""Inner products of $\Delta_S - \Delta_S(0)$ with both."""
    cosines: Float[Array, "2"]
    """The same as cosines."""
    raw_cosines: Float[Array, "2"]
    r"""Cosines of $\Delta_S$ itself."""


@partial(jax.jit, static_argnums=0)
def point_first_step(
    problem: LanguageProblem, instance: Instance, displacement: Params, labels: Float[Array, "places vocabulary"]
) -> tuple[Directions, Params]:
    r"""Take a student's first step, of size one, and compare it with where the trait lies; both are returned."""
    moved = imitation_descent(problem, instance.student, instance.inputs, labels)
    idle = student_displacement(problem, instance, displacement, jnp.zeros(()))
    own = trait_descent(problem, instance.student, instance.trait_data)

    def products(step: Params) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        found = jnp.stack([inner_product(step, each) for each in (displacement, own)])
        lengths = jnp.stack([optax.tree.norm(each) for each in (displacement, own)])
        return found, found / (lengths * optax.tree.norm(step))

    return Directions(*products(optax.tree.sub(moved, idle)), raw_cosines=products(moved)[1]), moved


class Rates(NamedTuple):
    """Every word's log-odds after one step of any size, predicted and simulated."""

    rates: Float[Array, " scales"]
    r"""Step sizes $\alpha$ at which the step is as long as $\Delta_T$ times `SCALES`."""
    slopes: Float[Array, "2 words"]
    r"""$\nabla o_j\cdot\Delta_S$, and the same with another student's step, the control."""
    changes: Float[Array, "scales words"]
    """Change of the log-odds."""


@partial(jax.jit, static_argnums=0)
def follow_rates(
    problem: LanguageProblem, instance: Instance, displacement: Params, step: Params, other: Params
) -> Rates:
    r"""Take a student's step in many sizes: log-odds change by $\alpha\nabla o_j\cdot\Delta_S + O(\alpha^2)$."""
    rates = jnp.array(SCALES) * optax.tree.norm(displacement) / optax.tree.norm(step)
    before, push = jax.linearize(problem.log_odds, instance.student)

    def change(rate: Scalar) -> Float[Array, " words"]:
        return problem.log_odds(optax.tree.add_scale(instance.student, rate, step)) - before

    return Rates(rates, jnp.stack([push(step), push(other)]), jax.lax.map(change, rates))


class Table(NamedTuple):
    """The form along the student's own descent of the trait's loss, and along what the teacher has learned."""

    own: Float[Array, "student_groups teacher_groups"]
    r"""$B(P_g v, P_h \Delta_T)$ with $v = -\nabla L_T(\theta_S^0)$."""
    gram: Float[Array, "groups groups"]
    r"""$B(P_g \Delta_T, P_h \Delta_T)$; with a shared init a Gram matrix."""
    whole: Float[Array, ""]
    r"""$B(v, \Delta_T)$ in one piece."""
    rounding: Float[Array, ""]
    """Bound on the rounding of it and of the sum over channels: a rounding unit a term of the terms' sizes."""


@partial(jax.jit, static_argnums=0)
def measure_channels(problem: LanguageProblem, instance: Instance, displacement: Params) -> Table:
    r"""Split the form by parameter group, $B(v, \Delta_T) = \sum_{g,h} B(P_g v, P_h \Delta_T)$.

    Row $g$ says what moving the student's group $g$ does for the trait, column $h$ what the teacher has learned in $h$;
    groups are in the order of `theory.predictions.group_names`.

    References:
        Claim 5, derived in `theory.claims.channels`.
    """
    own = trait_descent(problem, instance.student, instance.trait_data)
    along = transfer_channels(problem, instance, own, displacement)
    gram = transfer_channels(problem, instance, displacement, displacement)
    whole = transfer_form(problem, instance, own, displacement)
    outputs = jax.eval_shape(problem.apply, instance.student, instance.inputs)
    num_terms = optax.tree.size(displacement) + outputs.size
    rounding = num_terms * jnp.finfo(whole.dtype).eps * jnp.sum(along.sizes)
    return Table(along.forms, gram.forms, whole, rounding)
