r"""How fast claims 1 and 2 are checked: random instances a second, beside other ways to compute the same numbers.

An instance is one seed of the reference case at one of the teacher's step sizes: $A$ in closed form, both steps
simulated, alignment and change of the trait loss. All ways run in one process, by turns, and have to agree.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory import zoo
from theory.benchmark import torch_steps
from theory.benchmark.growth import grow, growth_table, judge_growth, ways_of
from theory.benchmark.implementations import (
    LARGEST_PLAIN,
    Result,
    Run,
    compile_plain,
    run_in_chunks,
    run_in_loop,
    run_in_torch,
    run_plainly,
)
from theory.runs.checks import VANISHING
from theory.runs.command_line import RunOptions, require, require_seeds
from theory.runs.progress import follow
from theory.runs.records import Outcome
from theory.runs.statistics import range_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

OURS, PLAIN, LOOP, TORCH = "one_step, in chunks", "plain vmap", "jitted, in a Python loop", "torch.func under vmap"
"""The ways; the last only where torch is installed."""

PEAK_SIZE = 1024
"""Rows of the square matrices whose product says what the machine can do."""

MOST_STEPS = 10_000
"""Step sizes that are written out one by one; far more than a curve needs."""

MOST_PARTS = 64
"""Devices or processes at most that a sweep is spread over."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(RunOptions):
    """Measure how many random instances a second are checked, beside other ways to do it, in float64."""

    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""
    num_seeds: tuple[int, ...] = (1, 10, 100, 1000, 10000)
    """Random networks, each checked at every step size; one point of the curve for each number, in increasing order."""
    num_steps: int = 20
    """The teacher's step sizes, from 1e-5 to 1."""
    repetitions: int = 5
    """How often everything is timed, by turns; the median counts."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Virtual devices of the processor on which the sweep of `verify` is timed, too, in processes of its own;
    one always is."""
    processes: tuple[int, ...] = (1, 2)
    """Processes that share the seeds of that sweep, likewise."""

    def __post_init__(self) -> None:
        increasing = bool(self.num_seeds) and sorted(set(self.num_seeds)) == list(self.num_seeds)
        require(increasing, "num_seeds", "in increasing order", self.num_seeds)
        require_seeds(self.seed, min(self.num_seeds))
        require(1 <= self.num_steps <= MOST_STEPS, "num_steps", f"from 1 to {MOST_STEPS}", self.num_steps)
        require(self.repetitions >= 1, "repetitions", "at least 1", self.repetitions)
        for name in ("devices", "processes"):
            for count in getattr(self, name):
                require(1 <= count <= MOST_PARTS, name, f"from 1 to {MOST_PARTS}", count)

    def config(self) -> dict[str, Any]:
        """List the fields that define the run."""
        names = ("seed", "num_seeds", "num_steps", "repetitions", "devices", "processes")
        return {name: getattr(self, name) for name in names}

    @property
    def teacher_steps(self) -> tuple[float, ...]:
        """The teacher's step sizes, in natural units."""
        return tuple(float(step) for step in np.geomspace(1e-5, 1, self.num_steps))


class Times(NamedTuple):
    """What was measured."""

    rates: dict[str, np.ndarray]
    """Instances a second of each way, shape `(repetitions, counts)`."""
    peaks: np.ndarray
    """Operations a second in a large matrix product, shape `(repetitions,)`."""
    results: dict[str, Result]
    """What each way measured at the last number of seeds."""


def count_operations(num_steps: int) -> float:
    r"""Count the operations of the matrix products in an instance of the reference case.

    A pass forward through weights of $w$ entries takes $2w$ for each example; a pull-back as many for the weights'
    gradients, and as many again for the inputs' of all layers but the first. Each step takes a pass of the teacher, a
    pull-back of the student and a pass for its trait loss; each seed beside them a pass and a pull-back for
    $\Delta_T$, a pass of the student, one along with it for $J\Delta_T$ (two), all shared by its steps.
    """
    sizes = (zoo.NUM_FEATURES, *zoo.REFERENCE.hidden, zoo.NUM_OUTPUTS)
    weights = [rows * columns for rows, columns in pairwise(sizes)]
    forward = 2 * zoo.BATCH * sum(weights)
    pull_back = forward + 2 * zoo.BATCH * sum(weights[1:])
    return (2 * forward + pull_back) + (4 * forward + pull_back) / num_steps


def time_peak() -> float:
    """Time a large matrix product, in operations a second."""
    matrix = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    multiply = jax.jit(jnp.matmul)
    seconds = time_run(lambda: multiply(matrix, matrix).block_until_ready())
    return 2 * PEAK_SIZE**3 / seconds


