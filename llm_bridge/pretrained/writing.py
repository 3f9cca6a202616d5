"""Checkpoints as transformers writes them, so that a student with its adapters merged can be served elsewhere."""

import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from safetensors.numpy import save

from llm_bridge.files.checkpoints import named_leaves
from llm_bridge.files.extra import require_extra
from llm_bridge.model.placement import fetch
from llm_bridge.model.shapes import Config
from llm_bridge.pretrained.families import describe, read_description
from llm_bridge.pretrained.names import is_stacked, is_transposed, tensors_of
from llm_bridge.pretrained.weights import INDEX, SINGLE
from llm_bridge.store import done_by_first
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole

ACCOMPANYING = ("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "*.jinja", "generation_config.json")
"""Files of a checkpoint that say how the model reads and writes."""

SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
"""How the files of a checkpoint in several pieces are named."""


class Part(NamedTuple):
    """A tensor that is to be written."""

    num_bytes: int
    """Size of the tensor."""
    read: Callable[[], np.ndarray]
    """Brings the tensor to the host, as published checkpoints hold it."""


def write_checkpoint(
    folder: Path, config: Config, params: Params, *, longest: int, base: Path | None = None, largest: int = 2 * 10**9
) -> None:
    """Write a checkpoint that transformers can read, with the tensors of one file at a time in the host's memory.

    Of the base that the model was tuned from tokenizer, chat template and description are kept; without one `longest`
    is the tokens of its longest text. No file has more bytes than `largest`, unless a single tensor has.
    """
    dtype = params["embedding"].dtype.name
    description = describe(config, longest, dtype)
    if base is not None:
        kept = {key: value for key, value in read_description(base).items() if key != "dtype"}
        description = kept | {"torch_dtype": dtype}
        done_by_first(partial(copy_accompanying, base, folder))
    done_by_first(partial(write_whole, folder / "config.json", json_text(description)))
    write_weights(folder, parts_of(config, params), largest=largest)


def write_weights(
    folder: Path,
    parts: Mapping[str, Part],
    *,
    largest: int,
    do: Callable[[Callable[[], None]], object] = done_by_first,
) -> None:
    """Write the tensors of a checkpoint by their published names, those of one file at a time; `do` what writes."""
    split = require_extra("huggingface_hub").split_state_dict_into_shards_factory(
        parts,
        get_storage_size=lambda part: part.num_bytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=largest,
    )
    do(partial(remove_weights, folder))
    for name, keys in split.filename_to_tensors.items():
        tensors = {key: parts[key].read() for key in keys}
        do(partial(write_tensors, folder / name, tensors))
    if split.is_sharded:
        index = json_text({"metadata": split.metadata, "weight_map": split.tensor_to_filename})
        do(partial(write_whole, folder / INDEX, index))


def remove_weights(folder: Path) -> None:
    """Remove the weights that a folder holds, lest those of two checkpoints lie beside each other."""
    for path in [folder / INDEX, *folder.glob("model*.safetensors")]:
        if path.name in (INDEX, SINGLE) or SHARD.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write one file of a checkpoint."""
    write_whole(path, save(tensors, metadata={"format": "pt"}))


def parts_of(config: Config, params: Params) -> dict[str, Part]:
    """List the tensors of a checkpoint by their published names."""

    def read(leaf: jax.Array, layer: int | None, *, transposed: bool) -> np.ndarray:
        array = fetch(leaf if layer is None else leaf[layer])
        return np.ascontiguousarray(array.T if transposed else array)

    parts = {}
    for name, leaf in named_leaves(params).items():
        stacked, tensors = is_stacked(name), tensors_of(name, config)
        for layer, tensor in enumerate(tensors):
            own = partial(read, leaf, layer if stacked else None, transposed=is_transposed(name))
            parts[tensor] = Part(leaf.nbytes // len(tensors), own)
    return parts


def copy_accompanying(base: Path, folder: Path) -> None:
    """Copy what says how a model reads and writes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (path for pattern in ACCOMPANYING for path in base.glob(pattern)):
            shutil.copyfile(path, folder / path.name)
    except OSError as error:
        raise InputError(f"can't write into {folder} ({error.strerror}): choose another --output") from error
