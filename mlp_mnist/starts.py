"""What seeds start from: their keys, networks and noise, and what becomes of a student's init.

Everything is compiled, with a leading axis of seeds.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from mlp_mnist import network, symmetry
from mlp_mnist.images import draw_images
from mlp_mnist.lessons import Removal, cosine, over_seeds
from mlp_mnist.protocol import Images, Protocol
from mlp_mnist.training import State, start_training
from theory.problem import Params, inner_product

STREAMS = ("init", "teacher", "images", "student", "permuted", "rescaled", "noise", "signs", "matching", "redrawn")
"""What is drawn at random for a seed, each from a key of its own."""


def named_keys(root: jax.Array, indices: jax.Array) -> dict[str, jax.Array]:
    """Derive the random keys of seeds.

    Args:
        root: Root of all randomness.
        indices: Numbers of the seeds, shape `(seeds,)`.

    Returns:
        Keys of shape `(seeds,)` by stream.
    """
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(root, index), len(STREAMS)))(indices)
    return {name: keys[:, place] for place, name in enumerate(STREAMS)}


@jax.jit
def epoch_keys(keys: jax.Array, number: int) -> jax.Array:
    """Derive the keys of an epoch.

    Args:
        keys: Keys of the seeds.
        number: The epoch.

    Returns:
        Shape `(seeds,)`.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_networks(keys: jax.Array, body: tuple, num_pixels: int, num_auxiliary: int, scale: float) -> Params:
    """Draw a network for each seed.

    Args:
        keys: Shape `(seeds,)`.
        body: What their hidden layers are.
        num_pixels: Pixels of an image.
        num_auxiliary: Auxiliary logits.
        scale: Factor on the weights.

    Returns:
        Parameters with a leading axis of seeds.
    """
    return over_seeds(lambda key: network.initialize(key, body, num_pixels, num_auxiliary, scale))(keys)


@partial(jax.jit, static_argnums=(0, 1, 2))
def draw_all_images(kind: Images, num_images: int, num_pixels: int, keys: jax.Array) -> jax.Array:
    """Draw noise for each seed.

    Args:
        kind: Which noise.
        num_images: How many images.
        num_pixels: Pixels of an image.
        keys: Shape `(seeds,)`.

    Returns:
        As stored, shape `(seeds, images, pixels)`.
    """
    return over_seeds(lambda key: draw_images(kind, num_images, num_pixels, key))(keys)


@partial(jax.jit, static_argnums=1)
def start_together(params: Params, optimizer: str) -> State:
    """Begin the training of all seeds.

    Args:
        params: Parameters.
        optimizer: A name in `training.OPTIMIZERS`.

    Returns:
        The states.
    """
    return over_seeds(lambda params: start_training(params, optimizer))(params)


@partial(jax.jit, static_argnums=(3, 4))
def blend(start: Params, fresh: Params, noise: Params, protocol: Protocol, kept: tuple[str, ...]) -> Params:
    r"""Take shared layers some way off the teacher's: $\rho\,\theta + \sqrt{1 - \rho^2}\,\theta' + \sigma\,\theta''$.

    Args:
        start: The inits $\theta$.
        fresh: Others $\theta'$, independent, of the same spread.
        noise: Still others $\theta''$.
        protocol: The protocol: correlation $\rho$, noise $\sigma$.
        kept: Names of the shared parts.

    Returns:
        The inits.
    """
    rho, sigma = protocol.correlation, protocol.init_noise
    mixed = jax.tree.map(lambda a, b, c: rho * a + (1 - rho**2) ** 0.5 * b + sigma * c, start, fresh, noise)
    return {name: (mixed if name in kept else start)[name] for name in start}


@jax.jit
def move(unit_map: symmetry.UnitMap, params: Params) -> Params:
    """Permute or rescale units.

    Args:
        unit_map: How, for each seed.
        params: Parameters.

    Returns:
        Parameters of the same functions.
    """
    return over_seeds(lambda unit_map, params: unit_map(params))(unit_map, params)


@partial(jax.jit, static_argnames=("randomly",))
def removals(displacement: Params, keys: jax.Array, *, randomly: bool) -> Removal:
    """Make unit vectors of displacements.

    Args:
        displacement: What is measured in each step.
        keys: Random keys of the signs.
        randomly: Whether what is removed has random signs.

    Returns:
        The removal for each seed.
    """

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
    student: Params, start: Params, teacher: Params, init: Params, unit_map: symmetry.UnitMap | None
) -> jax.Array:
    """Compare the ways of students and teachers.

    Args:
        student: The students, in their own coordinates.
        start: Their inits, in the teachers'.
        teacher: The teachers.
        init: Their inits.
        unit_map: How the students' units differ, if they do.

    Returns:
        Cosines, shape `(seeds,)`.
    """

    def one(student: Params, start: Params, teacher: Params, init: Params, unit_map: symmetry.UnitMap | None):
        back = student if unit_map is None else unit_map.inverse()(student)
        return cosine(optax.tree.sub(back, start), optax.tree.sub(teacher, init))

    return over_seeds(one)(student, start, teacher, init, unit_map)
