"""Command line of the theory: `python -m theory list`, `verify [CLAIM ...]`, `sweep` and `benchmark`."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import jax
import tyro

from theory.benchmark.command import Benchmark, benchmark
from theory.claim import all_claims, claim_names
from theory.combinations import Combinations, sweep_combinations
from theory.runs.command_line import RunOptions, run_commands
from theory.runs.processes import Processes, joined
from theory.runs.sweeps import Sampling

if TYPE_CHECKING:
    ClaimName = str
else:
    ClaimName = Literal[*claim_names()]
"""The claims that are there."""


@dataclass(frozen=True, kw_only=True)
class ListClaims:
    """Say each claim in a line."""


@dataclass(frozen=True, kw_only=True)
class Verify(RunOptions, Processes, Sampling):
    """Verify claims over random networks, in float64: prediction, measurement, control, verdict."""

    claims: tyro.conf.Positional[tuple[ClaimName, ...]] = ()
    """Claims to verify; all if none is named."""
    digits: Literal["all", "printed"] = "all"
    """Digits of the recorded numbers: all, or as few as leave every verdict as it is printed."""

    def __post_init__(self) -> None:
        Sampling.__post_init__(self)
        Processes.__post_init__(self)


def list_claims(options: ListClaims) -> bool:
    """Print each claim in a line."""
    width = max(map(len, all_claims()))
    for name, claim in all_claims().items():
        print(f"{name:{width}}  {claim.statement}")
    return True


def verify(options: Verify) -> bool:
    """Verify claims over the zoo and record the run."""
    from theory.pictures import draw
    from theory.runs.records import record_run
    from theory.verification import check_claims, verify_zoo

    jax.config.update("jax_enable_x64", True)
    claims = check_claims(options.claims or claim_names())
    with joined(options):
        fewer = options.digits == "printed"
        config = {"claims": claims, **options.config()} | ({"digits": options.digits} if fewer else {})
        record = record_run("theory verify", options, config, lambda: verify_zoo(claims, options, fewer), draw)
    return record.none_fails


def sweep(options: Combinations) -> bool:
    """Sweep every combination of ingredients and record the run."""
    from theory.combinations import draw_combinations
    from theory.runs.records import record_run

    jax.config.update("jax_enable_x64", True)
    config = {**options.axes(), **options.config()}
    with joined(options):
        compute = partial(sweep_combinations, options)
        return record_run("theory sweep", options, config, compute, draw_combinations).none_fails


def time_claims(options: Benchmark) -> bool:
    """Time claims 1 and 2 beside other ways to check them, and record the run."""
    from theory.benchmark.picture import draw_benchmark
    from theory.runs.records import record_run

    jax.config.update("jax_enable_x64", True)
    compute = partial(benchmark, options)
    return record_run("theory benchmark", options, options.config(), compute, draw_benchmark).none_fails


def main() -> None:
    """Run the command line."""
    run_commands(
        "theory",
        {
            ListClaims: ("list", list_claims),
            Verify: ("verify", verify),
            Combinations: ("sweep", sweep),
            Benchmark: ("benchmark", time_claims),
        },
    )


if __name__ == "__main__":
    main()
