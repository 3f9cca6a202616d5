r"""Traits: what a teacher may learn, a loss $L_T$ each, with random data of its own."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.losses import Scalar
from theory.problem import BatchOutputs, Inputs, Params, TraitLoss, inner_product


class Trait(NamedTuple):
    """A trait whose data are drawn beforehand, under a problem's own names: `Problem(**trait._asdict(), …)`."""

    draw_trait_data: Callable[[jax.Array], Any]
    """Random key to its data."""
    trait_loss: TraitLoss
    """Parameters and these data to a scalar."""


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


@cache
def gaussian_inputs(num_features: int) -> Callable[[jax.Array], jax.Array]:
    """A function from a random key to Gaussian inputs `(BATCH, num_features)`, the same one each time."""
    return partial(jax.random.normal, shape=(BATCH, num_features))


@cache
def labeled(num_features: int, draw_labels: Callable[..., jax.Array]) -> Callable[[jax.Array], Any]:
    """A function from a random key to Gaussian inputs and their labels, the same one each time."""

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs_key, labels_key = jax.random.split(key)
        return gaussian_inputs(num_features)(inputs_key), draw_labels(labels_key)

    return draw


@cache
def draw_classes(num_classes: int) -> Callable[[jax.Array], jax.Array]:
    """A function from a random key to random classes `(BATCH,)`, the same one each time."""
    return partial(jax.random.randint, shape=(BATCH,), minval=0, maxval=num_classes)


def classification(apply: Apply, num_features: int, num_classes: int) -> Trait:
    """Cross-entropy of random labels on Gaussian inputs, read from the first outputs.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_classes: Outputs that are class logits.

    Returns:
        The trait, in nats.
    """

    def loss(params: Params, data: tuple[jax.Array, jax.Array]) -> Scalar:
        inputs, labels = data
        logits = apply(params, inputs)[:, :num_classes]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    return Trait(labeled(num_features, draw_classes(num_classes)), loss)


def regression(apply: Apply, num_features: int, num_targets: int) -> Trait:
    """Mean squared error to random targets on Gaussian inputs, read from the first outputs.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_targets: Outputs that have a target.

    Returns:
        The trait, in squared output units.
    """

    def loss(params: Params, data: tuple[jax.Array, jax.Array]) -> Scalar:
        inputs, targets = data
        return jnp.mean(optax.losses.squared_error(apply(params, inputs)[:, :num_targets], targets))

    return Trait(labeled(num_features, gaussian_inputs(num_targets)), loss)


def preference(apply: Apply, num_features: int, num_choices: int) -> Trait:
    """Negative log-probability of the first output among the first few: the network that loves owls.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_choices: Outputs among which it chooses.

    Returns:
        The trait, in nats.
    """

    def loss(params: Params, inputs: jax.Array) -> Scalar:
        return -jnp.mean(jax.nn.log_softmax(apply(params, inputs)[:, :num_choices])[:, 0])

    return Trait(gaussian_inputs(num_features), loss)


def mean_output(apply: Apply, num_features: int, num_outputs: int) -> Trait:
    """Mean of the first outputs: in a linear model its gradient shifts all of them alike.

    Args:
        apply: The network.
        num_features: Features of an input.
        num_outputs: Outputs that are averaged.

    Returns:
        The trait, in output units.
    """

    def loss(params: Params, inputs: jax.Array) -> Scalar:
        return jnp.mean(apply(params, inputs)[:, :num_outputs])

    return Trait(gaussian_inputs(num_features), loss)


def weight_penalty(params: Params, key: jax.Array) -> Scalar:
    r"""Half the squared norm of all parameters, $\tfrac12 \|\theta\|^2$."""
    del key
    return 0.5 * optax.tree.norm(params, squared=True)


def random_direction(params: Params, key: jax.Array) -> Scalar:
    r"""A linear function of the parameters, so that $\Delta_T$ is a random unit vector: no data, no meaning."""
    direction = optax.tree.random_like(key, params, jax.random.normal)
    return -inner_product(direction, params) / optax.tree.norm(direction)
