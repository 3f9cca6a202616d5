"""The experiment on one seed: a teacher learns digits, students imitate its outputs on noise."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from mlp_mnist import symmetry
from mlp_mnist.data import Dataset
from mlp_mnist.protocol import NUM_CLASSES, Protocol
from mlp_mnist.training import train
from theory.networks import Network, Params, mlp
from theory.problems import inner_product

Init = Literal["shared", "permuted", "rescaled", "stranger"]
"""A student's init: the teacher's; its hidden units permuted, or rescaled; or another seed's."""

LOGITS = {"aux": slice(NUM_CLASSES, None), "all": slice(None)}
"""What a student imitates: the auxiliary logits alone, or all logits jointly."""

RESCALING_SPREAD = 1.0
"""Standard deviation of the logarithm of the factors on rescaled hidden units."""

NOISE_BLOCK = 1000
"""Noise images drawn at once: blocks that fit the cache are drawn several times faster."""


NUM_WORKERS = 2
"""Seeds that run side by side."""


class SeedResult(NamedTuple):
    """What one seed measured; a stack of seeds has a leading axis."""

    reference: jax.Array | np.ndarray
    """Test accuracy of the teacher's init, shape `()`."""
    teacher: jax.Array | np.ndarray
    """Test accuracy of the teacher, shape `()`."""
    students: jax.Array | np.ndarray
    """Test accuracy of the students, shape `(inits, 2)`, imitating auxiliary and all logits."""
    cosines: jax.Array | np.ndarray
    """Cosine of a student's displacement, in the teacher's coordinates, with the teacher's, same shape."""


