"""Where the images come from: MNIST out of a folder or a download, or scikit-learn's digits.

MNIST is four idx files, gzip-compressed or not. Each is compared with the SHA-256 of the original's
contents, so a dataset that is called "mnist" is MNIST.
"""

import contextlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np

from mlp_mnist import idx
from mlp_mnist.download import DownloadError, download
from theory.command_line import InputError

DataName = Literal["auto", "mnist", "digits"]


class Dataset(NamedTuple):
    """Labeled images, one row of pixels an image."""

    name: str
    """`mnist` or `digits`."""

    train_images: np.ndarray | jax.Array
    """Pixels in [-1, 1], float32, shape `(train, pixels)`."""

    train_labels: np.ndarray | jax.Array
    """Digits 0 to 9, int32, shape `(train,)`."""

    test_images: np.ndarray | jax.Array
    """Pixels in [-1, 1], float32, shape `(test, pixels)`."""

    test_labels: np.ndarray | jax.Array
    """Digits 0 to 9, int32, shape `(test,)`."""


class Source(NamedTuple):
    """Which data a run uses, decided before any of it is read."""

    name: Literal["mnist", "digits"]
    """What `auto` came to mean."""

    folder: Path | None
    """Folder with the four idx files, a local path and so not for records; None for digits."""

    reason: str
    """One line for people and records: which data, and why; names no local path."""


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
        brightest, arrays = 255, [idx.read_idx(source.folder, file) for file in idx.FILES]
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
    """Split scikit-learn's digits, each class in proportion, into the four arrays that MNIST has."""
    from sklearn import datasets, model_selection

    images, labels = datasets.load_digits(return_X_y=True)
    split = model_selection.train_test_split(images, labels, test_size=360, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = map(np.asarray, split)
    return [train_images, train_labels, test_images, test_labels]


def given_source(folder: Path, giver: str) -> Source:
    """Take MNIST from a folder that the user gave as `giver`, which has to hold all four files."""
    try:
        missing = idx.missing_files(folder)
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
        if not idx.missing_files(folder):
            return Source("mnist", folder, "data: MNIST from the cache")
    mirror = download(folder)
    return Source("mnist", folder, f"data: MNIST, downloaded from {mirror}")
