"""Lessons: what a teacher learns from labels and a student from the teacher, an epoch at a time, and how both score.

Everything has a leading axis of seeds. A protocol given to a compiled function is reduced to what the function depends
on, so that points of a study share their programs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_mnist import network
from mlp_mnist.data import Dataset
from mlp_mnist.images import BLOCK, decode
from mlp_mnist.protocol import LOGITS, NUM_CLASSES, Logits, Protocol
from mlp_mnist.training import State, train_epoch
from theory.losses import ImitationLoss, kl_divergence, squared_error
from theory.problem import Params, inner_product


def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function over the leading axis of all its arguments.

    Args:
        function: For one seed.

    Returns:
        For several; one alone is spared `vmap`, whose batched products are slow on processors.
    """

    def mapped(*arguments: Any) -> Any:
        if len(jax.tree.leaves(arguments)[0]) == 1:
            result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
            return jax.tree.map(lambda leaf: leaf[None], result)
        return jax.vmap(function)(*arguments)

    return mapped


def logits(protocol: Protocol, params: Params, pixels: jax.Array, *, student: bool = False) -> jax.Array:
    """Compute a teacher's or a student's logits.

    Args:
        protocol: The protocol.
        params: Parameters of one network.
        pixels: Images as stored, shape `(batch, pixels)`.
        student: Whose shape the network has.

    Returns:
        Shape `(batch, logits)`.
    """
    multiply = network.fast_multiply(protocol.precision)
    return network.apply(params, decode(pixels), multiply, convolutional=student and protocol.convolutional)


@partial(jax.jit, static_argnames=("protocol",))
def teach_epoch(protocol: Protocol, states: State, data: Dataset, keys: jax.Array) -> State:
    """Train teachers for an epoch by cross-entropy of their class logits.

    Args:
        protocol: The protocol, reduced by `Protocol.teacher`.
        states: The teachers, without auxiliary heads: these get no gradient.
        data: The images.
        keys: Random keys of the orders, shape `(seeds,)`.

    Returns:
        The teachers after.
    """

    def loss(params: Params, indices: jax.Array, weights: jax.Array) -> jax.Array:
        outputs, labels = logits(protocol, params, data.train_images[indices]).T, data.train_labels[indices]
        return weights @ optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels, axis=0)

    def epoch(state: State, key: jax.Array) -> State:
        return train_epoch(
            loss,
            state,
            key,
            jnp.float32(protocol.learning_rate),
            optimizer="adam",
            num_examples=len(data.train_labels),
            batch_size=protocol.batch_size,
        )

    return over_seeds(epoch)(states, keys)


def imitation_loss(protocol: Protocol) -> ImitationLoss:
    """Give the loss of a student on one image.

    Args:
        protocol: The protocol: its loss and temperature.

    Returns:
        Student's and teacher's logits to a scalar.
    """
    return squared_error if protocol.loss == "squared-error" else kl_divergence(protocol.temperature, rescaled=True)


class Removal(NamedTuple):
    """What is taken out of each of a student's steps: its component along one direction, taken off along another."""

    measured: Params
    r"""Unit vector $\hat d$ in the hidden layers' parameters."""
    removed: Params
    r"""Unit vector $\hat w$: a step $u$ becomes $u - (u \cdot \hat d)\,\hat w$."""

    def __call__(self, updates: list[Params]) -> list[Params]:
        """Take it out of the steps of several students.

        Args:
            updates: Their steps.

        Returns:
            What is left.
        """

        def keep(update: Params) -> Params:
            size = inner_product(update["hidden"], self.measured)
            return update | {"hidden": optax.tree.add_scale(update["hidden"], -size, self.removed)}

        return list(map(keep, updates))


