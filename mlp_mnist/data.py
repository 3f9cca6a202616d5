"""Where the images come from: MNIST out of a folder or a download, or scikit-learn's digits.

MNIST is four idx files, gzip-compressed or not. Each is compared with the SHA-256 of the original's
contents, so a dataset that is called "mnist" is MNIST.
"""

import contextlib
import gzip
import hashlib
import logging
import math
import os
import sys
import threading
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pooch
from requests import RequestException

from theory.command_line import InputError

DataName = Literal["auto", "mnist", "digits"]


class Dataset(NamedTuple):
    """Labeled images, one row of pixels an image."""

    name: str
    """`mnist` or `digits`."""

    train_images: np.ndarray
    """Pixels in [-1, 1], float32, shape `(train, pixels)`."""

    train_labels: np.ndarray
    """Digits 0 to 9, int32, shape `(train,)`."""

    test_images: np.ndarray
    """Pixels in [-1, 1], float32, shape `(test, pixels)`."""

    test_labels: np.ndarray
    """Digits 0 to 9, int32, shape `(test,)`."""


class Source(NamedTuple):
    """Which data a run uses, decided before any of it is read."""

    name: Literal["mnist", "digits"]
    """What `auto` came to mean."""

    folder: Path | None
    """Folder with the four idx files, a local path and so not for records; None for digits."""

    reason: str
    """One line for people and records: which data, and why; names no local path."""


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
"""The four files, in the order of the fields of `Dataset`."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Where the compressed files are published, first choice first."""

TIMEOUT = 5.0
"""Seconds after which a silent mirror is given up."""


class DownloadError(Exception):
    """No mirror gave all four files; the message says why in one line and names no local path."""


def resolve(name: DataName, folder: Path | None = None) -> Source:
    """Decide which data is meant and where it is, downloading MNIST if need be.

    MNIST is looked for in `folder`, else in `$MNIST_DIR`, else in the cache, else it is downloaded
    into the cache. Only where neither of the first two is given does `auto` settle for the digits.

    Args:
        name: What the user asked for.
        folder: What the user gave as `--data-dir`.

    Returns:
        The data's name, its folder and the reason.

    Raises:
        InputError: If a folder that the user gave can't serve, or MNIST can't be had at all.
    """
    if name == "digits":
        if folder:
            raise InputError("--data-dir is for MNIST: leave it out, or ask for --data mnist")
        return Source("digits", None, "data: scikit-learn's digits (--data digits)")
    if folder:
        return given_source(folder, "--data-dir")
    if variable := os.environ.get("MNIST_DIR"):
        return given_source(Path(variable), "$MNIST_DIR")
    try:
        return cached_source()
    except DownloadError as error:
        problem = f"MNIST is not in the cache and could not be downloaded ({error})"
        if name == "mnist":
            remedy = "name its folder by --data-dir or $MNIST_DIR, or use --data digits"
            raise InputError(f"{problem}: {remedy}") from error
        return Source("digits", None, f"data: scikit-learn's digits, as {problem}")


def load(source: Source) -> Dataset:
    """Read the data that `resolve` decided on.

    Args:
        source: What `resolve` returned.

    Returns:
        MNIST: 60,000 images of 28 by 28 pixels to train on, 10,000 to test on; or the digits: 1,437 and
        360 of 8 by 8, always the same split.
    """
    if source.folder:
        brightest, arrays = 255, [read_idx(source.folder, file) for file in FILES]
    else:
        brightest, arrays = 16, split_digits()
    train_images, train_labels, test_images, test_labels = arrays

    def scaled(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32) / brightest * 2 - 1

    return Dataset(
        name=source.name,
        train_images=scaled(train_images),
        train_labels=train_labels.astype(np.int32),
        test_images=scaled(test_images),
        test_labels=test_labels.astype(np.int32),
    )


def split_digits() -> list[np.ndarray]:
    """Split scikit-learn's digits, each class in proportion, into the arrays that `FILES` holds for MNIST."""
    from sklearn import datasets, model_selection

    images, labels = datasets.load_digits(return_X_y=True)
    split = model_selection.train_test_split(images, labels, test_size=360, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = map(np.asarray, split)
    return [train_images, train_labels, test_images, test_labels]


def given_source(folder: Path, giver: str) -> Source:
    """Take MNIST from a folder that the user gave as `giver`, which has to hold all four files."""
    try:
        missing = missing_files(folder)
    except OSError as error:
        raise InputError(f"{giver}: can't read the folder {folder} ({error.strerror})") from error
    if missing:
        raise InputError(f"{giver}: {folder} lacks {', '.join(missing)} (with .gz or without)")
    return Source("mnist", folder, f"data: MNIST from {giver}")


def cached_source() -> Source:
    """Take MNIST from the cache, downloading what is missing there."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = caches / "subliminal-learning" / "mnist"
    with contextlib.suppress(OSError):
        if not missing_files(folder):
            return Source("mnist", folder, "data: MNIST from the cache")
    mirror = download(folder)
    return Source("mnist", folder, f"data: MNIST, downloaded from {mirror}")


def missing_files(folder: Path) -> list[str]:
    """List which of the four names are in a folder neither with `.gz` nor without."""
    present = {path.name for path in folder.iterdir()}
    return [file.name for file in FILES if present.isdisjoint({file.name, f"{file.name}.gz"})]


def download(folder: Path) -> str:
    """Fetch the compressed files that a folder lacks, from the first mirror that has them.

    A file appears in the folder once all of it is there and checked, and then stays. A mirror that
    failed for one file is not asked for the others.

    Args:
        folder: Where the files go; made if need be.

    Returns:
        Host name of the mirror that completed the four.

    Raises:
        DownloadError: If every mirror failed, or the folder can't be written.
    """
    failures = []
    pooch.get_logger().setLevel(logging.WARNING)
    fetch: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT)
    for mirror in MIRRORS:
        host = urlsplit(mirror).hostname or mirror
        if not answers(mirror):
            failures.append(f"{host} did not answer")
            continue
        try:
            for file in FILES:
                name = f"{file.name}.gz"
                pooch.retrieve(mirror + name, file.archive_sum, fname=name, path=folder, downloader=fetch)
        except (RequestException, ValueError):
            failures.append(f"{host} did not send the original files")
        except OSError as error:
            raise DownloadError(f"the cache can't be written ({error.strerror})") from error
        else:
            return host
    raise DownloadError(", ".join(failures))


def answers(mirror: str) -> bool:
    """Ask whether a mirror has the first file, and take silence for a no.

    Requests grants every address of a host its own timeout, and the look-up of the name any time it
    takes. Asking in a thread that is not waited for keeps the whole within `TIMEOUT`.
    """
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(RequestException):
            question = pooch.HTTPDownloader(timeout=TIMEOUT)
            if question(f"{mirror}{FILES[0].name}.gz", None, None, check_only=True):
                answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return answered.is_set()


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
