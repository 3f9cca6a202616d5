r"""Imitation losses: how far a student's outputs are from its teacher's, for one example.

Each takes the student's outputs $z$ and the teacher's outputs $y$, and has its minimum over $z$ at $z = y$.
Entropies and divergences are in nats, a batch is the mean. The matrix $M = -\partial^2 L_S/\partial y\,\partial z$ is
given at $z = y$, with $p = \mathrm{softmax}(y)$. What lies outside the theorem's class is in `outside_losses`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Outputs = Float[Array, " outputs"]
"""A network's outputs for one example."""

Scalar = Float[Array, ""]

ImitationLoss = Callable[[Outputs, Outputs], Scalar]
"""From the student's and the teacher's outputs for one example."""


def squared_error(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Squared error $\sum_k (z_k - y_k)^2$, with $M = 2I$.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.

    Examples:
        >>> float(squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        5.0
    """
    return jnp.sum(optax.losses.squared_error(student, teacher))


def cross_entropy(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Cross-entropy of the student's softmax under the teacher's, with $M = \mathrm{diag}(p) - pp^\top$.

    Here $p = \mathrm{softmax}(y)$: the null space of $M$ is spanned by the all-ones vector. Claims about labels look
    for this very function, alone or `on_outputs`.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.
    """
    return optax.losses.softmax_cross_entropy(student, jax.nn.softmax(teacher))


def weighted_squared_error(weights: ArrayLike) -> ImitationLoss:
    r"""Weigh the squared error of each output, $\sum_k w_k (z_k - y_k)^2$, with $M = 2\,\mathrm{diag}(w)$.

    Args:
        weights: Non-negative weights $w$, one for each output.

    Returns:
        The loss, in squared output units.
    """
    factors = jnp.asarray(weights)
    return lambda student, teacher: jnp.sum(factors * optax.losses.squared_error(student, teacher))


def kl_divergence(temperature: float, *, rescaled: bool) -> ImitationLoss:
    r"""Divergence of the student's tempered softmax from the teacher's, as in knowledge distillation.

    $$\mathrm{KL}(p_\tau \| q_\tau), \quad p_\tau = \mathrm{softmax}(y/\tau),\; q_\tau = \mathrm{softmax}(z/\tau),$$

    with $M = (\mathrm{diag}(p_\tau) - p_\tau p_\tau^\top)/\tau^2$; rescaled by $\tau^2$ without that divisor.

    Args:
        temperature: $\tau$, in units of the logits.
        rescaled: Whether the loss is multiplied by $\tau^2$.

    Returns:
        The loss, in nats.

    References:
        Hinton, Vinyals and Dean (2015), arXiv:1503.02531, section 2.
    """
    factor = temperature**2 if rescaled else 1.0

    def loss(student: Outputs, teacher: Outputs) -> Scalar:
        logs = jax.nn.log_softmax(student / temperature), jax.nn.log_softmax(teacher / temperature)
        return factor * optax.losses.kl_divergence_with_log_targets(*logs)

    return loss


def reverse_kl_divergence(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Divergence $\mathrm{KL}(q\|p)$ of the teacher's softmax from the student's, with cross-entropy's $M$."""
    return optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(teacher), jax.nn.log_softmax(student))


def jensen_shannon_divergence(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Mean divergence of both softmaxes from their mixture, with $M = \tfrac14(\mathrm{diag}(p) - pp^\top)$."""
    logs = jnp.stack([jax.nn.log_softmax(student), jax.nn.log_softmax(teacher)])
    mixture = jnp.logaddexp(logs[0], logs[1]) - jnp.log(2.0)
    return jnp.mean(optax.losses.kl_divergence_with_log_targets(mixture[None], logs))


def sigmoid_cross_entropy(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Cross-entropy of every logit on its own, with $M = \mathrm{diag}(\sigma(y)(1 - \sigma(y)))$."""
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(student, jax.nn.sigmoid(teacher)))


def probability_error(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Squared error of the softmaxes, with $M = 2(\mathrm{diag}(p) - pp^\top)^2$; not convex in $z$."""
    return jnp.sum(optax.losses.squared_error(jax.nn.softmax(student), jax.nn.softmax(teacher)))


def log_cosh(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Smooth relative of the absolute error, $\sum_k \log\cosh(z_k - y_k)$, with $M = I$."""
    return jnp.sum(optax.losses.log_cosh(student, teacher))


def huber(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Squared error close by and absolute error beyond 1, with $M = I$."""
    return jnp.sum(optax.losses.huber_loss(student, teacher))


def cosine_distance(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Cosine distance $1 - \hat z\cdot\hat y$ of the outputs' directions, with $M = (I - \hat y\hat y^\top)/\|y\|^2$.

    The null space of $M$, spanned by $y(x)$, depends on the input. The theorem's proof still goes through, because the
    gradient in $z$ is orthogonal to $z$, whatever the labels.
    """
    return optax.losses.cosine_distance(student, teacher)


def quartic(student: Outputs, teacher: Outputs) -> Scalar:
    r"""Fourth power $\sum_k (z_k - y_k)^4$: no curvature at its minimum, so $M = 0$ and lemma 1 promises nothing."""
    return jnp.sum((student - teacher) ** 4)


def stretched(loss: ImitationLoss) -> ImitationLoss:
    r"""Move a loss's minimum away from $z = y$, to $z = \tfrac32 y$: a control outside the theorem's class."""
    return lambda student, teacher: loss(student, 1.5 * teacher)


@dataclass(frozen=True)
class OnOutputs:
    """A loss of chosen outputs alone, which says of which."""

    loss: ImitationLoss
    """Loss of those outputs."""
    chosen: tuple[int, ...]
    """Their indices."""

    def __call__(self, student: Outputs, teacher: Outputs) -> Scalar:
        """Evaluate the loss of those outputs."""
        if not all(-len(student) <= index < len(student) for index in self.chosen):
            raise ValueError(f"outputs {tuple(self.chosen)} are chosen, but there are {len(student)}")
        indices = jnp.asarray(self.chosen)
        return self.loss(student[indices], teacher[indices])


def on_outputs(loss: ImitationLoss, chosen: Sequence[int]) -> OnOutputs:
    """Restrict a loss to chosen outputs, as in distillation on auxiliary logits.

    Args:
        loss: Any imitation loss.
        chosen: Indices of the outputs that are imitated.

    Returns:
        The loss of those outputs alone.

    Examples:
        >>> last = on_outputs(squared_error, [-1])
        >>> float(last(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        4.0
    """
    return OnOutputs(loss, tuple(chosen))


def softmax_outputs(loss: ImitationLoss, num_outputs: int) -> tuple[int, ...]:
    """Outputs of whose softmax a loss is the `cross_entropy`: those from which labels can be drawn."""
    chosen = range(num_outputs)
    while isinstance(loss, OnOutputs):
        loss, chosen = loss.loss, [chosen[index] for index in loss.chosen]
    return tuple(sorted(chosen)) if loss is cross_entropy and len(chosen) > 1 else ()
