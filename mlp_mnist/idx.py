"""MNIST's four idx files: their names, their checksums, and how to read them."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from theory.command_line import InputError


class IdxFile(NamedTuple):
    """One of MNIST's four files."""

    name: str
    """File name without `.gz`."""

    rank: int
    """Number of axes: 3 for images, 1 for labels."""

    archive_sum: str
    """SHA-256 of the compressed file."""

    content_sum: str
    """SHA-256 of the file."""


FILES = (
    IdxFile(
        name="train-images-idx3-ubyte",
        rank=3,
        archive_sum="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        content_sum="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    IdxFile(
        name="train-labels-idx1-ubyte",
        rank=1,
        archive_sum="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        content_sum="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    IdxFile(
        name="t10k-images-idx3-ubyte",
        rank=3,
        archive_sum="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        content_sum="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    IdxFile(
        name="t10k-labels-idx1-ubyte",
        rank=1,
        archive_sum="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        content_sum="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
"""The four files, training images and labels, then test images and labels."""


def missing_files(folder: Path) -> list[str]:
    """List which of the four names are in a folder neither with `.gz` nor without."""
    present = {path.name for path in folder.iterdir()}
    return [file.name for file in FILES if present.isdisjoint({file.name, f"{file.name}.gz"})]


def read_idx(folder: Path, file: IdxFile) -> np.ndarray:
    """Read one file and hold it to the idx format, its own header and the original's contents.

    Args:
        folder: Holds the file with `.gz`, which is preferred, or without.
        file: Which of the four.

    Returns:
        Bytes, shape `(examples, rows, columns)` for images and `(examples,)` for labels.

    Raises:
        InputError: If the file can't be read or isn't MNIST's.
    """
    path = folder / f"{file.name}.gz"
    remedy = "put MNIST's original file in its place"
    try:
        if path.exists():
            content = gzip.decompress(path.read_bytes())
        else:
            path = folder / file.name
            content = path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is truncated or no gzip file: {remedy}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): make it readable") from error
    words = [int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(file.rank + 1)]
    magic, shape = words[0], words[1:]
    if magic != 0x800 + file.rank:
        raise InputError(f"{path} starts with {magic:#010x}, not {0x800 + file.rank:#010x}: {remedy}")
    if len(content) != 4 * len(words) + math.prod(shape):
        raise InputError(f"{path} has {len(content)} bytes, not what its header says: {remedy}")
    if hashlib.sha256(content).hexdigest() != file.content_sum:
        raise InputError(f"{path} is an idx file with other contents than MNIST's: {remedy}")
    return np.frombuffer(content, np.uint8, offset=4 * len(words)).reshape(shape)
