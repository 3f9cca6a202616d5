"""Through which parameters a trait travels: the bilinear form by embedding, layers, last norm and head."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem
from theory.predictions import transfer_channels, transfer_form
from theory.problem import Instance, Params, trait_descent


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
