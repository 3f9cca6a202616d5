"""Weights of published checkpoints: read tensor by tensor from safetensors files, straight onto the devices."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Float, Int
from safetensors import SafetensorError, safe_open

from llm_bridge.files.checkpoints import TYPES, first_difference, named_leaves
from llm_bridge.files.objects import read_object
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained.names import HEAD, TENSORS, is_stacked, is_transposed, tensors_of, text_names
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.progress import follow

SINGLE = "model.safetensors"
"""The file of a checkpoint in one piece."""

INDEX = f"{SINGLE}.index.json"
"""What says which files a checkpoint in several pieces has."""

READABLE = {"F64", "F32", "F16", "BF16"}
"""Types of tensors that can be read; others are those of quantized checkpoints."""

ROWS = 4096
"""Rows of an embedding that are compared at once."""

Sharded = Callable[[str], Sharding | None]
"""How a parameter, named by its path, is spread over devices; None for the default device."""

Tensors = dict[str, Any]
"""Slices of safetensors files by name, not read yet."""


def read_params(
    folder: Path, config: Config, *, dtype: Any = jnp.bfloat16, sharding: Sharded = lambda leaf: None
) -> Params:
    """Read weights straight onto the devices, with one tensor at a time in the host's memory.

    Each process reads what its own devices hold.
    """
    like = jax.eval_shape(lambda: initialize(config, jax.random.key(0), dtype))
    leaves, read = named_leaves(like), []
    with ExitStack() as opened:
        try:
            tensors = open_tensors(folder, opened)
            require_tensors(folder, config, leaves, tensors)
            for name, leaf in follow(leaves.items(), f"read {folder.name}", "arrays"):
                parts = [tensors[part] for part in tensors_of(name, config)]
                read.append(read_leaf(name, leaf, parts, sharding(name)))
        except SafetensorError as error:
            raise InputError(f"the weights in {folder} are damaged ({error}): fetch them anew") from error
    return jax.tree.unflatten(jax.tree.structure(like), read)


def open_tensors(folder: Path, opened: ExitStack) -> Tensors:
    """Open the safetensors files of a checkpoint, which `opened` closes.

    All tensors count but the rotary waves that old checkpoints hold, too, and the eyes of a model that sees images.
    """
    files, tensors = weight_files(folder), dict[str, Any]()
    for file in files:
        if (folder / file).exists() and not (folder / file).is_file():
            raise InputError(f"{folder / file} is no file: fetch it anew")
        try:
            handle = opened.enter_context(safe_open(folder / file, framework="numpy"))
        except (OSError, SafetensorError) as error:
            if (folder / file).exists():
                raise InputError(f"{folder / file} can't be read ({error}): fetch it anew") from error
            others = "" if files != [SINGLE] else "; weights in other formats, which may hold programs, are not read"
            raise InputError(f"{folder} has no {file}: name a checkpoint in safetensors files{others}") from error
        tensors |= {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
    own = text_names(name for name in tensors if not name.endswith("rotary_emb.inv_freq"))
    return {name: tensors[held] for name, held in own.items()}


def weight_files(folder: Path) -> list[str]:
    """List the files of a checkpoint's weights, as transformers takes them: of two sets that in one piece."""
    if (folder / SINGLE).exists():
        return [SINGLE]
    try:
        named = read_object(folder / INDEX, "fetch the checkpoint anew").get("weight_map")
    except FileNotFoundError:
        return [SINGLE]
    files = list(named.values()) if isinstance(named, dict) else []
    for file in files or [named]:
        if not isinstance(file, str) or not file.endswith(".safetensors") or Path(file).name != file:
            raise InputError(f"{folder / INDEX} names {file!r:.60} for weights: fetch the checkpoint anew")
    return sorted(set(files))


