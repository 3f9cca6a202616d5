"""A published model, ready to be used: its shape, weights and language, and where they come from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from llm_bridge.experiment.writing import Model
from llm_bridge.files.checkpoints import named_leaves
from llm_bridge.model.placement import shardings
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.hub import DESCRIPTIONS, WEIGHTS, Source, locate
from llm_bridge.pretrained.language import read_language
from llm_bridge.pretrained.weights import Sharded, read_params

BLOCK = 64
"""Tokens of a block, as of `Model.block`."""


class Published(NamedTuple):
    """A published model and where it comes from."""

    model: Model
    """The model."""
    source: Source
    """Where it comes from."""


def read_reader(name: str, *, longest: int) -> Published:
    """Take a published model without its weights, by its name as of `locate`."""
    source = locate(name, DESCRIPTIONS)
    config = shape_from(read_description(source.folder), longest)
    language = read_language(source.folder, config)
    return Published(Model(config, None, language, longest, block=BLOCK), source)


def read_published(name: str, *, longest: int, dtype: Any = jnp.bfloat16) -> Published:
    """Take a published model, by its name as of `locate`, spread over the mesh of devices in force.

    Its weights are fetched once all else about it is known to be supported.
    """
    model, source = read_reader(name, longest=longest)
    source = locate(source.pinned, WEIGHTS)
    params = read_params(source.folder, model.config, dtype=dtype, sharding=on_mesh_in_force(model.config))
    return Published(model._replace(params=params), source)


def on_mesh_in_force(config: Config) -> Sharded:
    """Say how the parameters of a model, by their paths, are spread over the mesh in force."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return lambda leaf: None
    spread = named_leaves(shardings(mesh, jax.eval_shape(lambda: initialize(config, jax.random.key(0)))))
    return spread.__getitem__
