"""Command line of the figures: `python -m figures`, and `python -m figures --full --output figures` for the gallery."""

from dataclasses import dataclass
from pathlib import Path

from mlp_mnist.data import DataName
from theory.runs.command_line import RunOptions, require_count, require_seeds, run_commands


@dataclass(frozen=True, kw_only=True)
class Figures(RunOptions):
    """Verify the theorem, run the digit experiments, draw every figure and print the verdicts.

    The quick preset takes some minutes on two cores. What is already recorded is not run again.
    """

    full: bool = False
    """Publication preset: 100 seeds; with `--output figures` it rebuilds the committed gallery."""
    data: DataName = "auto"
    """Images: MNIST; Fashion-MNIST; scikit-learn's small digits; or MNIST where it is there or can be downloaded, else
    the digits."""
    data_dir: Path | None = None
    """Folder with the set's four idx files. Default: $MNIST_DIR or $FASHION_MNIST_DIR, else the cache, else a download
    into the cache."""
    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""
    num_seeds: int | None = None
    """Seeds of every run, instead of the preset's."""

    at_once: int | None = None
    """Runs beside each other, each a process. Default: two in the quick preset on a processor of several cores, else
    one."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1 if self.num_seeds is None else self.num_seeds)
        require_count("at_once", 1 if self.at_once is None else self.at_once)


def run(options: Figures) -> bool:
    """Build the figures; what it needs is loaded now, and not for its help."""
    from figures.build import build

    return build(options)


def main() -> None:
    """Run the command line."""
    run_commands("figures", {Figures: ("figures", run)})


if __name__ == "__main__":
    main()
