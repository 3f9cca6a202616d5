"""Verification: the claims that one asks for, over the zoo or over problems of one's own, as one outcome."""

import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np

from theory.claim import Cases, Claim, all_claims, claim_names, measure_claims
from theory.claims import conditions
from theory.digits import shortened
from theory.pictures import draw
from theory.problem import Problem, in_double_precision
from theory.requirements import check_problems
from theory.runs.checks import Evidence
from theory.runs.chunks import Place, current_place, keep_in
from theory.runs.command_line import require
from theory.runs.compiler import require_right_compiler
from theory.runs.progress import QUIET, follow
from theory.runs.provenance import Start
from theory.runs.records import Outcome, is_finished, save
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict, verdict_table

SLOW = (
    "width",
    "different-initialization",
    "alignment",
    "limits",
    "ends",
    "many-steps",
    "low-rank",
    "label-noise-cost",
    "initialization-distance",
)
"""What workers begin with, so that none is left with it at the end."""


def verify(
    *problems: Problem,
    claims: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    output: str | Path | None = None,
) -> Outcome:
    """Verify claims for problems that one brings.

    Args:
        *problems: The problems; the first also serves for the controls.
        claims: Names of claims, see `theory list`; by default all that don't need to know the inside of the network.
        sampling: Instances and step sizes; the defaults are natural units and suit any scale. All starts from float64.
        output: Run folder to write, with figure and provenance; none by default. Code can't be compared, so a record
            of the same names and sampling is computed anew and replaced.

    Returns:
        Verdicts, table and every number behind them, as the command line records them.

    Raises:
        ValueError: If a problem can't be verified (see `check_problems`), a claim is unknown or for the zoo alone, or
            JAX runs in single precision.
        InputError: If the run folder holds another run or can't be written.

    Examples:
        A network of one layer, whose teacher learns any direction at all:

        >>> import theory
        >>> jax.config.update("jax_enable_x64", True)
        >>> problem = theory.Problem(
        ...     apply=lambda params, inputs: jax.numpy.tanh(inputs @ params),
        ...     initialize=lambda key: jax.random.normal(key, (3, 2)),
        ...     draw_inputs=lambda key: jax.random.normal(key, (4, 3)),
        ...     imitation_loss=theory.losses.squared_error,
        ...     trait_loss=theory.traits.random_direction,
        ... )
        >>> few = theory.Sampling(num_seeds=32, teacher_steps=(1e-5, 1e-4, 1e-3))
        >>> outcome = theory.verify(problem, claims=["alignment"], sampling=few)
        >>> for verdict in outcome.verdicts:
        ...     if verdict.claim == "alignment":
        ...         print(f"{verdict.predicted:4}  {verdict.measured.value:.2f}  {verdict.outcome}")
        2.00  2.00  holds
        → 1   1.00  holds
    """
    known = all_claims()
    kinds = {getattr(problem, "teacher_apply", None) is None for problem in problems}
    if len(kinds) > 1:
        raise ValueError("problems with a teacher_apply and without one have no claim in common: verify them apart")
    same = False not in kinds
    default = [name for name, claim in known.items() if claim.any_problem and claim.two_networks != same]
    named = check_claims(default if claims is None else claims)
    if inside := sorted(name for name in named if not known[name].any_problem):
        raise ValueError(f"claims {inside} need to know the inside of the network: choose others")
    if outside := [name for name in named if known[name].two_networks == same]:
        about = "are about a teacher_apply" if same else "say nothing of a teacher_apply"
        raise ValueError(f"claims {outside} {about}: choose others")
    chosen = Sampling() if sampling is None else sampling
    require(isinstance(chosen, Sampling), "sampling", "a theory.Sampling(...)", sampling)
    require(output is None or isinstance(output, str | os.PathLike), "output", "the path of a folder", output)
    check_problems(problems)
    problems = tuple(map(in_double_precision, problems))
    names = [problem.name for problem in problems]
    config = {"command": "theory.verify", "problems": names, "claims": named, **chosen.config()}

    def compute() -> Outcome:
        require_right_compiler()
        asked = [known[name] for name in dict.fromkeys([conditions.CLAIM.name, *named])]
        evidence = dict(zip(asked, measure_claims(asked, problems, chosen), strict=True))
        why = conditions.what_breaks(evidence[conditions.CLAIM])
        return gather(evidence, why)

    if output is None:
        return compute()
    is_finished(Path(output), config)
    start = Start.now(Path(output))
    outcome = compute()
    save(outcome, Path(output), config, draw, start)
    return outcome


