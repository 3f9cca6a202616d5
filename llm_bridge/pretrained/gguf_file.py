"""Files in llama.cpp's format, GGUF: metadata by key, and tensors that are read when they are asked for."""

import struct
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from llm_bridge.files.extra import require_extra
from theory.runs.command_line import InputError

MAGIC, VERSIONS = b"GGUF", (2, 3)
"""How a file begins, and versions of the format that can be read."""

NUMBERS: dict[int, str] = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of metadata that are numbers, and how `struct` and NumPy call them, little-endian."""

SINGLE, TEXT, ARRAY = 6, 8, 9
"""Other types of metadata, and that of single precision."""

PLAIN: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
"""Types of tensors that are kept as they are; others are numbers of few bits, with scales."""

MOST_AXES = 4
"""Of a tensor."""

NAMES: dict[type, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    list: "list of texts",
    np.ndarray: "list of numbers",
}
"""What metadata can be asked to be."""

REMEDY = "fetch it anew, or name another file"
"""What to do about a file that can't be used."""


class Tensor(NamedTuple):
    """A tensor, not read yet."""

    kind: str
    """Type of its numbers, as llama.cpp calls it."""
    shape: tuple[int, ...]
    """Shape, as NumPy has it."""
    content: memoryview
    """Its bytes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers that it is read as."""
        return np.dtype(PLAIN.get(self.kind, np.float32))

    @property
    def num_bytes(self) -> int:
        """Size of the numbers that it is read as."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Read its numbers; those of few bits become what they mean, in single precision."""
        if self.kind in PLAIN:
            return np.frombuffer(self.content, self.dtype).reshape(self.shape)
        rows = np.frombuffer(self.content, np.uint8).reshape(*self.shape[:-1], -1)
        with np.errstate(all="ignore"):
            return dequantized(rows, self.kind).reshape(self.shape)


class Gguf(NamedTuple):
    """What a file holds."""

    path: Path
    """The file."""
    metadata: dict[str, Any]
    """Numbers, texts, lists of texts and arrays of numbers."""
    tensors: dict[str, Tensor]
    """Tensors by name."""

    def find(self, key: str, kind: type) -> Any:
        """Look up metadata of a type; None if there are none."""
        value = self.metadata.get(key)
        if value is not None and type(value) is not kind:
            raise InputError(f"{self.path} says {key}={value!r:.40}, which is no {NAMES[kind]}: {REMEDY}")
        return value

    def need(self, key: str, kind: type) -> Any:
        """Look up metadata that have to be there."""
        if (value := self.find(key, kind)) is None:
            raise InputError(f"{self.path} doesn't say {key}: {REMEDY}")
        return value


class Cursor:
    """Reads one value after the other; none reaches beyond the file, so that no count makes it go on without end."""

    def __init__(self, content: memoryview):
        self.content, self.place = content, 0

    def take(self, size: int) -> memoryview:
        """Read some bytes."""
        start, self.place = self.place, self.place + size
        if self.place > len(self.content):
            raise ValueError("it ends too early")
        return self.content[start : self.place]

    def number(self, code: str) -> Any:
        """Read a number of a type as of `struct`."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        """Read a text."""
        return str(self.take(self.number("Q")), "utf-8")

    def value(self, kind: int) -> Any:
        """Read metadata; of a number in single precision the shortest decimal, as of what was written there."""
        if kind == TEXT:
            return self.text()
        if kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner == TEXT:
                return [self.text() for _ in range(count)]
            dtype = np.dtype(f"<{NUMBERS[inner]}")
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        number = self.number(NUMBERS[kind])
        return float(str(np.float32(number))) if kind == SINGLE else number


def read_gguf(path: Path) -> Gguf:
    """Read a file's metadata, and where its tensors are."""
    gguf = require_extra("gguf", "smol")
    try:
        with path.open("rb") as file:
            return parse(path, memoryview(mmap(file.fileno(), 0, access=ACCESS_READ)), gguf)
    except OSError as error:
        raise InputError(f"can't read {path} ({error.strerror}): name another file") from error
    except (ValueError, KeyError, OverflowError, MemoryError) as error:
        reason = f"it has an unknown type {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is no GGUF file or a damaged one ({reason:.100}): {REMEDY}") from error


def parse(path: Path, content: memoryview, gguf: Any) -> Gguf:
    """Read the head of a file: metadata, and each tensor's name, shape, type and place."""
    cursor = Cursor(content)
    if cursor.take(len(MAGIC)) != MAGIC:
        raise ValueError("it doesn't begin with GGUF")
    if (version := cursor.number("I")) not in VERSIONS:
        raise ValueError(f"it has version {version}, not one of {', '.join(map(str, VERSIONS))}")
    num_tensors, num_keys = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(num_keys):
        key = cursor.text()
        if key in metadata:
            raise ValueError(f"it says {key!r:.60} twice")
        metadata[key] = cursor.value(cursor.number("I"))
    described = [
        (cursor.text(), [cursor.number("Q") for _ in range(cursor.number("I"))], cursor.number("I"), cursor.number("Q"))
        for _ in range(num_tensors)
    ]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise ValueError(f"it has an alignment of {alignment!r:.40}")
    start = -(-cursor.place // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for name, sizes, number, offset in described:
        if name in tensors:
            raise ValueError(f"it has two tensors {name!r:.60}")
        kind = gguf.GGMLQuantizationType(number)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if not 1 <= len(sizes) <= MOST_AXES or min(sizes) < 1 or sizes[0] % block:
            raise ValueError(f"its tensor {name!r:.60} has shape {tuple(reversed(sizes))} in blocks of {block}")
        cursor.place = start + offset
        tensors[name] = Tensor(kind.name, tuple(reversed(sizes)), cursor.take(prod(sizes) // block * size))
    if sum(len(tensor.content) for tensor in tensors.values()) > len(content):
        raise ValueError("its tensors overlap")
    require_readable(tensors, gguf)
    return Gguf(path, metadata, tensors)


def require_readable(tensors: dict[str, Tensor], gguf: Any) -> None:
    """Refuse types of numbers that the package gguf doesn't read either."""
    for kind, name in {tensor.kind: name for name, tensor in tensors.items()}.items():
        if kind not in PLAIN:
            try:
                dequantized(np.zeros((1, gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]), np.uint8), kind)
            except NotImplementedError as error:
                raise ValueError(f"its tensor {name!r:.60} has type {kind}, which can't be read") from error


def dequantized(rows: np.ndarray, kind: str) -> np.ndarray:
    """Turn rows of numbers of few bits into what they mean."""
    gguf, quants = require_extra("gguf", "smol"), require_extra("gguf.quants", "smol")
    return quants.dequantize(rows, gguf.GGMLQuantizationType[kind])
