r"""Imitation losses: how far a student's outputs are from its teacher's, for one example.

Each takes the student's outputs $z$ and the teacher's outputs $y$, both of shape `(outputs,)`, and has
its minimum over $z$ at $z = y$. A batch is their mean.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

ImitationLoss = Callable[[jax.Array, jax.Array], jax.Array]


def squared_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
    r"""Squared error $\sum_k (z_k - y_k)^2$, with $M = 2I$.

    Args:
        student: Student's outputs $z$, shape `(outputs,)`.
        teacher: Teacher's outputs $y$, shape `(outputs,)`.

    Returns:
        The loss, shape `()`, in squared output units.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.
    """
    return jnp.sum(optax.losses.squared_error(student, teacher))


def cross_entropy(student: jax.Array, teacher: jax.Array) -> jax.Array:
    r"""Cross-entropy of the student's softmax under the teacher's, with $M = \mathrm{diag}(p) - pp^\top$.

    Here $p = \mathrm{softmax}(y)$: the null space of $M$ is spanned by the all-ones vector.

    Args:
        student: Student's logits $z$, shape `(outputs,)`.
        teacher: Teacher's logits $y$, shape `(outputs,)`.

    Returns:
        The loss, shape `()`, in nats.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.
    """
    return optax.losses.softmax_cross_entropy(student, jax.nn.softmax(teacher))


def quartic(student: jax.Array, teacher: jax.Array) -> jax.Array:
    r"""Fourth power $\sum_k (z_k - y_k)^4$: no curvature at its minimum, so $M = 0$ and lemma 1 promises nothing.

    Args:
        student: Student's outputs $z$, shape `(outputs,)`.
        teacher: Teacher's outputs $y$, shape `(outputs,)`.

    Returns:
        The loss, shape `()`.
    """
    return jnp.sum((student - teacher) ** 4)


def stretched(loss: ImitationLoss) -> ImitationLoss:
    r"""Move a loss's minimum away from $z = y$, to $z = \tfrac32 y$: a control outside the theorem's class.

    Args:
        loss: Any imitation loss.

    Returns:
        The same loss of a student whose teacher's outputs are stretched by one half.
    """
    return lambda student, teacher: loss(student, 1.5 * teacher)


def on_outputs(loss: ImitationLoss, chosen: Sequence[int]) -> ImitationLoss:
    """Restrict a loss to chosen outputs, as in distillation on auxiliary logits.

    Args:
        loss: Any imitation loss.
        chosen: Indices of the outputs that are imitated.

    Returns:
        The loss of those outputs alone.
    """
    indices = jnp.asarray(chosen)
    return lambda student, teacher: loss(student[indices], teacher[indices])
