"""Which words rise in the students of which teachers, from inits and teachers alone."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem, group_layers, meet
from llm_bridge.linearized.reading import Reading
from theory.predictions import predicted_displacement
from theory.problem import Instance, Params, inner_product


@partial(jax.jit, static_argnums=0)
def gram_matrix(
    problem: LanguageProblem, instance: Instance, displacements: Sequence[Params]
) -> Float[Array, "teachers teachers"]:
    r"""Hold what every teacher transfers against what every teacher has learned: $B(\Delta_j, \Delta_i)$.

    With a shared init it is $\Delta_i^\top K \Delta_j$, symmetric and positive semi-definite.

    References:
        Claim 12, derived in `theory.claims.trait_matrix`.
    """
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *displacements)
    added = jax.lax.map(lambda displacement: predicted_displacement(problem, instance, displacement), stacked)
    return jax.vmap(lambda left: jax.vmap(lambda right: inner_product(left, right))(stacked))(added)


@partial(jax.jit, static_argnums=0)
def predict_lifts(problem: LanguageProblem, instance: Instance, displacement: Params) -> Float[Array, " words"]:
    r"""Predict how a step of imitation lifts every word, $\nabla o_j \cdot \mathbb{E}[J_S^\top M J_T \Delta_T]$.

    In nats of log-odds per unit of step size, beyond what a teacher lifts that has learned nothing.
    """
    added = predicted_displacement(problem, instance, displacement)
    return jax.jvp(problem.log_odds, (instance.student,), (added,))[1]


def trait_matrix_prediction(
    problem: LanguageProblem, base: Params, student: Params, teachers: Sequence[Params], readings: Sequence[Reading]
) -> Float[np.ndarray, "teachers words"]:
    r"""Predict from inits and teachers alone which words (columns) rise in the students of which teachers (rows).

    Units are those of `predict_lifts`, and parameters as the transformer reads them; readings are all of one shape.

    References:
        Claim 12, derived in `theory.claims.trait_matrix`; for a stranger claim 5.
    """
    first, own = group_layers(base), group_layers(student)
    displacements = [optax.tree.sub(group_layers(teacher), first) for teacher in teachers]
    met = [meet(first, own, reading) for reading in readings]
    return np.stack([predict_lifts(problem, *pair) for pair in zip(met, displacements, strict=True)])
