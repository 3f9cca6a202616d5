"""Strangers that are made of a base itself, so that no other checkpoint is needed."""

from typing import Literal

import jax

from llm_bridge.backends.backend import Known, Weights
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.model.adapters import folded
from llm_bridge.model.placement import spread
from llm_bridge.model.shapes import initialize
from llm_bridge.model.symmetry import rescale_units

Altered = Literal["random", "rescaled"]
"""The base's shape at random weights, or its function with other weights, every unit scaled by a factor of its own."""

SEED, SPREAD = 10**9 + 1, 1.0
"""Seed of random weights and factors, and standard deviation of the factors' logarithm."""


def alter(known: Known, way: Altered) -> Known:
    """Make a stranger of a model, whose adapters become part of its weights.

    A function is the same to rounding in the type of the model's weights. Adapters that are tuned from a stranger are
    for weights that are in no file, so that no other command can load them.
    """
    config, key, dtype = known.model.config, jax.random.key(SEED), known.backend.dtype
    if way == "random":
        params = initialize(config, key, dtype)
    else:
        params = rescale_units(config, folded(known.model.params), key, SPREAD)
    params = spread(jax.tree.map(lambda leaf: leaf.astype(dtype), params))
    assert known.weights is not None
    identity = digest(params)
    weights = Weights(known.weights.source, identity)
    return known.with_params(params | {"adapters": {}})._replace(ancestry=Ancestry(weights=identity), weights=weights)
