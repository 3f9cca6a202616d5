r"""How fast seeds run: seconds a seed of all six arms, beside what a bare matrix product reaches in the same process.

Operations are counted by formula, those of the matrix products alone. Every repetition times the product again just
before each run, so that a machine shared with others slows both.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_mnist.arms import Measured
from mlp_mnist.benchmark_plots import draw_benchmark
from mlp_mnist.data import Dataset, load
from mlp_mnist.experiment import group_size, run_seeds
from mlp_mnist.machine import Precision, count_operations, peak_memory, time_peak, time_run
from mlp_mnist.options import DataOptions, choose_images
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.verdicts import DEMO_ARMS, JOINT_CONFIDENCE, ROUNDING, arms
from theory.runs.chunks import keep_in
from theory.runs.command_line import require, require_seeds
from theory.runs.memory import gibibytes
from theory.runs.records import Outcome, record_run
from theory.runs.statistics import Estimate, mean_estimate
from theory.runs.verdicts import Verdict, markdown_table, verdict_table

LEAST_SEEDS = 20
"""With fewer seeds the precisions' difference is too uncertain to decide anything."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(DataOptions):
    """Measure seconds a seed of all six arms in each precision, beside the peak of a bare matrix product."""

    num_seeds: tuple[int, ...] = (1, 6, 25)
    """Seeds run at once; one point of the curve for each number, in increasing order."""
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    """Precisions of the matrix products."""
    repetitions: int = 2
    """How often everything is timed, by turns; the fastest counts."""

    def __post_init__(self) -> None:
        increasing = bool(self.num_seeds) and sorted(set(self.num_seeds)) == list(self.num_seeds)
        require(increasing, "num_seeds", "in increasing order", self.num_seeds)
        require_seeds(self.seed, min(self.num_seeds))
        distinct = bool(self.precisions) and len(set(self.precisions)) == len(self.precisions)
        require(distinct, "precisions", "'float32', 'bf16' or both", self.precisions)
        require(self.repetitions >= 1, "repetitions", "at least 1", self.repetitions)

    def config(self) -> dict[str, Any]:
        """List the fields that define the run.

        Returns:
            Values by field name, ready for JSON.
        """
        return {name: getattr(self, name) for name in ("seed", "num_seeds", "precisions", "repetitions")}


class Times(NamedTuple):
    """What was measured in one precision."""

    seconds: np.ndarray
    """Of each run, shape `(repetitions, counts)`."""
    peaks: np.ndarray
    """Operations a second of a bare matrix product before each run, same shape."""
    memory: np.ndarray
    """Peak bytes of the process, or of an accelerator, from its start to after each count's first run, `(counts,)`."""
    compile_seconds: float
    """What the first seeds took beyond the next; what all precisions share is compiled with the first of them."""
    measured: Measured
    """What the run of most seeds measured."""


def time_precisions(protocol: Protocol, data: Dataset, options: Benchmark) -> dict[Precision, Times]:
    """Time every precision at every number of seeds, by turns; nothing is kept from one run for the next.

    Args:
        protocol: The protocol.
        data: The images.
        options: What to time.

    Returns:
        All times by precision.
    """
    keep_in(None)
    shape = (options.repetitions, len(options.num_seeds))
    seconds, peaks, memory = ({precision: np.zeros(shape) for precision in options.precisions} for _ in range(3))
    compile_seconds, measured = {}, {}

    def run(precision: Precision, count: int) -> tuple[Measured, float]:
        point = replace(protocol, precision=precision)
        return time_run(lambda: run_seeds([point], list(DEMO_ARMS.values()), data, options.seed, count))

    for precision in options.precisions:
        first, second = (run(precision, group_size() * jax.local_device_count())[1] for _ in range(2))
        compile_seconds[precision] = max(0.0, first - second)
    for place in np.ndindex(shape):
        for precision in options.precisions:
            peaks[precision][place] = time_peak(precision)
            measured[precision], seconds[precision][place] = run(precision, options.num_seeds[place[1]])
            memory[precision][place] = peak_memory()
    return {
        name: Times(
            seconds[name],
            peaks[name],
            memory[name][0],
            compile_seconds[name],
            Measured(*(each[0] for each in measured[name])),
        )
        for name in options.precisions
    }


