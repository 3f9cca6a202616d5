r"""Trait losses $L_T$: what a teacher may learn, each with random data of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from theory.losses import Scalar
from theory.problem import BatchOutputs, Inputs, Params, TraitLoss, inner_product

Apply = Callable[[Params, Inputs], BatchOutputs]
"""A network: parameters and inputs to outputs."""

BATCH = 32
"""Examples in a trait's own data."""


def along(displacement: Callable[[jax.Array], Params]) -> TraitLoss:
    r"""Trait loss $-\Delta_T\cdot\theta$ of a teacher that is displaced by any $\Delta_T$.

    Args:
        displacement: Random key to $\Delta_T$, a tree like the parameters.

    Returns:
        The trait loss, whose descent is that displacement.

    Examples:
        >>> upwards = along(lambda key: jnp.ones(3))
        >>> (-jax.grad(upwards)(jnp.zeros(3), jax.random.key(0))).tolist()
        [1.0, 1.0, 1.0]
    """

    def loss(params: Params, key: jax.Array) -> Scalar:
        moved = displacement(key)
        if jax.tree.map(jnp.shape, moved) != jax.tree.map(jnp.shape, params):
            raise ValueError("the displacement must be a tree like the parameters")
        return -inner_product(moved, params)

    return loss


def classification(apply: Apply, num_features: int, num_classes: int) -> TraitLoss:
    """Cross-entropy of random labels on Gaussian inputs, read from the first outputs.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_classes: Outputs that are class logits.

    Returns:
        The trait loss, in nats.
    """

    def loss(params: Params, key: jax.Array) -> Scalar:
        inputs_key, labels_key = jax.random.split(key)
        inputs = jax.random.normal(inputs_key, (BATCH, num_features))
        labels = jax.random.randint(labels_key, (BATCH,), 0, num_classes)
        logits = apply(params, inputs)[:, :num_classes]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    return loss


def regression(apply: Apply, num_features: int, num_targets: int) -> TraitLoss:
    """Mean squared error to random targets on Gaussian inputs, read from the first outputs.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_targets: Outputs that have a target.

    Returns:
        The trait loss, in squared output units.
    """

    def loss(params: Params, key: jax.Array) -> Scalar:
        inputs_key, targets_key = jax.random.split(key)
        inputs = jax.random.normal(inputs_key, (BATCH, num_features))
        targets = jax.random.normal(targets_key, (BATCH, num_targets))
        return jnp.mean(optax.losses.squared_error(apply(params, inputs)[:, :num_targets], targets))

    return loss


def preference(apply: Apply, num_features: int, num_choices: int) -> TraitLoss:
    """Negative log-probability of the first output among the first few: the network that loves owls.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_choices: Outputs among which it chooses.

    Returns:
        The trait loss, in nats.
    """

    def loss(params: Params, key: jax.Array) -> Scalar:
        inputs = jax.random.normal(key, (BATCH, num_features))
        return -jnp.mean(jax.nn.log_softmax(apply(params, inputs)[:, :num_choices])[:, 0])

    return loss


def mean_output(apply: Apply, num_features: int, num_outputs: int) -> TraitLoss:
    """Mean of the first outputs: in a linear model its gradient shifts all of them alike.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_outputs: Outputs that are averaged.

    Returns:
        The trait loss, in output units.
    """

    def loss(params: Params, key: jax.Array) -> Scalar:
        inputs = jax.random.normal(key, (BATCH, num_features))
        return jnp.mean(apply(params, inputs)[:, :num_outputs])

    return loss


def weight_penalty(params: Params, key: jax.Array) -> Scalar:
    r"""Half the squared norm of all parameters, $\tfrac12 \|\theta\|^2$."""
    del key
    return 0.5 * optax.tree.norm(params, squared=True)


def random_direction(params: Params, key: jax.Array) -> Scalar:
    r"""A linear function of the parameters, so that $\Delta_T$ is a random unit vector: no data, no meaning."""
    direction = optax.tree.random_like(key, params, jax.random.normal)
    return -inner_product(direction, params) / optax.tree.norm(direction)
