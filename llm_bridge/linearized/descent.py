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
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem
from theory.losses import Scalar
from theory.predictions import predicted_displacement
from theory.problem import Instance, Params
from theory.tangent_kernel import kernel_product, train_student, tridiagonalize


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

    The problem moves the layers alone. $3\sqrt{t}$ products with $H$ are plenty for $t$ steps at
    $\alpha\lambda_{max} \le 1$.
    """
    start, unravel = ravel_pytree(predicted_displacement(problem, instance, displacement)["layers"])
    still = optax.tree.zeros_like(instance.student)

    def flat(params: Params) -> Float[Array, " moved"]:
        return ravel_pytree(params["layers"])[0]

    product = kernel_product(problem, instance._replace(teacher=instance.student))
    chain = tridiagonalize(lambda vector: flat(product(still | {"layers": unravel(vector)})), start, num_products)
    odds, pull = jax.vjp(problem.log_odds, instance.student)
    slopes = jax.lax.map(lambda word: flat(pull(word)[0]), jnp.eye(len(odds), dtype=odds.dtype))
    return Krylov(chain.matrix, jnp.linalg.norm(start) * (chain.basis @ slopes.T))


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
