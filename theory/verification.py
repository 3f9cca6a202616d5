"""Verification: the claims that one asks for, over the zoo or over problems of one's own, as one outcome."""

import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np

from theory.claims import CLAIMS
from theory.claims.evidence import Report
from theory.conditions import NAME as CONDITIONS
from theory.conditions import check as check_conditions
from theory.plots import draw
from theory.problem import Problem, in_double_precision
from theory.requirements import check_problems
from theory.runs.chunks import Place, current_place, keep_in
from theory.runs.command_line import require
from theory.runs.compiler import require_right_compiler
from theory.runs.progress import QUIET, follow
from theory.runs.provenance import Start
from theory.runs.records import Outcome, is_finished, save
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import verdict_table

SLOW = (("different-initialization",), ("alignment", "trait-loss"), ("many-steps",))
"""What workers begin with, so that none is left with it at the end; claims 1 and 2 look at the same sweep."""

ANY_PROBLEM = tuple(name for name, claim in CLAIMS.items() if claim.verify)
"""Claims that can be verified without knowing the inside of a network."""


def verify(
    *problems: Problem,
    claims: Sequence[str] = ANY_PROBLEM,
    sampling: Sampling | None = None,
    output: str | Path | None = None,
) -> Outcome:
    """Verify claims for problems that one brings.

    Args:
        *problems: The problems; the first also serves for the controls.
        claims: Names of claims, see `CLAIMS`; all that don't need to know the inside of the network by default.
        sampling: Instances and step sizes; the defaults are natural units and suit any scale. All starts from float64.
        output: Run folder to write, with figure and provenance; none by default. Code can't be compared, so a record
            of the same names and sampling is computed anew and replaced.

    Returns:
        Verdicts, table and every number behind them, as the command line records them.

    Raises:
        ValueError: If a problem can't be verified (see `check_problems`), a claim is unknown or for the zoo alone, or
            JAX runs in single precision.
        InputError: If the run folder holds another run or can't be written.
    """
    named = check_claims(claims)
    if inside := set(named) - set(ANY_PROBLEM):
        raise ValueError(f"claims {sorted(inside)} need to know the inside of the network: choose others")
    chosen = Sampling() if sampling is None else sampling
    require(isinstance(chosen, Sampling), "sampling", "a theory.Sampling(...)", sampling)
    require(output is None or isinstance(output, str | os.PathLike), "output", "the path of a folder", output)
    check_problems(problems)
    problems = tuple(map(in_double_precision, problems))
    names = [problem.name for problem in problems]
    config = {"command": "theory.verify", "problems": names, "claims": named, **chosen.config()}

    def compute() -> Outcome:
        require_right_compiler()
        conditions, why = check_conditions(problems, chosen)
        reports = {name: verify_claim(problems, chosen) for name in named if (verify_claim := CLAIMS[name].verify)}
        refused = {
            name: Report([replace(verdict, unjudged=verdict.unjudged or why) for verdict in verdicts], measurements)
            for name, (verdicts, measurements) in reports.items()
        }
        return gather({CONDITIONS: conditions, **refused})

    if output is None:
        return compute()
    is_finished(Path(output), config)
    start = Start.now(Path(output))
    outcome = compute()
    save(outcome, Path(output), config, draw, start)
    return outcome


def verify_zoo(claims: Sequence[str], sampling: Sampling) -> Outcome:
    """Verify claims over the zoo.

    Args:
        claims: Names of claims, see `CLAIMS`.
        sampling: Instances and step sizes.

    Returns:
        Verdicts, table and every number behind them.
    """
    return gather({name: CLAIMS[name].verify_zoo(sampling) for name in check_claims(claims)})


def verify_zoo_side_by_side(claims: Sequence[str], sampling: Sampling) -> Outcome:
    """Verify claims over the zoo in as many workers as there are cores, since most of the time is Python's.

    Args:
        claims: Names of claims, see `CLAIMS`.
        sampling: Instances and step sizes.

    Returns:
        What `verify_zoo` gives, with one worker too.
    """
    names = check_claims(claims)
    tasks = [tuple(name for name in task if name in names) for task in (*SLOW, *[(name,) for name in names])]
    tasks = [task for place, task in enumerate(tasks) if task and not any(task[0] in done for done in tasks[:place])]
    workers = min(os.cpu_count() or 1, len(tasks))
    if workers == 1 or jax.process_count() > 1 or jax.default_backend() != "cpu":
        return verify_zoo(names, sampling)
    plain, start = Sampling(**sampling.config()), (start_worker, (current_place(),))
    with ProcessPoolExecutor(workers, get_context("spawn"), *start) as pool:
        parts = list(follow(pool.map(verify_task, tasks, repeat(plain)), "verify", "parts", len(tasks)))
    reports = {name: report for part in parts for name, report in part.items()}
    return gather({name: reports[name] for name in names})


def start_worker(place: Place | None) -> None:
    """Make a worker as its parent is; Ctrl-C is the parent's, and so is a terminal's only bar.

    Args:
        place: Where chunks are kept.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.stderr.isatty():
        os.environ[QUIET] = "1"
    jax.config.update("jax_enable_x64", True)
    keep_in(place)


def verify_task(names: Sequence[str], sampling: Sampling) -> dict[str, Report]:
    """Verify claims one after the other, in a worker.

    Args:
        names: Names of claims.
        sampling: Instances and step sizes.

    Returns:
        A report for each.
    """
    return {name: CLAIMS[name].verify_zoo(sampling) for name in names}


def check_claims(claims: Sequence[str]) -> list[str]:
    """Refuse unknown claims, and single precision, in which an order of 2 can't be told from rounding.

    Args:
        claims: Names of claims.

    Returns:
        The names, each once, in the order of `CLAIMS`.

    Raises:
        ValueError: If there is no list of names, a claim is unknown, or JAX runs in single precision.
    """
    if (
        isinstance(claims, str)
        or not isinstance(claims, Collection)
        or not all(isinstance(name, str) for name in claims)
    ):
        raise ValueError(f'claims must be a list of names, as in claims=["alignment"], not {claims!r}')
    if not claims:
        raise ValueError(f"claims names none: choose from {', '.join(CLAIMS)}")
    if unknown := set(claims) - set(CLAIMS):
        raise ValueError(f"unknown claims {sorted(unknown)}: choose from {', '.join(CLAIMS)}")
    if not jax.config.read("jax_enable_x64"):
        raise ValueError('theory needs float64: call jax.config.update("jax_enable_x64", True) first')
    return [name for name in CLAIMS if name in claims]


def gather(reports: Mapping[str, Report]) -> Outcome:
    """Put several claims' reports together.

    Args:
        reports: A report for each claim.

    Returns:
        The outcome; arrays are named `claim/case/quantity`.
    """
    verdicts = [verdict for report in reports.values() for verdict in report.verdicts]
    results: dict[str, np.ndarray] = {
        f"{claim}/{case}/{quantity}": array
        for claim, report in reports.items()
        for case, measurement in report.measurements.items()
        for quantity, array in measurement._asdict().items()
    }
    return Outcome(results, verdicts, verdict_table(verdicts))
