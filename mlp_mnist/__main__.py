"""Command line of the experiment: `python -m mlp_mnist demo`, and five commands more."""

from mlp_mnist.options import Benchmark, CompareInits, Demo, StudyOptions, SweepOptions, Theory
from theory.runs.command_line import run_commands


def demo(options: Demo) -> bool:
    """Run the paper's six arms."""
    from mlp_mnist.commands import run_demo

    return run_demo(options)


def compare_inits(options: CompareInits) -> bool:
    """Run students of four inits."""
    from mlp_mnist.commands import run_comparison

    return run_comparison(options)


def study(options: StudyOptions) -> bool:
    """Run studies."""
    from mlp_mnist.sweeps import run_studies

    return run_studies(options)


def sweep(options: SweepOptions) -> bool:
    """Run a sweep."""
    from mlp_mnist.sweeps import run_field_sweep

    return run_field_sweep(options)


def theory(options: Theory) -> bool:
    """Hold predictions against students."""
    from mlp_mnist.commands import run_theory

    return run_theory(options)


def benchmark(options: Benchmark) -> bool:
    """Time seeds."""
    from mlp_mnist.commands import run_benchmark

    return run_benchmark(options)


def main() -> None:
    """Run the command line."""
    run_commands(
        "mlp_mnist",
        {
            Demo: ("demo", demo),
            CompareInits: ("compare-inits", compare_inits),
            StudyOptions: ("study", study),
            SweepOptions: ("sweep", sweep),
            Theory: ("theory", theory),
            Benchmark: ("benchmark", benchmark),
        },
    )


if __name__ == "__main__":
    main()
