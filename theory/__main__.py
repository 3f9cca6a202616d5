"""Command line of the theory: `python -m theory list` and `python -m theory verify [CLAIM ...]`."""

from dataclasses import dataclass
from typing import Literal

import jax
import tyro

from theory.claims import CLAIMS
from theory.command_line import RunOptions, run_commands
from theory.plots import draw
from theory.processes import Processes, joined
from theory.records import record_run
from theory.sweeps import Sampling
from theory.verification import check_claims, verify_zoo

ClaimName = Literal["alignment", "trait-loss", "null-space", "different-initialization"]


@dataclass(frozen=True, kw_only=True)
class ListClaims:
    """Say each claim in a line."""


@dataclass(frozen=True, kw_only=True)
class Verify(RunOptions, Processes, Sampling):
    """Verify claims over random networks, in float64: prediction, measurement, control, verdict."""

    claims: tyro.conf.Positional[tuple[ClaimName, ...]] = ()
    """Claims to verify; all if none is named."""


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
        record = record_run("theory verify", options, config, lambda: verify_zoo(claims, options), draw)
    return record.none_fails


if __name__ == "__main__":
    run_commands("theory", {ListClaims: ("list", list_claims), Verify: ("verify", verify)})
