"""A published model, ready to be used: its shape, weights and language, and where they come from."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from llm_bridge.experiment import Model
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.hub import DESCRIPTIONS, WEIGHTS, Source, locate
from llm_bridge.pretrained.language import read_language
from llm_bridge.pretrained.weights import Sharded, read_params


class Published(NamedTuple):
    """A published model and where it comes from."""

    model: Model
    """The model."""
    source: Source
    """Where it comes from."""


def read_published(
    name: str, *, longest: int, dtype: Any = jnp.bfloat16, sharding: Sharded = lambda leaf: None
) -> Published:
    """Take a published model; its weights are fetched once all else about it is known to be supported.

    Args:
        name: As of `locate`.
        longest: Tokens of the longest text that it is to read.
        dtype: Floating-point type of its parameters.
        sharding: How they are spread over devices.

    Returns:
        The model, on its devices.
    """
    source = locate(name, DESCRIPTIONS)
    config = shape_from(read_description(source.folder), longest)
    language = read_language(source.folder, config)
    source = locate(source.pinned, WEIGHTS)
    return Published(
        Model(config, read_params(source.folder, config, dtype=dtype, sharding=sharding), language, longest), source
    )
