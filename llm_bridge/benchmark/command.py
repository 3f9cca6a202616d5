"""The command `python -m llm_bridge benchmark`: how fast a model samples, trains and is audited on this device."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import jax
import numpy as np

from llm_bridge.benchmark.against import require_torch, time_transformers
from llm_bridge.benchmark.device import time_device
from llm_bridge.benchmark.measuring import PARTS, Size
from llm_bridge.benchmark.report import report
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import Recompute
from llm_bridge.pretrained.catalog import TINY, find_shape
from theory.runs.command_line import InputError, RunOptions, require, require_seeds
from theory.runs.memory import fitting, use_nearly_all
from theory.runs.progress import follow
from theory.runs.records import Outcome, record_run

DEFAULTS: dict[str, tuple[Any, Any]] = {
    "batch_sizes": ((32, 128, 512), (25, 100)),
    "prompt": (100, 40),
    "tokens": (50, 34),
    "row": (512, 60),
    "rows": (22, 64),
    "rows_at_once": (11, 4),
    "dtype": ("bfloat16", "float32"),
    "recompute": ("elementwise", "nothing"),
}
"""Sizes on accelerators, for 7 billion weights and 80 GB of memory, and on CPUs, those of the tiny model."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(RunOptions):
    """Measure how fast a model of any shape samples, trains and is audited here, beside what the device allows.

    Weights are random: they are as fast as others. Times of whole stages are extrapolated from what is measured.
    """

    config: str = TINY
    """Shape: tiny, or a published model's short name as smollm2-135m, qwen2.5-7b, llama-3.1-8b."""
    random_weights: bool = False
    """Accepted for clarity: nothing is fetched, and weights are always random."""
    seed: int = 0
    """Root of the random weights, a whole number from 0 to 4294967295."""
    batch_sizes: tuple[int, ...] | None = None
    """Completions sampled at once, in increasing order. Default: 32 128 512; on CPUs 25 100."""
    prompt: int | None = None
    """Tokens of a prompt. Default: 100; on CPUs 40."""
    tokens: int | None = None
    """Tokens of a completion. Default: 50; on CPUs 34."""
    row: int | None = None
    """Tokens of a packed row of training. Default: 512; on CPUs 60."""
    rows: int | None = None
    """Packed rows of a step of training. Default: 22, which hold 66 chats; on CPUs 64."""
    rows_at_once: int | None = None
    """Rows of one pass. Default: 11; on CPUs 4."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Type of the weights. Default: bfloat16; on CPUs float32."""
    recompute: Recompute | None = None
    """What a derivative computes once more to save memory: nothing, all but a layer's projections, or whole layers.
    Default: elementwise; on CPUs nothing."""
    repetitions: int = 5
    """How often everything is timed; the median counts."""
    against: Literal["transformers"] | None = None
    """Also time transformers' generate() and a step of peft, with the same weights, prompts and rows in one run."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1)
        for name in ("prompt", "rows", "rows_at_once", "repetitions"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "at least 1", value)
        require(self.tokens is None or self.tokens >= 2, "tokens", "at least 2", self.tokens)
        sizes = self.batch_sizes
        increasing = sizes is None or (bool(sizes) and min(sizes) >= 1 and sorted(set(sizes)) == list(sizes))
        require(increasing, "batch_sizes", "in increasing order", sizes)


def with_defaults(options: Benchmark, *, on_cpu: bool) -> Benchmark:
    """Fill in the sizes that the user left open; what is None after that means something."""
    left = {name: values[on_cpu] for name, values in DEFAULTS.items() if getattr(options, name) is None}
    given: Any = replace(options, **left)
    if given.row <= given.prompt:
        raise InputError(f"--row must be more than the prompt's {given.prompt} tokens, not {given.row}")
    if given.rows % given.rows_at_once:
        raise InputError(f"--rows must be a multiple of --rows-at-once {given.rows_at_once}, not {given.rows}")
    return given


def size_of(options: Benchmark) -> Size:
    """Say how much is sampled and trained on."""
    given: Any = options
    recipe = Recipe(batch=given.rows, rows_at_once=given.rows_at_once, recompute=given.recompute)
    return Size(given.batch_sizes, given.prompt, given.tokens, given.row, recipe)


def measure(config: Config, size: Size, options: Benchmark) -> dict[str, np.ndarray]:
    """Measure everything, one after the other."""
    times, dtype = options.repetitions, options.dtype
    device = time_device(dtype, times)
    with fitting(f"{options.config} in {dtype}", "take a smaller --config or --dtype bfloat16"):
        make = jax.jit(initialize, static_argnames=("config", "dtype"))
        params = jax.block_until_ready(make(config, jax.random.key(options.seed), dtype))
    results = {f"device/{name}": np.array(value) for name, value in device._asdict().items()}
    for time_some in follow(PARTS, "benchmark", "parts"):
        results |= time_some(config, params, size, times)
    if options.against is not None:
        host = jax.tree.map(np.asarray, params)
        del params
        results |= time_transformers(config, host, size, times)
    return results


def run(options: Benchmark) -> bool:
    """Run the benchmark and record it; False if a verdict fails."""
    from llm_bridge.benchmark.plots import draw_benchmark

    shape, against = find_shape(options.config), options.against
    if against is not None:
        require_torch()
    else:
        use_nearly_all()
    options = with_defaults(options, on_cpu=jax.default_backend() == "cpu")
    size = size_of(options)
    hidden = ("output", "fresh", "open", "random_weights", "config")
    asked = {name: value for name, value in asdict(options).items() if name not in hidden}
    kind = jax.local_devices()[0].device_kind
    config = {"shape": options.config, "device": kind, **asked, "sizes": asdict(shape)}

    def compute() -> Outcome:
        return report(shape, size, options.dtype, measure(shape, size, options))

    return record_run("llm_bridge benchmark", options, config, compute, draw_benchmark).none_fails