def require_tensors(folder: Path, config: Config, leaves: dict[str, Any], tensors: Tensors) -> None:
    """Refuse a checkpoint whose tensors are not those of its shape, whose parameters are given by path.

    A head that is tied to the embedding is taken out of the tensors if the two are the same.
    """
    if config.tied and (head := tensors.pop(HEAD, None)) is not None:
        embedding = tensors.get(TENSORS["embedding"])
        if embedding is not None and not are_same(head, embedding):
            raise InputError(f"{folder} holds a {HEAD} that differs from the embedding, to which config.json ties it")
    found = {name: (tuple(tensor.get_shape()), tensor.get_dtype()) for name, tensor in tensors.items()}
    expected = {}
    for name, leaf in leaves.items():
        shape = leaf.shape[is_stacked(name) :]
        for part in tensors_of(name, config):
            kind = TYPES.get(found[part][1], "float32") if part in found else "float32"
            expected[part] = jax.ShapeDtypeStruct(shape[::-1] if is_transposed(name) else shape, kind)
    quantized = {name for name, (_, kind) in found.items() if kind not in READABLE}
    if difference := first_difference({name: found[name] for name in found.keys() - quantized}, expected):
        if not quantized:
            raise InputError(f"{folder} is no checkpoint of what its config.json says: {difference}; fetch it anew")
        raise InputError(f"{folder} holds quantized tensors, as {min(quantized)}: name the checkpoint in bfloat16")


def are_same(tensor: Any, other: Any) -> bool:
    """Tell whether two slices of safetensors files hold the same matrix, some rows at a time."""
    if tensor.get_shape() != other.get_shape():
        return False
    count = tensor.get_shape()[0]
    blocks = [slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]
    return all(np.array_equal(tensor[block], other[block]) for block in blocks)


def read_leaf(name: str, like: jax.ShapeDtypeStruct, parts: list[Any], sharding: Sharding | None) -> jax.Array:
    """Read a parameter; a stacked one is filled in place, a layer at a time, lest the host reads ahead."""
    stacked, transposed = is_stacked(name), is_transposed(name)
    own = sharding_of_part(sharding, len(like.shape), stacked=stacked, transposed=transposed)
    if not stacked:
        return jax.device_put(converted(put(parts[0], own), dtype=like.dtype, transposed=transposed), sharding)
    whole = jnp.zeros(like.shape, like.dtype, device=sharding)
    fill = filling(sharding)
    for layer, part in enumerate(parts):
        whole = jax.block_until_ready(fill(whole, put(part, own), layer, transposed=transposed))
    return whole


def put(part: Any, sharding: Sharding | None) -> jax.Array:
    """Read a tensor, or of each tensor what a device is to hold, and bring it there."""
    if sharding is None:
        return jnp.asarray(part[:])
    return jax.make_array_from_callback(tuple(part.get_shape()), sharding, lambda index: part[index])


def sharding_of_part(sharding: Sharding | None, axes: int, *, stacked: bool, transposed: bool) -> Sharding | None:
    """Say how a tensor is spread, given how the parameter is that it becomes a part of.

    A stacked parameter's first axis counts layers, a transposed one has the others in reverse order. Nothing moves
    between devices where the layers are not spread.
    """
    if not isinstance(sharding, NamedSharding):
        return sharding
    spec = [*sharding.spec, *[None] * (axes - len(sharding.spec))][stacked:]
    return NamedSharding(sharding.mesh, PartitionSpec(*(reversed(spec) if transposed else spec)))


@partial(jax.jit, static_argnames=("dtype", "transposed"))
def converted(part: Float[Array, "..."], *, dtype: Any, transposed: bool) -> Float[Array, "..."]:
    """Turn a tensor into what a model computes with."""
    return (part.T if transposed else part).astype(dtype)


@cache
def filling(sharding: Sharding | None) -> Callable[..., jax.Array]:
    """Compile `with_layer` for parameters that are spread in some way, to work in its first argument's memory."""
    return jax.jit(with_layer, static_argnames="transposed", donate_argnums=0, out_shardings=sharding)


def with_layer(
    whole: Float[Array, "layers ..."], part: Float[Array, "..."], layer: Int[Array, ""], *, transposed: bool
) -> Float[Array, "layers ..."]:
    """Put a layer's tensor into its place in a parameter of all layers."""
    return whole.at[layer].set(converted(part, dtype=whole.dtype, transposed=transposed))
