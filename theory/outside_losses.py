r"""Imitation losses outside the theorem's class: no second derivative at their minimum, or the minimum elsewhere.

Like those of `losses`, each takes the student's outputs $z$ and the teacher's $y$.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from theory.losses import ImitationLoss, Outputs, Scalar


def power(exponent: float) -> ImitationLoss:
    r"""Power of the error, $\sum_k |z_k - y_k|^r$; inside the class for $r = 2$ alone.

    Below that there is no second derivative at $z = y$; above, $M = 0$ there, whose null space is everything and not
    orthogonal to the gradient. Alignment is then of another order than 1,

    $$\Delta_S(\epsilon)\cdot\Delta_T = r\,\epsilon^{r-1}\,\mathbb{E}\sum_k |J\Delta_T|_k^r\,(1 + O(\epsilon)).$$

    Where the error is exactly 0 so is the gradient, for $r = 1$ too (`jnp.abs` alone has slope 1 there).

    References:
        Derived here: labels at $y + \epsilon u$, with $u = J\Delta_T + O(\epsilon)$, make the loss at $z = y$
        fall with $z_k$ at the rate $r\,|\epsilon u_k|^{r-1}\,\mathrm{sign}(u_k)$; times $(J\Delta_T)_k$.
    """

    def loss(student: Outputs, teacher: Outputs) -> Scalar:
        error = student - teacher
        return jnp.sum(jnp.where(error == 0, 0.0, jnp.abs(error)) ** exponent)

    return loss


def shifted(loss: ImitationLoss, offset: ArrayLike) -> ImitationLoss:
    r"""Move a loss's minimum to $z = y + b$."""
    return lambda student, teacher: loss(student, teacher + jnp.asarray(offset))


def smoothed_cross_entropy(smoothing: float) -> ImitationLoss:
    r"""Cross-entropy under a mixture of the teacher's softmax and the uniform distribution over $n$ outputs.

    Its minimum is where $\mathrm{softmax}(z) = (1 - s)\,\mathrm{softmax}(y) + s/n$, flatter than the teacher.
    """

    def loss(student: Outputs, teacher: Outputs) -> Scalar:
        labels = optax.losses.smooth_labels(jax.nn.softmax(teacher), smoothing)
        return optax.losses.softmax_cross_entropy(student, labels)

    return loss


def negative_inner_product(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Cosine distance without the norms, $-z\cdot y$: no minimum, and a gradient that is not orthogonal to $z$."""
    return -jnp.dot(student, teacher)