def benchmark(protocol: Protocol, data: Dataset, options: Benchmark) -> Outcome:
    """Time every precision, and hold their accuracies against each other.

    Args:
        protocol: The protocol.
        data: The images.
        options: What to time.

    Returns:
        Times, shares of the peak, accuracies and verdicts: speed is reported, agreement is judged.
    """
    times = time_precisions(protocol, data, options)
    (num_train, num_pixels), num_test = data.train_images.shape, len(data.test_labels)
    operations = count_operations(protocol, num_pixels, num_train, num_test, len(DEMO_ARMS))
    results = {"operations": np.array(operations)}
    for name, timed in times.items():
        speeds = operations * np.array(options.num_seeds) / timed.seconds
        results |= {
            f"seconds/{name}": timed.seconds,
            f"speed/{name}": speeds,
            f"peak/{name}": timed.peaks,
            f"share/{name}": speeds / timed.peaks.max(),
            f"memory/{name}": timed.memory,
            f"compile seconds/{name}": np.array(timed.compile_seconds),
        }
        results |= {f"accuracy/{name}/{arm}": values for arm, values in arms(timed.measured).items()}
    verdicts = judge(results, options)
    return Outcome(results, verdicts, f"{time_table(results, options)}\n{verdict_table(verdicts)}")


def judge(results: dict[str, np.ndarray], options: Benchmark) -> list[Verdict]:
    """Report speeds at the last number of seeds, and judge whether float32 and bf16 learn the same.

    Args:
        results: All numbers by name.
        options: What was timed.

    Returns:
        The verdicts.
    """
    last, verdicts = options.num_seeds[-1], []
    for name in options.precisions:
        shares, seconds = results[f"share/{name}"][:, -1], results[f"seconds/{name}"][:, -1] / last
        for check, values, best in (("share of peak", shares, max(shares)), ("seconds a seed", seconds, min(seconds))):
            verdict = Verdict(
                claim="benchmark",
                check=f"{check}, {name}, {last} seeds",
                predicted="no guarantee",
                measured=Estimate(float(best), float(values.min()), float(values.max())),
            )
            verdicts.append(verdict)
    if len(options.precisions) < 2:
        return verdicts

    def difference(arm: str) -> Estimate:
        pairs = results[f"accuracy/bf16/{arm}"] - results["accuracy/float32/student (aux)"]
        return mean_estimate(pairs, JOINT_CONFIDENCE)

    agreement = Verdict(
        claim="benchmark",
        check="accuracy of student (aux), bf16 − float32, mean over the same seeds",
        predicted="0 (rounding)",
        measured=difference("student (aux)"),
        accepted=ROUNDING,
        control="another seed's init",
        control_measured=difference("cross-model (aux)"),
        instances=last,
        least_instances=LEAST_SEEDS,
    )
    return [*verdicts, agreement]


def time_table(results: dict[str, np.ndarray], options: Benchmark) -> str:
    """Lay out the fastest of all repetitions.

    Args:
        results: All numbers by name.
        options: What was timed.

    Returns:
        A Markdown table.
    """
    header = ("precision", "seeds", "seconds a seed", "GFLOP/s", "peak GFLOP/s", "share", "memory so far", "compiling")
    rows: list[Sequence[str]] = []
    for name in options.precisions:
        peak, compiling = results[f"peak/{name}"].max(), f"{float(results[f'compile seconds/{name}']):.1f} s"
        for place, count in enumerate(options.num_seeds):
            seconds = results[f"seconds/{name}"][:, place].min() / count
            speed, share = (results[f"{kind}/{name}"][:, place].max() for kind in ("speed", "share"))
            speeds = (f"{speed / 1e9:,.0f}", f"{peak / 1e9:,.0f}", f"{share:.0%}")
            memory = gibibytes(results[f"memory/{name}"][place])
            rows.append((name, str(count), f"{seconds:.3g}", *speeds, memory, compiling))
    return markdown_table(header, rows)


def run(options: Benchmark) -> bool:
    """Run the benchmark and record it.

    Args:
        options: The command's options.

    Returns:
        Whether no verdict fails.
    """
    source = choose_images(options)
    protocol = PROTOCOLS[source.name]
    shown = {name: value for name, value in asdict(protocol).items() if name != "precision"}
    config = {"data": source.name, **options.config(), "protocol": shown}

    def compute() -> Outcome:
        return benchmark(protocol, load(source), options)

    return record_run("mlp_mnist benchmark", options, config, compute, draw_benchmark, data=source.reason).none_fails
