"""Command line of the theory: `python -m theory list`, `verify [CLAIM ...]`, `sweep` and `benchmark`."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import tyro

from theory.benchmark import Benchmark, benchmark
from theory.claims import CLAIMS
from theory.plots import draw
from theory.plots.benchmark import draw_benchmark
from theory.runs.command_line import RunOptions, run_commands
from theory.runs.processes import Processes, joined
from theory.runs.records import record_run
from theory.runs.sweeps import Sampling
from theory.survey import Survey, draw_survey, survey
from theory.verification import check_claims, verify_zoo_side_by_side

ClaimName = Literal[
    "alignment",
    "trait-loss",
    "how-small",
    "null-space",
    "imitation-losses",
    "different-initialization",
    "initialization-distance",
    "symmetry",
    "sampled-labels",
    "label-noise-cost",
    "filtering",
    "optimizers",
    "many-steps",
    "trait-matrix",
    "low-rank",
]


@dataclass(frozen=True, kw_only=True)
class ListClaims:
    """Say each claim in a line."""


@dataclass(frozen=True, kw_only=True)
class Verify(RunOptions, Processes, Sampling):
    """Verify claims over random networks, in float64: prediction, measurement, control, verdict."""

    claims: tyro.conf.Positional[tuple[ClaimName, ...]] = ()
    """Claims to verify; all if none is named."""

    def __post_init__(self) -> None:
        Sampling.__post_init__(self)
        Processes.__post_init__(self)


def list_claims(options: ListClaims) -> bool:
    """Print each claim in a line.

    Args:
        options: None.

    Returns:
        True.
    """
    del options
    width = max(map(len, CLAIMS))
    for name, claim in CLAIMS.items():
        print(f"{name:{width}}  {claim.statement}")
    return True


def verify(options: Verify) -> bool:
    """Verify claims over the zoo and record the run.

    Args:
        options: Claims and sampling.

    Returns:
        Whether no verdict fails.
    """
    jax.config.update("jax_enable_x64", True)
    claims = options.claims or tuple(CLAIMS)
    config = {"claims": check_claims(claims), **options.config()}
    with joined(options):
        record = record_run("theory verify", options, config, lambda: verify_zoo_side_by_side(claims, options), draw)
    return record.none_fails


def take_survey(options: Survey) -> bool:
    """Survey every combination of ingredients and record the run.

    Args:
        options: Ingredients and sampling.

    Returns:
        True: a survey reports.
    """
    jax.config.update("jax_enable_x64", True)
    config = {**options.axes(), **options.config()}
    with joined(options):
        return record_run("theory sweep", options, config, lambda: survey(options), draw_survey).none_fails


def time_claims(options: Benchmark) -> bool:
    """Time claims 1 and 2 beside other ways to check them, and record the run.

    Args:
        options: What to time.

    Returns:
        Whether all ways agree.
    """
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
            Survey: ("sweep", take_survey),
            Benchmark: ("benchmark", time_claims),
        },
    )


if __name__ == "__main__":
    main()
