"""What every command of the experiment can be told: images, precision and seeds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlp_mnist.data import DataName, Source, resolve
from theory.runs.command_line import RunOptions, require_seeds


@dataclass(frozen=True, kw_only=True)
class DataOptions(RunOptions):
    """An experiment on images, from one root of randomness."""

    data: DataName = "auto"
    """Images: MNIST; Fashion-MNIST; scikit-learn's small digits; or MNIST where it is there or can be downloaded, else
    the digits."""
    data_dir: Path | None = None
    """Folder with the set's four idx files. Default: $MNIST_DIR or $FASHION_MNIST_DIR, else the cache, else a download
    into the cache."""
    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(DataOptions):
    """An experiment on images, in one precision."""

    precision: Literal["float32", "bf16"] = "float32"
    """Matrix products in float32, or in bfloat16 with sums, weights and optimizer in float32: several times as fast
    where the processor has bfloat16 tiles."""


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(ImageOptions):
    """An experiment on images, over random seeds."""

    num_seeds: int = 20
    """Independent seeds: teacher, students and noise are drawn anew for each."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


def choose_images(options: DataOptions) -> Source:
    """Decide which images a run uses, and say so.

    Args:
        options: The command's options.

    Returns:
        The images' source.
    """
    source = resolve(options.data, options.data_dir)
    print(source.reason)
    return source
