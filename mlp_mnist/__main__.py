"""Command line of the experiment: `python -m mlp_mnist demo`, and five commands more."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from matplotlib.figure import Figure

from mlp_mnist import benchmark
from mlp_mnist.arms import Arm, Measured
from mlp_mnist.data import load
from mlp_mnist.experiment import run_seeds
from mlp_mnist.linearization.command import Theory, run
from mlp_mnist.options import ExperimentOptions, choose_images
from mlp_mnist.plots import draw_comparison, draw_demo
from mlp_mnist.protocol import PROTOCOLS
from mlp_mnist.studies.command import StudyOptions, SweepOptions, run_field_sweep, run_studies
from mlp_mnist.verdicts import COMPARED_ARMS, DEMO_ARMS, judge_comparison, judge_demo
from theory.runs.command_line import run_commands
from theory.runs.records import Outcome, Record, record_run


@dataclass(frozen=True, kw_only=True)
class Demo(ExperimentOptions):
    """Teach students by auxiliary logits on noise: the paper's figure 10, all six arms."""


@dataclass(frozen=True, kw_only=True)
class CompareInits(ExperimentOptions):
    """Compare students whose init is the teacher's, the same function otherwise written, or another seed's."""


def run_experiment(
    command: str,
    arms: Sequence[Arm],
    judge: Callable[[Measured, str], Outcome],
    draw: Callable[[Record], Figure],
    options: ExperimentOptions,
) -> bool:
    """Run one of the commands with one point.

    Args:
        command: Its name.
        arms: The students.
        judge: Judges the measurements, knowing which images they are from.
        draw: Draws the record.
        options: The command's options.

    Returns:
        Whether no verdict fails.
    """
    source = choose_images(options)
    protocol = replace(PROTOCOLS[source.name], precision=options.precision)
    config = {"data": source.name, "seed": options.seed, "num_seeds": options.num_seeds, "protocol": asdict(protocol)}

    def compute() -> Outcome:
        measured = run_seeds([protocol], arms, load(source), options.seed, options.num_seeds)
        return judge(Measured(*(each[0] for each in measured)), source.name)

    return record_run(f"mlp_mnist {command}", options, config, compute, draw, data=source.reason).none_fails


def main() -> None:
    """Run the command line."""

    def judge_images(measured: Measured, images: str) -> Outcome:
        return judge_demo(measured, published=images == "mnist")

    demo = partial(run_experiment, "demo", list(DEMO_ARMS.values()), judge_images, draw_demo)
    compare = partial(
        run_experiment, "compare-inits", COMPARED_ARMS, lambda measured, _: judge_comparison(measured), draw_comparison
    )
    run_commands(
        "mlp_mnist",
        {
            Demo: ("demo", demo),
            CompareInits: ("compare-inits", compare),
            StudyOptions: ("study", run_studies),
            SweepOptions: ("sweep", run_field_sweep),
            Theory: ("theory", run),
            benchmark.Benchmark: ("benchmark", benchmark.run),
        },
    )


if __name__ == "__main__":
    main()