@partial(jax.jit, static_argnames=("protocol", "chosen"))
def imitate_epoch(
    protocol: Protocol,
    chosen: Sequence[Logits],
    states: State,
    pixels: jax.Array,
    labels: jax.Array,
    keys: jax.Array,
    removal: Removal | None = None,
) -> State:
    """Train students for an epoch to imitate a teacher's logits.

    Args:
        protocol: The protocol, reduced by `Protocol.imitation`.
        chosen: What each student imitates.
        states: The students, a list of networks a seed.
        pixels: Images as stored, shape `(seeds, images, pixels)`, or `(images, pixels)` if all seeds share them.
        labels: The teachers' logits on them, shape `(seeds, images, logits)`.
        keys: Random keys of the orders, shape `(seeds,)`, the same for all students of a seed.
        removal: What is taken out of each step, if anything.

    Returns:
        The students after.
    """
    common, loss_of_image = pixels.ndim == 2, jax.vmap(imitation_loss(protocol), in_axes=1)

    def epoch(state: State, labels: jax.Array, key: jax.Array, removal: Removal | None, own: jax.Array | None) -> State:
        images, columns = pixels if own is None else own, labels.T

        def loss(students: list[Params], indices: jax.Array, weights: jax.Array) -> jax.Array:
            batch, targets = images[indices], columns[:, indices]

            def mean_loss(params: Params, name: Logits) -> jax.Array:
                outputs = logits(protocol, params, batch, student=True).T[LOGITS[name]]
                return weights @ loss_of_image(outputs, targets[LOGITS[name]])

            return sum(map(mean_loss, students, chosen), start=jnp.zeros(()))

        return train_epoch(
            loss,
            state,
            key,
            jnp.float32(protocol.rate),
            optimizer=protocol.optimizer,
            num_examples=len(labels),
            batch_size=protocol.batch_size,
            restrict=removal or (lambda updates: updates),
        )

    return over_seeds(epoch)(states, labels, keys, removal, None if common else pixels)


@partial(jax.jit, static_argnames=("protocol",))
def label_images(protocol: Protocol, teachers: Params, pixels: jax.Array) -> jax.Array:
    """Compute teachers' logits on all their students' images, once.

    Args:
        protocol: The protocol, reduced by `Protocol.teacher`.
        teachers: Parameters.
        pixels: Images as stored, shape `(seeds, images, pixels)`, or `(images, pixels)` if all seeds share them.

    Returns:
        Shape `(seeds, images, logits)`.
    """
    num_images = pixels.shape[-2]

    def label(teacher: Params, pixels: jax.Array) -> jax.Array:
        blocks = jnp.pad(pixels, ((0, -num_images % BLOCK), (0, 0))).reshape(-1, BLOCK, pixels.shape[-1])
        outputs = jax.lax.map(partial(logits, protocol, teacher), blocks)
        return outputs.reshape(-1, outputs.shape[-1])[:num_images]

    if pixels.ndim == 2:
        return over_seeds(lambda teacher: label(teacher, pixels))(teachers)
    return over_seeds(label)(teachers, pixels)


@partial(jax.jit, static_argnames=("protocol", "student"))
def score(protocol: Protocol, params: Params, data: Dataset, *, student: bool = False) -> jax.Array:
    """Measure test accuracies.

    Args:
        protocol: The protocol, reduced.
        params: Networks.
        data: The images.
        student: Whose shape they have.

    Returns:
        Shape `(seeds,)`.
    """

    def one(params: Params) -> jax.Array:
        outputs = logits(protocol, params, jnp.asarray(data.test_images), student=student)
        return accuracy(outputs, jnp.asarray(data.test_labels))

    return over_seeds(one)(params)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of images whose largest class logit is the right one.

    Args:
        logits: Shape `(images, logits)`; auxiliary logits don't vote.
        labels: Classes, shape `(images,)`.

    Returns:
        Shape `()`.
    """
    return jnp.mean(jnp.argmax(logits[:, :NUM_CLASSES], axis=-1) == labels)


def cosine(left: Params, right: Params) -> jax.Array:
    """Cosine of the angle between two trees.

    Args:
        left: A tree of arrays.
        right: A tree of the same shapes.

    Returns:
        Shape `()`.
    """
    return inner_product(left, right) / jnp.sqrt(inner_product(left, left) * inner_product(right, right))
