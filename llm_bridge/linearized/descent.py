r"""A student's gradient descent on a teacher's outputs, step by step, and what the theory says of it beforehand.

With $H = \mathbb{E}_x[J_S^\top M_S J_S]$ the curvature of imitation at the student's init ($K$ if it is shared) and
$b = \mathbb{E}_x[J_S^\top M J_T \Delta_T]$, what the teacher has learned moves the student after $t$ steps of size
$\alpha$ by

$$d_t = [I - (I - \alpha H)^t]\,H^{-1} b,$$

which is $t\alpha b$ at first, and $[I - (I - \alpha K)^t]\,\Delta_T$ with a shared init (claim 10). For a stranger this
takes its curvature to be constant, and its residuals to bend nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem
from theory.losses import Scalar
from theory.predictions import label_response, output_change
from theory.problem import BatchOutputs, Instance, Params
from theory.tangent_kernel import train_student, tridiagonalize


class Krylov(NamedTuple):
    """All that a prediction of any number of steps needs."""

    matrix: Float[Array, "products products"]
    """$H$ in the basis of its Krylov space from $b$, tridiagonal."""
    lifts: Float[Array, "products words"]
    """Slopes of every word's log-odds along that basis times the length of $b$."""

    @property
    def curvature(self) -> float:
        """The largest eigenvalue of $H$ that $b$ sees."""
        return float(np.linalg.eigvalsh(np.asarray(self.matrix))[-1])


@partial(jax.jit, static_argnums=(0, 3))
def explore(problem: LanguageProblem, instance: Instance, displacement: Params, num_products: int) -> Krylov:
    r"""Find the Krylov space of imitation's curvature, and how every word's log-odds rise along it.

    A vector $q = J_S^\top c$ of it is held as $c$ and $J_S q$, which have far fewer entries than the parameters where
    the model is large: so products are with $M_S$, in the metric $J_S J_S^\top$. $3\sqrt{t}$ of them are plenty for $t$
    steps at $\alpha\lambda_{max} \le 1$.
    """
    outputs, push = jax.linearize(lambda params: problem.apply(params, instance.inputs), instance.student)
    pull = jax.linear_transpose(push, instance.student)
    taught = output_change(problem, instance.teacher, instance.inputs, displacement)

    def respond(beside: BatchOutputs, change: BatchOutputs) -> Float[Array, " size"]:
        one = partial(label_response, problem.imitation_loss)
        return jnp.ravel(jax.vmap(one)(outputs, beside, change)) / len(outputs)

    def metric(vector: Float[Array, " size"]) -> Float[Array, " size"]:
        return jnp.ravel(push(*pull(vector.reshape(outputs.shape))))

    def product(dual: Float[Array, " size"]) -> Float[Array, " size"]:
        return respond(outputs, dual.reshape(outputs.shape))

    start = respond(*taught)
    chain = tridiagonalize(product, start, num_products, metric)
    odds, rise = jax.vjp(problem.log_odds, instance.student)
    slopes = jax.lax.map(lambda word: jnp.ravel(push(*rise(word))), jnp.eye(len(odds), dtype=odds.dtype))
    length = optax.tree.norm(pull(start.reshape(outputs.shape)))
    return Krylov(chain.matrix, length * (chain.basis @ slopes.T))


def predict_course(krylov: Krylov, rate: float, times: Sequence[int]) -> Float[np.ndarray, "times words"]:
    r"""Predict how what the teacher has learned changes the log-odds, in nats and to first order in it.

    Holds for steps $\alpha$ of at most $1/\lambda_{max}$.

    References:
        Derived here. At the init imitation's gradient is $-b$ times the teacher's displacement, beyond that of an
        untaught teacher, and each step takes $\alpha H$ of the way back: $d_{t+1} = d_t + \alpha(b - H d_t)$.
    """
    values, vectors = np.linalg.eigh(np.asarray(krylov.matrix))
    steps = np.array(times)[:, None]
    small = np.abs(values) < 1e-12 * values[-1]
    safe = np.where(small, 1.0, values)
    grown = np.where(small, steps * rate, -np.expm1(steps * np.log1p(-rate * safe)) / safe)
    return (grown * vectors[0]) @ vectors.T @ np.asarray(krylov.lifts)


@partial(jax.jit, static_argnums=(0, 4))
def simulate_course(
    problem: LanguageProblem,
    instance: Instance,
    labels: Float[Array, "places vocabulary"],
    rate: Scalar,
    times: tuple[int, ...],
) -> Float[Array, "times words"]:
    """Train a student by gradient descent on all inputs at once, and see how every word's log-odds change (nats)."""
    moved = train_student(problem, instance, labels, rate, times)
    after = jax.lax.map(lambda way: problem.log_odds(optax.tree.add(instance.student, way)), moved)
    return after - problem.log_odds(instance.student)[None]