def time_run(run: Callable[[], Any]) -> float:
    """Time a computation that was done once before, in seconds."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def time_ways(ways: Mapping[str, Run], options: Benchmark) -> Times:
    """Time every way at every number of seeds, by turns."""
    rates = {name: np.zeros((options.repetitions, len(options.num_seeds))) for name in ways}
    peaks = np.zeros(options.repetitions)
    results: dict[str, Result] = {}
    for count in sorted({min(count, LARGEST_PLAIN) for count in options.num_seeds}):
        results = {name: run(count) for name, run in ways.items()}
    for repetition in follow(range(options.repetitions), "benchmark", "repetitions"):
        peaks[repetition] = time_peak()
        for place, count in enumerate(options.num_seeds):
            for name, run in ways.items():
                start = time.perf_counter()
                results[name] = run(count)
                rates[name][repetition, place] = results[name][0].size / (time.perf_counter() - start)
    return Times(rates, peaks, results)


def disagreement(result: Result, reference: Result) -> float:
    """Largest difference of two ways, relative to a network's largest alignment or change."""
    pairs = [(one, other[: len(one)]) for one, other in zip(result, reference, strict=True)]
    worst = [np.max(np.abs(one - other) / np.abs(other).max(axis=1, keepdims=True)) for one, other in pairs]
    return float(np.max(worst))


def benchmark(options: Benchmark) -> Outcome:
    """Time every way, and hold their numbers against each other."""
    problem = zoo.build(zoo.REFERENCE)
    plain = compile_plain(problem, options.seed, options.teacher_steps)
    ways = {
        OURS: run_in_chunks(problem, options.seed, options.teacher_steps),
        PLAIN: run_plainly(plain),
        LOOP: run_in_loop(problem, options.seed, options.teacher_steps),
    }
    if torch_steps.is_installed():
        ways[TORCH] = run_in_torch(problem, options.seed, options.teacher_steps, max(options.num_seeds))
    times = time_ways(ways, options)
    cost = plain.lower(np.arange(1, dtype=np.uint32)).compile().cost_analysis() or {}
    operations = {
        "operations/matrix products": np.array(count_operations(options.num_steps)),
        "operations/counted by XLA": np.array(cost.get("flops", np.nan) / options.num_steps),
        "operations/peak a second": times.peaks,
    }
    settings = {name: options.config()[name] for name in ("seed", "num_seeds", "repetitions")}
    growth = grow(ways_of(options.devices, options.processes), settings | {"teacher_steps": options.teacher_steps})
    results = {f"rate/{name}": rates for name, rates in times.rates.items()} | operations | growth
    verdicts = [*judge(times, options.num_seeds[-1]), *judge_growth(growth, options.num_seeds)]
    tables = (rate_table(times, options), growth_table(growth, options.num_seeds), verdict_table(verdicts))
    table = "\n".join(tables)
    return Outcome(results, verdicts, table)


def judge(times: Times, last: int) -> list[Verdict]:
    """Report how many times as fast ours is as each other way, and judge whether all agree."""
    ours, others = times.rates[OURS][:, -1], [name for name in times.rates if name != OURS]
    verdicts = []
    for name in others:
        verdict = Verdict(
            claim="benchmark",
            check=f"{OURS}, times as fast as: {name}, {last} seeds",
            predicted="no guarantee",
            measured=range_estimate(ours / times.rates[name][:, -1]),
        )
        verdicts.append(verdict)
    alignment, change = times.results[OURS]
    differences = [disagreement(times.results[name], times.results[OURS]) for name in others]
    agreement = Verdict(
        claim="benchmark",
        check="largest difference between the ways, relative",
        predicted="0 (rounding)",
        measured=range_estimate(np.array(differences)),
        accepted=Accepted(low=0.0, high=VANISHING),
        control="the sign of one way turned",
        control_measured=range_estimate(np.array([disagreement((-alignment, -change), times.results[OURS])])),
        instances=len(differences),
    )
    return [*verdicts, agreement]


def rate_table(times: Times, options: Benchmark) -> str:
    """Lay out the rates and the share of the machine's peak."""
    header = ("instances a second", *(f"{count} seeds" for count in options.num_seeds), "GFLOP/s", "of peak")
    operations, peak = count_operations(options.num_steps), times.peaks.max()
    rows = []
    for name, rates in times.rates.items():
        usual = np.median(rates, axis=0)
        speed = usual.max() * operations
        rows.append((name, *(f"{rate:,.0f}" for rate in usual), f"{speed / 1e9:.1f}", f"{speed / peak:.1%}"))
    rows.append(("matrix product (peak)", *("" for _ in options.num_seeds), f"{peak / 1e9:.1f}", "100.0%"))
    return markdown_table(header, rows)
