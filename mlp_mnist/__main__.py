"""Command line of the experiment: `python -m mlp_mnist demo`, and five commands more."""

from mlp_mnist.options import Benchmark, CompareInits, DataOptions, Demo, StudyOptions, SweepOptions, Theory
from theory.runs.command_line import run_commands

NAMES: dict[type[DataOptions], str] = {
    Demo: "demo",
    CompareInits: "compare-inits",
    StudyOptions: "study",
    SweepOptions: "sweep",
    Theory: "theory",
    Benchmark: "benchmark",
}
"""The commands, by what they are told."""


def run(options: DataOptions) -> bool:
    """Run a command; what it needs is loaded now, and not for its help."""
    from mlp_mnist.commands import RUNS

    return RUNS[type(options)](options)


def main() -> None:
    """Run the command line."""
    run_commands("mlp_mnist", {options: (name, run) for options, name in NAMES.items()})


if __name__ == "__main__":
    main()
