"""Initialization: the random keys of seeds, networks drawn from them, and students' inits off their teachers'.

Everything is compiled, with a leading axis of seeds.
"""

from functools import partial

import jax

from mlp_mnist import network, symmetry
from mlp_mnist.protocol import Protocol
from mlp_mnist.training import over_seeds
from theory.problem import Params

STREAMS = (
    "init",
    "teacher",
    "images",
    "student",
    "permuted",
    "rescaled",
    "noise",
    "signs",
    "matching",
    "redrawn",
    "labels",
)
"""What is drawn at random for a seed, each from a key of its own."""


def named_keys(root: jax.Array, indices: jax.Array) -> dict[str, jax.Array]:
    """Derive the random keys of seeds by stream, shape `(seeds,)` each."""
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(root, index), len(STREAMS)))(indices)
    return {name: keys[:, place] for place, name in enumerate(STREAMS)}


@jax.jit
def epoch_keys(keys: jax.Array, number: int) -> jax.Array:
    """Derive the keys of an epoch."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_networks(keys: jax.Array, body: tuple, num_pixels: int, num_auxiliary: int, scale: float) -> Params:
    """Draw a network for each seed."""
    return over_seeds(lambda key: network.initialize(key, body, num_pixels, num_auxiliary, scale))(keys)


@partial(jax.jit, static_argnums=(3, 4))
def blend(start: Params, fresh: Params, noise: Params, protocol: Protocol, kept: tuple[str, ...]) -> Params:
    r"""Take shared layers some way off the teacher's: $\rho\,\theta + \sqrt{1 - \rho^2}\,\theta' + \sigma\,\theta''$.

    Those beside the init are others, independent of it and of the same spread.
    """
    rho, sigma = protocol.correlation, protocol.init_noise
    mixed = jax.tree.map(lambda a, b, c: rho * a + (1 - rho**2) ** 0.5 * b + sigma * c, start, fresh, noise)
    return {name: (mixed if name in kept else start)[name] for name in start}


@jax.jit
def move(unit_map: symmetry.UnitMap, params: Params) -> Params:
    """Permute or rescale each seed's units."""
    return over_seeds(lambda unit_map, params: unit_map(params))(unit_map, params)
