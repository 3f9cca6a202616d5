"""The four idx files of MNIST and of Fashion-MNIST: their names, their checksums, and how to read them."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from theory.runs.command_line import InputError

Origin = Literal["mnist", "fashion-mnist"]

TITLES: dict[Origin, str] = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
"""What people call each set."""


class IdxFile(NamedTuple):
    """One of a set's four files."""

    origin: Origin
    """The set it belongs to."""

    name: str
    """File name without `.gz`, the same in both sets."""

    shape: tuple[int, ...]
    """Shape of the original: `(examples, rows, columns)` for images, `(examples,)` for labels."""

    archive_sum: str
    """SHA-256 of the compressed file."""

    content_sum: str | None
    """SHA-256 of the file, where it is known."""


SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
"""The four files of either set: training images and labels, then test images and labels."""


def _files(origin: Origin, *sums: tuple[str, str | None]) -> tuple[IdxFile, ...]:
    return tuple(IdxFile(origin, *file, *pair) for file, pair in zip(SHAPES.items(), sums, strict=True))


FILES = _files(
    "mnist",
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
"""MNIST's."""

FASHION_FILES = _files(
    "fashion-mnist",
    ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", None),
    ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", None),
    ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", None),
    ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", None),
)
"""Fashion-MNIST's; only its archives' sums are known."""


def files_of(origin: Origin) -> tuple[IdxFile, ...]:
    """Look up the four files of a set."""
    return FILES if origin == "mnist" else FASHION_FILES


def find_file(folder: Path, file: IdxFile) -> Path | None:
    """Look for a file as people have it, with `.gz` rather than without.

    The folder holds the set's files, or torchvision's `MNIST/raw` with them, or is one above that. The file goes by its
    own name, or with a dot in it (`train-images.idx3-ubyte`), or lies, as Kaggle's archive unpacks, in a folder that is
    named like it.
    """
    title = TITLES[file.origin].replace("-", "")
    for place in (folder, folder / "raw", folder / title / "raw"):
        for name in (file.name, file.name.replace("-idx", ".idx")):
            for path in (place / f"{name}.gz", place / name / f"{name}.gz", place / name, place / name / name):
                if path.is_file():
                    return path
    return None


def missing_files(folder: Path, origin: Origin) -> list[str]:
    """List which of a set's four files are not in a folder; an OSError if it can't be read."""
    next(folder.iterdir(), None)
    return [file.name for file in files_of(origin) if find_file(folder, file) is None]


def read_idx(folder: Path, file: IdxFile) -> np.ndarray:
    """Read one file and hold it to the idx format, its own header and the original.

    The original is known by the SHA-256 of its contents or, for Fashion-MNIST, of its archive. An uncompressed file of
    Fashion-MNIST can only be held to the original's shape, and to not being MNIST's.
    """
    path = find_file(folder, file) or folder / file.name
    title = TITLES[file.origin]
    remedy = f"put {title}'s original file in its place"
    archive = None
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            archive, content = content, gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is truncated or no gzip file: {remedy}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): make it readable") from error
    rank = len(file.shape)
    magic, *shape = [int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(rank + 1)]
    if magic != 0x800 + rank:
        raise InputError(f"{path} starts with {magic:#010x}, not {0x800 + rank:#010x}: {remedy}")
    if len(content) != 4 * (rank + 1) + math.prod(shape):
        raise InputError(f"{path} has {len(content)} bytes, not what its header says: {remedy}")
    if difference := differs(file, archive, content, tuple(shape)):
        raise InputError(f"{path} {difference}: {remedy}")
    return np.frombuffer(content, np.uint8, offset=4 * (rank + 1)).reshape(shape)


def differs(file: IdxFile, archive: bytes | None, content: bytes, shape: tuple[int, ...]) -> str | None:
    """Say in words what tells an idx file from the original, as far as that can be known; None if nothing does."""
    if is_original(file, archive, content):
        return None
    title = TITLES[file.origin]
    for other in FILES + FASHION_FILES:
        if other.name == file.name and is_original(other, archive, content):
            return f"is of {TITLES[other.origin]} (--data {other.origin}), not of {title}"
    if file.content_sum:
        return f"is an idx file with other contents than {title}'s"
    if archive:
        return f"is another archive than the one that {title} is published in"
    return None if shape == file.shape else f"has shape {shape}, not {title}'s {file.shape}"


def is_original(file: IdxFile, archive: bytes | None, content: bytes) -> bool:
    """Tell whether contents, or the archive that they came in, are for certain the original's."""
    if file.content_sum:
        return hashlib.sha256(content).hexdigest() == file.content_sum
    return archive is not None and hashlib.sha256(archive).hexdigest() == file.archive_sum
