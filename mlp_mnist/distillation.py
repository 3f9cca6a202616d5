"""Distillation: what a teacher learns from labels and a student from the teacher, an epoch at a time, and their scores.

Everything has a leading axis of seeds; a list of students is a list within each seed. Images are as stored, of shape
`(seeds, images, pixels)`, or `(images, pixels)` if all seeds share them. A protocol given to a compiled function is
reduced to what the function depends on, so that points of a study share their programs.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlp_mnist import network
from mlp_mnist.data import Dataset
from mlp_mnist.images import BLOCK, decode
from mlp_mnist.protocol import LOGITS, NUM_CLASSES, Logits, Protocol
from mlp_mnist.symmetry import UnitMap
from mlp_mnist.training import State, over_seeds, train_epoch
from theory.losses import ImitationLoss, kl_divergence, squared_error
from theory.problem import Params, inner_product


def logits(protocol: Protocol, params: Params, pixels: jax.Array, *, student: bool = False) -> jax.Array:
    """Compute the logits of one network, `(batch, logits)`, from images as stored."""
    multiply = network.fast_multiply(protocol.precision)
    return network.apply(params, decode(pixels), multiply, convolutional=student and protocol.convolutional)


@partial(jax.jit, static_argnames=("protocol",))
def teach_epoch(protocol: Protocol, states: State, data: Dataset, keys: jax.Array) -> State:
    """Train teachers by cross-entropy of class logits, without auxiliary heads: these get no gradient."""

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
    """Student's and teacher's logits on one image to a scalar."""
    return squared_error if protocol.loss == "squared-error" else kl_divergence(protocol.temperature, rescaled=True)


class Removal(NamedTuple):
    """What is taken out of each of a student's steps: its component along one direction, taken off along another."""

    measured: Params
    r"""Unit vector $\hat d$ in the hidden layers' parameters."""
    removed: Params
    r"""Unit vector $\hat w$: a step $u$ becomes $u - (u \cdot \hat d)\,\hat w$."""

    def __call__(self, updates: list[Params]) -> list[Params]:
        """Take it out of the steps of each of several students."""

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
    """Train students for an epoch to imitate teachers' logits `(seeds, images, logits)`, all of a seed in one order."""
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
    """Compute teachers' logits on all their students' images, once, shape `(seeds, images, logits)`."""
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
    """Measure the test accuracy of each seed."""

    def one(params: Params) -> jax.Array:
        outputs = logits(protocol, params, jnp.asarray(data.test_images), student=student)
        return accuracy(outputs, jnp.asarray(data.test_labels))

    return over_seeds(one)(params)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of images whose largest class logit is the right one; auxiliary logits don't vote."""
    return jnp.mean(jnp.argmax(logits[:, :NUM_CLASSES], axis=-1) == labels)


def cosine(left: Params, right: Params) -> jax.Array:
    """Cosine of the angle between two trees of one shape."""
    return inner_product(left, right) / jnp.sqrt(inner_product(left, left) * inner_product(right, right))


@partial(jax.jit, static_argnames=("randomly",))
def removals(displacement: Params, keys: jax.Array, *, randomly: bool) -> Removal:
    """Make unit vectors of displacements, or have what is removed the same size and, as a control, random signs."""

    def one(displacement: Params, key: jax.Array) -> Removal:
        unit = optax.tree.scale(1 / jnp.sqrt(inner_product(displacement, displacement)), displacement)
        if not randomly:
            return Removal(unit, unit)
        leaves, structure = jax.tree.flatten(unit)
        keys = jax.random.split(key, len(leaves))
        signs = [jax.random.rademacher(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
        return Removal(unit, jax.tree.unflatten(structure, list(map(jnp.multiply, leaves, signs))))

    return over_seeds(one)(displacement, keys)


@jax.jit
def displacement_cosine(
    student: Params, start: Params, teacher: Params, init: Params, unit_map: UnitMap | None
) -> jax.Array:
    """Compare the ways of students, in their own coordinates, and teachers; students' inits are in the teachers'."""

    def one(student: Params, start: Params, teacher: Params, init: Params, unit_map: UnitMap | None):
        back = student if unit_map is None else unit_map.inverse()(student)
        return cosine(optax.tree.sub(back, start), optax.tree.sub(teacher, init))

    return over_seeds(one)(student, start, teacher, init, unit_map)
