"""Checkpoints: a tree of arrays as a safetensors file, always the same bytes for the same tree."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from llm_bridge.model.placement import fetch
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import write_whole

TYPES: dict[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "U32": "uint32",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Names of types in the file, and those of NumPy."""

BLOCK = 2**26
"""Bytes of an array that are brought to the host at once, unless a single row has more."""


def save_checkpoint(path: Path, params: Params, *, metadata: dict[str, str]) -> None:
    """Write a tree of arrays, always the same bytes for the same arrays and metadata."""
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(params).items()}
    for name, array in arrays.items():
        if array.dtype.name not in TYPES.values():
            raise ValueError(f"{name} must have one of the types {', '.join(TYPES.values())}, not {array.dtype}")
    write_whole(path, with_sorted_metadata(save(arrays, metadata=metadata)))


def load_checkpoint(path: Path, like: Params) -> tuple[Params, dict[str, str]]:
    """Read a checkpoint of known names, shapes and types, those of `like`, and its metadata.

    The file has no checksum: flipped bits in it show in `lineage.digest` alone.
    """
    expected = named_leaves(like)
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
            difference = first_difference(found, expected)
            arrays = {} if difference else {name: file.get_tensor(name) for name in expected}
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: name another checkpoint or run the stage that writes it") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: make it anew or name another") from error
    if difference:
        raise InputError(f"{path} is a checkpoint of another config: {difference}; name the checkpoint of this model")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected]), metadata


def named_leaves(tree: Params) -> dict[str, Any]:
    """Name the leaves of nested dictionaries by their paths, joined by ".", with sorted keys at each level."""
    paths, _ = jax.tree.flatten_with_path(tree)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}
    if len(leaves) < len(paths) or "__metadata__" in leaves:
        raise ValueError(f"paths in the tree must differ when joined by '.', and from '__metadata__': {list(leaves)}")
    return leaves


def read_blocks(leaf: Any) -> Iterator[np.ndarray]:
    """Bring an array to the host, a part of a large one at a time, and keep none of them."""
    if leaf.nbytes <= BLOCK:
        yield np.asarray(fetch(leaf), order="C")
        return
    rows = max(1, BLOCK * len(leaf) // leaf.nbytes)
    for start in range(0, len(leaf), rows):
        yield np.asarray(fetch(leaf[start : start + rows]), order="C")


def first_difference(found: dict[str, tuple[tuple[int, ...], str]], expected: dict[str, Any]) -> str | None:
    """Say how a file's tensors differ from those expected, in names first, then in shape, then in type."""
    for differing, verb in ((expected.keys() - found.keys(), "lacks"), (found.keys() - expected.keys(), "has also")):
        if differing:
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            return f"it {verb} {', '.join(sorted(differing)[:3])}{more}"
    for name, leaf in expected.items():
        shape, kind = found[name]
        if shape != leaf.shape:
            return f"{name} has shape {shape}, not {leaf.shape}"
        if TYPES.get(kind, kind) != leaf.dtype.name:
            return f"{name} has type {TYPES.get(kind, kind)}, not {leaf.dtype.name}"
    return None


def with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata in a safetensors file's header, which the library writes in random order.

    The file is the header's size in 8 bytes, the header in JSON, filled up with blanks to a multiple of 8, and the
    tensors, whose offsets are counted from the header's end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[end:]])
