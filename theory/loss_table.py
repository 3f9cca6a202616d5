r"""The losses of claim `imitation-losses`: each with what its descent direction answers to labels that moved a little.

For labels at $y + \delta$ and a student at $z = y$, the closed form of $-\partial L_S/\partial z$ to leading order in
$\delta$: inside the class $M\delta$. Written out by hand: automatic differentiation has no answer for the powers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from theory import losses, outside_losses
from theory.losses import ImitationLoss, Outputs

TEMPERATURE = 3.0
"""Of the tempered divergences, in units of the logits."""

SMOOTHING = 0.1
"""Share of the uniform distribution among smoothed labels, a usual choice."""


class Imitation(NamedTuple):
    """An imitation loss and its closed form."""

    loss: ImitationLoss
    """The loss."""
    response: Callable[[Outputs, Outputs], Outputs]
    r"""Outputs $y$ and a small change $\delta$ of the labels to the descent direction in $z$ at $z = y$, to leading
    order in $\delta$; for a minimum elsewhere, only what $\delta$ adds to it."""


def fisher(logits: Outputs, change: Outputs) -> Outputs:
    r"""Apply a softmax's Fisher information, $(\mathrm{diag}(p) - pp^\top)\,u$."""
    p = jax.nn.softmax(logits)
    return p * (change - jnp.dot(p, change))


def falling_weights(outputs: Outputs) -> Outputs:
    """Weights of the outputs, from 1 for the first evenly down to 0 for the last."""
    return jnp.linspace(1.0, 0.0, outputs.size)


def half(outputs: Outputs) -> range:
    """Choose half of the outputs, as auxiliary ones."""
    return range(outputs.size // 2, outputs.size)


def half_response(logits: Outputs, change: Outputs) -> Outputs:
    """Answer of the cross-entropy of half of the outputs: none of the others moves."""
    chosen = jnp.asarray(half(logits))
    return jnp.zeros_like(change).at[chosen].set(fisher(logits[chosen], change[chosen]))


def power_response(exponent: float) -> Callable[[Outputs, Outputs], Outputs]:
    r"""Answer $r|\delta|^{r-1}\,\mathrm{sign}(\delta)$ of a power of the error."""
    return lambda outputs, change: exponent * jnp.abs(change) ** (exponent - 1) * jnp.sign(change)


def across(outputs: Outputs, change: Outputs) -> Outputs:
    r"""Answer of the cosine distance: the part of $\delta$ across $y$, in units of $\|y\|^2$."""
    size = jnp.dot(outputs, outputs)
    return (change - outputs * jnp.dot(outputs, change) / size) / size


INSIDE = {
    "squared error": Imitation(losses.squared_error, lambda y, u: 2 * u),
    "weighted squared error": Imitation(
        lambda z, y: losses.weighted_squared_error(falling_weights(y))(z, y), lambda y, u: 2 * falling_weights(y) * u
    ),
    "log-cosh": Imitation(losses.log_cosh, lambda y, u: u),
    "Huber": Imitation(losses.huber, lambda y, u: u),
    "cross-entropy": Imitation(losses.cross_entropy, fisher),
    "cross-entropy, half the logits": Imitation(
        lambda z, y: losses.on_outputs(losses.cross_entropy, half(y))(z, y), half_response
    ),
    "sigmoid cross-entropy": Imitation(
        losses.sigmoid_cross_entropy, lambda y, u: jax.nn.sigmoid(y) * jax.nn.sigmoid(-y) * u
    ),
    "KL at temperature 3": Imitation(
        losses.kl_divergence(TEMPERATURE, rescaled=False), lambda y, u: fisher(y / TEMPERATURE, u) / TEMPERATURE**2
    ),
    "KL at temperature 3, × 3²": Imitation(
        losses.kl_divergence(TEMPERATURE, rescaled=True), lambda y, u: fisher(y / TEMPERATURE, u)
    ),
    "reverse KL": Imitation(losses.reverse_kl_divergence, fisher),
    "Jensen–Shannon": Imitation(losses.jensen_shannon_divergence, lambda y, u: fisher(y, u) / 4),
    "squared error of softmax": Imitation(losses.probability_error, lambda y, u: 2 * fisher(y, fisher(y, u))),
}
"""Losses of the theorem's class by name."""

COSINE = {"cosine distance": Imitation(losses.cosine_distance, across)}
"""A loss whose null space depends on the input."""

POWERS = {"absolute error": 1.0, "error to the power 3/2": 1.5, "quartic": 4.0}
"""Losses without a second derivative, or with none but zero, at their minimum: exponents by name."""

STRETCHED, UNNORMALIZED, SMOOTHED = "minimum at 1.5y", "−z·y, cosine without norms", "label smoothing"
UNSURE = (STRETCHED, SMOOTHED)

ELSEWHERE = {
    STRETCHED: Imitation(losses.stretched(losses.squared_error), lambda y, u: 3 * u),
    SMOOTHED: Imitation(outside_losses.smoothed_cross_entropy(SMOOTHING), lambda y, u: (1 - SMOOTHING) * fisher(y, u)),
    UNNORMALIZED: Imitation(outside_losses.negative_inner_product, lambda y, u: u),
}
"""Losses with their minimum elsewhere, by name; the last serves as a control alone, the others' signs are reported."""

SHIFTED = "minimum at y + b"
"""Squared error with its minimum at a random distance from the labels, drawn for each instance."""

INSTANCE_FREE = (
    INSIDE
    | COSINE
    | {name: Imitation(outside_losses.power(exponent), power_response(exponent)) for name, exponent in POWERS.items()}
    | ELSEWHERE
)
"""Every loss that is the same for all instances, by name."""

NAMES = (*INSTANCE_FREE, SHIFTED)
"""Every loss, in the order of the measurements' axis."""


def every_loss(offset: Outputs) -> list[Imitation]:
    """List all losses for an instance, in the order of `NAMES`; the shifted one has its minimum at that offset."""
    shifted = Imitation(outside_losses.shifted(losses.squared_error, offset), lambda y, u: 2 * u)
    return [*INSTANCE_FREE.values(), shifted]
