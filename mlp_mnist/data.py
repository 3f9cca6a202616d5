"""Where the images come from: MNIST or Fashion-MNIST out of a folder or a download, or scikit-learn's digits.

MNIST and Fashion-MNIST are four idx files each, gzip-compressed or not. They are compared with the SHA-256 of the
originals, so a dataset that is called "mnist" is MNIST.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Union

import numpy as np

from mlp_mnist import idx
from mlp_mnist.protocol import Protocol
from theory.runs.command_line import InputError
from theory.runs.files import cache_folder

if TYPE_CHECKING:
    import jax

DataName = Literal["auto", "mnist", "fashion-mnist", "digits"]

TITLES = {**idx.TITLES, "digits": "scikit-learn's digits"}
"""What titles call the images."""

Pixels = Union[np.ndarray, "jax.Array"]
"""An array on this machine, or on a device."""

VARIABLES: dict[idx.Origin, str] = {"mnist": "MNIST_DIR", "fashion-mnist": "FASHION_MNIST_DIR"}
"""Environment variables that name a set's folder."""


class Dataset(NamedTuple):
    """Labeled images, one row of pixels an image.

    Pixels are stored as bytes, a quarter of what float32 takes; a network sees `level / 255 * 2 - 1`, in [-1, 1].
    """

    train_images: Pixels
    """Brightness in levels of 1/255, uint8, shape `(train, pixels)`."""

    train_labels: Pixels
    """Classes 0 to 9, int32, shape `(train,)`."""

    test_images: Pixels
    """Brightness in levels of 1/255, uint8, shape `(test, pixels)`."""

    test_labels: Pixels
    """Classes 0 to 9, int32, shape `(test,)`."""


class Source(NamedTuple):
    """Which data a run uses, decided before any of it is read."""

    name: Literal["mnist", "fashion-mnist", "digits"]
    """What `auto` came to mean."""

    folder: Path | None
    """Folder with the four idx files, a local path and so not for records; None for digits."""

    reason: str
    """One line for people and records: which data, and why; names no local path."""


def resolve(name: DataName, folder: Path | None = None) -> Source:
    """Decide which data is meant and where it is, downloading it if need be.

    MNIST is looked for in `folder`, else in `$MNIST_DIR`, else in the cache; what the cache lacks or has damaged is
    downloaded into it. `auto` means MNIST; only where neither of the first two is given does it settle for the digits.
    Fashion-MNIST is looked for in the same way, but with `$FASHION_MNIST_DIR`.

    Args:
        name: What the user asked for.
        folder: What the user gave as `--data-dir`.

    Returns:
        The data's name, its folder and the reason.

    Raises:
        InputError: If a folder that the user gave can't serve, or the images can't be had at all.
    """
    if name == "digits":
        if folder:
            raise InputError(
                "--data-dir is for MNIST and Fashion-MNIST: leave it out, or ask for one of these by --data"
            )
        return Source("digits", None, "data: scikit-learn's digits (--data digits)")
    wanted = "mnist" if name == "auto" else name
    variable = VARIABLES[wanted]
    if folder:
        return given_source(wanted, folder, "--data-dir")
    if value := os.environ.get(variable):
        return given_source(wanted, Path(value), f"${variable}")
    from mlp_mnist import download

    try:
        return cached_source(wanted)
    except download.DownloadError as error:
        if name == "auto":
            return Source("digits", None, f"data: scikit-learn's digits, as {error}")
        remedy = f"name its folder by --data-dir or ${variable}, or use --data digits"
        raise InputError(f"{error}: {remedy}") from error


def load(source: Source) -> Dataset:
    """Read the data that `resolve` decided on.

    MNIST and Fashion-MNIST have 60,000 images of 28 by 28 pixels to train on, 10,000 to test on; the digits 1,437 and
    360 of 8 by 8, always the same split.
    """
    if source.name == "digits" or not source.folder:
        arrays = split_digits()
    else:
        arrays = [idx.read_idx(source.folder, file) for file in idx.files_of(source.name)]
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        train_images=train_images.reshape(len(train_images), -1),
        train_labels=train_labels.astype(np.int32),
        test_images=test_images.reshape(len(test_images), -1),
        test_labels=test_labels.astype(np.int32),
    )


def load_others(source: Source, points: Sequence[Protocol]) -> np.ndarray | None:
    """Read real images of another set, if a point needs them."""
    return other_images(source) if any(point.images == "other" for point in points) else None


def other_images(source: Source) -> np.ndarray:
    """Make real images of another set that have the pixels of a source's images.

    For MNIST and Fashion-MNIST these are the training digits of scikit-learn, enlarged from 8 by 8 pixels by linear
    interpolation between the pixels' centers.
    """
    if source.name == "digits" or not source.folder:
        raise InputError("--data digits: there is no other set of 8 by 8 pixels here, so use mnist or fashion-mnist")
    from scipy import ndimage

    rows, columns = idx.read_idx(source.folder, idx.files_of(source.name)[2]).shape[1:]
    digits = split_digits()[0].reshape(-1, 8, 8).astype(np.float32)
    enlarged = ndimage.zoom(digits, (1, rows / 8, columns / 8), order=1, mode="nearest", grid_mode=True)
    return np.rint(np.asarray(enlarged)).astype(np.uint8).reshape(len(digits), -1)


def split_digits() -> list[np.ndarray]:
    """Split scikit-learn's digits, each class in proportion, into the four arrays that MNIST has.

    Their levels 0 to 16 become the nearest of 0 to 255.
    """
    from sklearn import datasets, model_selection

    images, labels = datasets.load_digits(return_X_y=True)
    levels = np.rint(np.asarray(images) * 255 / 16).astype(np.uint8)
    split = model_selection.train_test_split(levels, labels, test_size=360, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = map(np.asarray, split)
    return [train_images, train_labels, test_images, test_labels]


def given_source(name: idx.Origin, folder: Path, giver: str) -> Source:
    """Take a set from a folder that the user gave as `giver`, which has to hold all four files."""
    try:
        missing = idx.missing_files(folder, name)
    except OSError as error:
        raise InputError(f"{giver}: can't read the folder {folder} ({error.strerror})") from error
    if missing:
        raise InputError(f"{giver}: {folder} lacks {', '.join(missing)} (with .gz or without)")
    return Source(name, folder, f"data: {idx.TITLES[name]} from {giver}")


def cached_source(name: idx.Origin) -> Source:
    """Take a set from the cache, downloading what is missing or damaged there."""
    from mlp_mnist import download

    folder, title = cache_folder() / name, idx.TITLES[name]
    unfit = [file for file in idx.files_of(name) if not is_fit(folder, file)]
    if not unfit:
        return Source(name, folder, f"data: {title} from the cache")
    try:
        mirror = download.download(folder, unfit, download.MIRRORS if name == "mnist" else download.FASHION_MIRRORS)
    except download.DownloadError as error:
        state = "damaged" if any(path for file in unfit for path in folder.glob(f"{file.name}*")) else "not"
        raise download.DownloadError(
            f"{title} is {state} in the cache and could not be downloaded ({error})"
        ) from error
    return Source(name, folder, f"data: {title}, downloaded from {mirror}")


def is_fit(folder: Path, file: idx.IdxFile) -> bool:
    """Tell whether a file is there and `load` would accept it."""
    try:
        idx.read_idx(folder, file)
    except InputError:
        return False
    return True