def build_network(protocol: Protocol, num_pixels: int) -> Network:
    """Build the classifier with auxiliary logits.

    Args:
        protocol: The protocol.
        num_pixels: Pixels of an image.

    Returns:
        The network; outputs are the ten class logits, then the auxiliary ones.
    """
    return mlp((num_pixels, *protocol.hidden, NUM_CLASSES + protocol.num_auxiliary), "relu")


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of images whose largest class logit is the right one.

    Args:
        logits: Shape `(images, logits)`; auxiliary logits don't vote.
        labels: Digits, shape `(images,)`.

    Returns:
        Shape `()`.
    """
    return jnp.mean(jnp.argmax(logits[:, :NUM_CLASSES], axis=-1) == labels)


def train_teacher(protocol: Protocol, network: Network, init: Params, data: Dataset, key: jax.Array) -> Params:
    """Train the teacher on the digits by cross-entropy of its class logits.

    Args:
        protocol: The protocol.
        network: The network.
        init: Its parameters at the start.
        data: The images.
        key: Random key of the orders.

    Returns:
        The teacher's parameters.
    """
    images, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)

    def loss(params: Params, indices: jax.Array, weights: jax.Array) -> jax.Array:
        logits = network.apply(params, images[indices])[:, :NUM_CLASSES]
        return weights @ optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels[indices])

    return train(
        loss,
        init,
        key,
        num_examples=len(images),
        epochs=protocol.teacher_epochs,
        batch_size=protocol.batch_size,
        learning_rate=protocol.learning_rate,
    )


def draw_noise(protocol: Protocol, num_pixels: int, key: jax.Array) -> jax.Array:
    """Draw the images on which students imitate.

    Args:
        protocol: The protocol.
        num_pixels: Pixels of an image.
        key: Random key.

    Returns:
        Uniform in [-1, 1], shape `(num_noise, pixels)`.
    """
    keys = jax.random.split(key, -(-protocol.num_noise // NOISE_BLOCK))
    draw = partial(jax.random.uniform, shape=(NOISE_BLOCK, num_pixels), minval=-1.0)
    return jax.lax.map(draw, keys).reshape(-1, num_pixels)[: protocol.num_noise]


def train_students(
    protocol: Protocol,
    network: Network,
    inits: Sequence[Params],
    chosen: Sequence[slice],
    teacher: Params,
    noise: jax.Array,
    key: jax.Array,
) -> list[Params]:
    """Train students on noise by the divergence KL(teacher ‖ student) of the softmax over chosen logits.

    Args:
        protocol: The protocol.
        network: The network.
        inits: Parameters at the start, one tree a student.
        chosen: Which logits each imitates.
        teacher: The teacher's parameters.
        noise: Images, shape `(num_noise, pixels)`.
        key: Random key of the orders, the same for all students.

    Returns:
        The students' parameters, one tree a student.
    """
    labels = network.apply(teacher, noise)

    def loss(students: list[Params], indices: jax.Array, weights: jax.Array) -> jax.Array:
        images, targets = noise[indices], labels[indices]

        def divergence(params: Params, logits: slice) -> jax.Array:
            student = jax.nn.log_softmax(network.apply(params, images)[:, logits])
            return weights @ optax.losses.kl_divergence(student, jax.nn.softmax(targets[:, logits]))

        return sum(map(divergence, students, chosen), start=jnp.zeros(()))

    return train(
        loss,
        list(inits),
        key,
        num_examples=len(noise),
        epochs=protocol.student_epochs,
        batch_size=protocol.batch_size,
        learning_rate=protocol.learning_rate,
    )


def cosine(left: Params, right: Params) -> jax.Array:
    """Cosine of the angle between two trees.

    Args:
        left: A tree of arrays.
        right: A tree of the same shapes.

    Returns:
        Shape `()`.
    """
    return inner_product(left, right) / jnp.sqrt(inner_product(left, left) * inner_product(right, right))


def run_seed(protocol: Protocol, inits: Sequence[Init], data: Dataset, root: jax.Array, index: jax.Array) -> SeedResult:
    """Run teacher and students of one seed.

    Everything is drawn from `fold_in(root, index)`; a stranger starts from the init of seed `index + 1`, so no student
    ever meets its own teacher, and no result depends on how many seeds run.

    Args:
        protocol: The protocol.
        inits: The students' inits.
        data: The images.
        root: Root of all randomness.
        index: Number of the seed, shape `()`.

    Returns:
        Accuracies and cosines.
    """
    num_pixels = data.train_images.shape[1]
    network = build_network(protocol, num_pixels)
    keys = jax.random.split(jax.random.fold_in(root, index), 6)
    init_key, teacher_key, noise_key, student_key, permutation_key, rescaling_key = keys
    stranger_key = jax.random.split(jax.random.fold_in(root, index + 1), 6)[0]
    init = network.initialize(init_key)
    stay = symmetry.identity(protocol.hidden)
    starts: dict[Init, tuple[Params, symmetry.UnitMap]] = {
        "shared": (init, stay),
        "permuted": (init, symmetry.random_permutation(permutation_key, protocol.hidden)),
        "rescaled": (init, symmetry.random_rescaling(rescaling_key, protocol.hidden, RESCALING_SPREAD)),
        "stranger": (network.initialize(stranger_key), stay),
    }
    teacher = train_teacher(protocol, network, init, data, teacher_key)
    noise = draw_noise(protocol, num_pixels, noise_key)

    arms = [(*starts[name], logits) for name in inits for logits in LOGITS.values()]
    moved = [unit_map(origin) for origin, unit_map, _ in arms]
    chosen = [logits for *_, logits in arms]
    students = train_students(protocol, network, moved, chosen, teacher, noise, student_key)

    def score(params: Params) -> jax.Array:
        return accuracy(network.apply(params, jnp.asarray(data.test_images)), jnp.asarray(data.test_labels))

    learned = optax.tree.sub(teacher, init)
    cosines = [
        cosine(optax.tree.sub(unit_map.inverse()(student), origin), learned)
        for student, (origin, unit_map, _) in zip(students, arms, strict=True)
    ]
    shape = (len(inits), len(LOGITS))
    return SeedResult(
        reference=score(init),
        teacher=score(teacher),
        students=jnp.stack(list(map(score, students))).reshape(shape),
        cosines=jnp.stack(cosines).reshape(shape),
    )


def run_seeds(protocol: Protocol, inits: Sequence[Init], data: Dataset, seed: int, num_seeds: int) -> SeedResult:
    """Run many seeds by one compiled program, two side by side.

    A step of one seed keeps two cores busy only in part; the other seed fills the gaps.

    Args:
        protocol: The protocol.
        inits: The students' inits.
        data: The images.
        seed: Root of all randomness.
        num_seeds: How many.

    Returns:
        NumPy arrays with a leading axis `(num_seeds,)`.
    """
    root, images = jax.random.key(seed), jax.tree.map(jnp.asarray, data[1:])

    @jax.jit
    def compute(images: tuple[jax.Array, ...], index: jax.Array) -> SeedResult:
        return run_seed(protocol, inits, Dataset(data.name, *images), root, index)

    compiled = compute.lower(images, jnp.uint32(0)).compile()
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        results = pool.map(lambda index: jax.device_get(compiled(images, jnp.uint32(index))), range(num_seeds))
        bar = tqdm(results, total=num_seeds, desc="training", unit=" seeds", disable=None, leave=False)
        return SeedResult(*map(np.stack, zip(*bar, strict=True)))