def verify_zoo(claims: Sequence[str], sampling: Sampling, fewer_digits: bool = False) -> Outcome:
    """Verify claims over the zoo, in as many workers as there are cores, since most of the time is Python's.

    The numbers are the same with one worker. With fewer digits they have as many as their verdicts need.
    """
    chosen = [all_claims()[name] for name in check_claims(claims)]
    together: dict[Cases, list[str]] = {}
    for claim in chosen:
        together.setdefault(claim.cases, []).append(claim.name)
    tasks = sorted(together.values(), key=lambda names: SLOW.index(names[0]) if names[0] in SLOW else len(SLOW))
    workers = min(os.cpu_count() or 1, len(tasks))
    if workers == 1 or jax.process_count() > 1 or jax.default_backend() != "cpu":
        return gather(measure(chosen, sampling, fewer_digits))
    start = (start_worker, (current_place(),))
    task = partial(measure_task, sampling=Sampling(**sampling.config()), fewer_digits=fewer_digits)
    with ProcessPoolExecutor(workers, get_context("spawn"), *start) as pool:
        parts = list(follow(pool.map(task, tasks), "verify", "parts", len(tasks)))
    measured = {name: evidence for part in parts for name, evidence in part.items()}
    return gather({claim: measured[claim.name] for claim in chosen})


def start_worker(place: Place | None) -> None:
    """Make a worker as its parent is; Ctrl-C is the parent's, and so is a terminal's only bar."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.stderr.isatty():
        os.environ[QUIET] = "1"
    jax.config.update("jax_enable_x64", True)
    keep_in(place)


def measure_task(names: Sequence[str], sampling: Sampling, fewer_digits: bool) -> dict[str, Evidence]:
    """Measure claims one after the other, in a worker."""
    measured = measure([all_claims()[name] for name in names], sampling, fewer_digits)
    return {claim.name: evidence for claim, evidence in measured.items()}


def measure(claims: Sequence[Claim], sampling: Sampling, fewer_digits: bool) -> dict[Claim, Evidence]:
    """Measure claims over the zoo one after the other."""
    measured = zip(claims, measure_claims(claims, None, sampling), strict=True)
    return {claim: shortened(claim, evidence) if fewer_digits else evidence for claim, evidence in measured}


def check_claims(claims: Sequence[str]) -> list[str]:
    """Bring claims into the theory's order; refuse unknown ones, and single precision, which can't tell an order."""
    if (
        isinstance(claims, str)
        or not isinstance(claims, Collection)
        or not all(isinstance(name, str) for name in claims)
    ):
        raise ValueError(f'claims must be a list of names, as in claims=["alignment"], not {claims!r}')
    if not claims:
        raise ValueError(f"claims names none: choose from {', '.join(claim_names())}")
    known = all_claims()
    if unknown := set(claims) - set(known):
        raise ValueError(f"unknown claims {sorted(unknown)}: choose from {', '.join(claim_names())}")
    if not jax.config.read("jax_enable_x64"):
        raise ValueError('theory needs float64: call jax.config.update("jax_enable_x64", True) first')
    return [name for name in known if name in claims]


def gather(measured: Mapping[Claim, Evidence], why: str = "") -> Outcome:
    """Judge several claims and put all together, arrays as `claim/case/quantity`; `why` one can't judge, if so."""
    judged = [verdict for claim, evidence in measured.items() for verdict in claim.judge(evidence)]
    verdicts: list[Verdict] = [replace(verdict, unjudged=verdict.unjudged or why) for verdict in judged]
    results: dict[str, np.ndarray] = {
        f"{claim.name}/{case}/{quantity}": array
        for claim, evidence in measured.items()
        for case, measurement in evidence.cases.items()
        for quantity, array in measurement._asdict().items()
    }
    return Outcome(results, verdicts, verdict_table(verdicts))
