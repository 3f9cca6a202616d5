"""Command line of the experiment: `python -m mlp_mnist demo` and `python -m mlp_mnist compare-inits`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from mlp_mnist.data import DataName, load, resolve
from mlp_mnist.experiment import Init, SeedResult, run_seeds
from mlp_mnist.plots import draw_comparison, draw_demo
from mlp_mnist.protocol import PROTOCOLS
from mlp_mnist.verdicts import COMPARED_INITS, DEMO_INITS, judge_comparison, judge_demo
from theory.command_line import RunOptions, require_seeds, run_commands
from theory.records import Outcome, Record, record_run


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(RunOptions):
    """An experiment on digits, over random seeds."""

    data: DataName = "auto"
    """Images: MNIST; scikit-learn's small digits; or MNIST where it is there or can be downloaded, else the digits."""
    data_dir: Path | None = None
    """Folder with MNIST's four idx files. Default: $MNIST_DIR, else the cache, else a download into the cache."""
    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""
    num_seeds: int = 20
    """Independent seeds: teacher, students and noise are drawn anew for each."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


@dataclass(frozen=True, kw_only=True)
class Demo(ExperimentOptions):
    """Teach students by auxiliary logits on noise: the paper's figure 10, all six arms."""


@dataclass(frozen=True, kw_only=True)
class CompareInits(ExperimentOptions):
    """Compare students whose init is the teacher's, the same function otherwise written, or another seed's."""


def run_experiment(
    command: str,
    inits: Sequence[Init],
    judge: Callable[[SeedResult, str], Outcome],
    draw: Callable[[Record], Figure],
    options: ExperimentOptions,
) -> bool:
    """Run one of the commands.

    Args:
        command: Its name.
        inits: The students' inits.
        judge: Judges the measurements, knowing which images they are from.
        draw: Draws the record.
        options: The command's options.

    Returns:
        Whether no verdict fails.
    """
    source = resolve(options.data, options.data_dir)
    print(source.reason)
    protocol = PROTOCOLS[source.name]
    config = {"data": source.name, "seed": options.seed, "num_seeds": options.num_seeds, "protocol": asdict(protocol)}

    def compute() -> Outcome:
        return judge(run_seeds(protocol, inits, load(source), options.seed, options.num_seeds), source.name)

    return record_run(f"mlp_mnist {command}", options, config, compute, draw, data=source.reason).none_fails


def main() -> None:
    """Run the command line."""

    def judge_images(result: SeedResult, images: str) -> Outcome:
        return judge_demo(result, published=images == "mnist")

    demo = partial(run_experiment, "demo", DEMO_INITS, judge_images, draw_demo)
    compare = partial(
        run_experiment, "compare-inits", COMPARED_INITS, lambda result, _: judge_comparison(result), draw_comparison
    )
    run_commands("mlp_mnist", {Demo: ("demo", demo), CompareInits: ("compare-inits", compare)})


if __name__ == "__main__":
    main()
