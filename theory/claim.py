"""A claim: a statement of the theory, what is measured of it, and the checks that judge the measurements."""

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from theory.runs.checks import CONTROL, NOTHING, Check, Evidence
from theory.runs.command_line import InputError
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.problem import Problem
    from theory.runs.records import Record

Cases = Callable[[Sequence["Problem"], Sampling], Mapping[str, Experiment]]
"""From problems, the first of which also serves for the controls, to the experiment of each case, under its name. Names
of controls begin with `CONTROL`."""


FEW = 4
"""The zoo's cases of a claim have as many instances in all as this many have: 1,000 by default."""


class Report(NamedTuple):
    """A claim's verdicts and the numbers behind them."""

    verdicts: list[Verdict]
    """One for each check."""
    measurements: Mapping[str, Any]
    """For each case a named tuple of arrays with leading axis `(num_seeds,)`."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture of a claim."""

    draw: Callable[["Axes", Evidence], None]
    """Draws it from the record."""
    shows: tuple[str, ...]
    """Fields of the measurements that it draws."""
    needs: Callable[[Evidence], bool] = lambda evidence: bool(evidence.proper)
    """Whether a record holds what it shows."""
    beside: tuple[str, ...] = ()
    """Other claims whose numbers it also shows, and whose verdicts its title follows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """A statement of the theory and how to verify it."""

    number: float
    """Its place in the list."""
    name: str
    """How the command line calls it; its module has the same name."""
    statement: str
    """The claim in a line."""
    measurement: type[Any]
    """The named tuple that is measured of an instance, and comes back from a record."""
    problems: Callable[[Sampling], Sequence["Problem"]]
    """The zoo's problems on which it is verified."""
    cases: Cases
    """What is measured; two claims with the same function share what it measures."""
    checks: Sequence[Check] | Callable[[Evidence], Sequence[Check]]
    """What is judged."""
    keep: Callable[[Any], Any] = lambda measured: measured
    """What is kept of a case's measurements."""
    panels: Mapping[str, Panel] = field(default_factory=dict)
    """Its pictures by name."""
    any_problem: bool = True
    """Whether it can be verified without knowing the inside of a network."""
    two_networks: bool = False
    """Whether it speaks of teachers with another network than their students', and of no others."""
    applies_to: str = "such problems"
    """What there must be for the claim to say anything, in words."""

    def judge(self, evidence: Evidence) -> list[Verdict]:
        """Judge a record, from its numbers alone.

        Args:
            evidence: What was measured.

        Returns:
            The verdicts; one that is reported if there is nothing that the claim speaks of.
        """
        if not evidence.cases:
            return [Verdict(claim=self.name, check=self.applies_to, predicted="none", measured=NOTHING, instances=0)]
        checks = self.checks(evidence) if callable(self.checks) else self.checks
        return [verdict for check in checks for verdict in check.judge(self.name, evidence)]

    def verify(self, problems: Sequence["Problem"] | None, sampling: Sampling) -> Report:
        """Measure and judge.

        Args:
            problems: The problems, the first of which also serves for the controls; None for the zoo's.
            sampling: Instances and step sizes.

        Returns:
            The report.
        """
        (evidence,) = measure_claims([self], problems, sampling)
        return Report(self.judge(evidence), evidence.cases)

    def read(self, record: "Record", only: Collection[str] | None = None) -> Evidence:
        """Take this claim's numbers out of a record, as they were measured.

        Args:
            record: A record of a `verify` run.
            only: Fields of the measurements to read, others are None; all by default.

        Returns:
            The evidence; no case if the record is of other claims.

        Raises:
            KeyError: If an array is missing.
        """
        start = f"{self.name}/"
        names = dict.fromkeys(name[len(start) :].rsplit("/", 1)[0] for name in record.results if name.startswith(start))
        wanted = self.measurement._fields if only is None else only

        def measured(name: str) -> Any:
            return self.measurement(
                *(
                    record.results[f"{start}{name}/{part}"] if part in wanted else None
                    for part in self.measurement._fields
                )
            )

        cases = {name: measured(name) for name in names}
        verdicts = [verdict for verdict in record.verdicts if verdict["claim"] == self.name]
        return Evidence(cases, sampling_of(record.config), verdicts, record)


def sampling_of(config: Mapping[str, Any]) -> Sampling:
    """Read instances and step sizes from a record's configuration."""
    chosen: dict[str, Any] = {one.name: config[one.name] for one in fields(Sampling)}
    chosen |= {name: tuple(value) for name, value in chosen.items() if isinstance(value, list)}
    return Sampling(**chosen)


def claim_names() -> list[str]:
    """List the claims by name: every module in `theory/claims` is one."""
    modules = (Path(__file__).parent / "claims").glob("[!_]*.py")
    return sorted(path.stem.replace("_", "-") for path in modules)


def find_claim(name: str) -> Claim:
    """Import a claim, and make sure that it is called as its file is."""
    module = name.replace("-", "_")
    claim = getattr(importlib.import_module(f"theory.claims.{module}"), "CLAIM", None)
    if not isinstance(claim, Claim) or claim.name != name:
        found = f"is named {claim.name!r}" if isinstance(claim, Claim) else "defines no CLAIM"
        raise InputError(f"theory/claims/{module}.py {found}: it must define CLAIM = Claim(name={name!r}, …)")
    return claim


@cache
def all_claims() -> dict[str, Claim]:
    """Import every claim, in the order of their numbers."""
    claims = sorted(map(find_claim, claim_names()), key=lambda claim: claim.number)
    return {claim.name: claim for claim in claims}


def measure_claims(
    claims: Sequence[Claim], problems: Sequence["Problem"] | None, sampling: Sampling
) -> Iterator[Evidence]:
    """Measure the cases of several claims, by default on the zoo; what two of them look at is measured once."""
    measured: dict[Cases, dict[str, Any]] = {}
    for claim in claims:
        if claim.cases not in measured:
            chosen = claim.problems(sampling) if problems is None else problems
            cases = claim.cases(chosen, sampling)
            asked = sampling
            if problems is None and sampling.cases == "all":
                num_proper = max(1, sum(not name.startswith(CONTROL) for name in cases))
                asked = replace(sampling, num_seeds=sampling.num_seeds * -(-FEW // num_proper))
            measured[claim.cases] = asked.sweep_all(cases, claim.name) if cases else {}
        kept = {name: claim.keep(result) for name, result in measured[claim.cases].items()}
        cases = {name: claim.measurement(*map(np.asarray, result)) for name, result in kept.items()}
        yield Evidence(cases, sampling)


def measure_with(
    measure: Callable[..., Any],
    takes: Callable[[Sampling], dict[str, Any]] = lambda sampling: {},
    controls: Callable[["Problem"], Mapping[str, Callable[..., Experiment]]] = lambda problem: {},
    **options: Any,
) -> Cases:
    """Measure every problem alike, and some controls of the first.

    `measure` takes a problem, an instance and the keywords that `takes` makes of the sampling; `controls` names by
    what is broken functions from the same keywords to an experiment, which gives the same named tuple. The
    options are `experiment`'s.
    """

    def cases(problems: Sequence["Problem"], sampling: Sampling) -> dict[str, Experiment]:
        from theory.experiments import experiment

        keywords = takes(sampling)
        proper = {problem.name: experiment(problem, measure, **options, **keywords) for problem in problems}
        broken = controls(problems[0]).items() if problems else ()
        return proper | {f"{CONTROL}{name}": control(**keywords) for name, control in broken}

    return cases


def steps(sampling: Sampling) -> dict[str, Any]:
    """Tell a measurement the teacher's step sizes."""
    return {"teacher_steps": sampling.teacher_steps}


def fitted_steps(sampling: Sampling) -> dict[str, Any]:
    """Tell a measurement those of the teacher's step sizes to which orders are fitted."""
    return {"teacher_steps": sampling.teacher_steps[: sampling.num_fitted]}


def rates(sampling: Sampling) -> dict[str, Any]:
    """Tell a measurement the student's step sizes."""
    return {"learning_rates": sampling.learning_rates}


def steps_and_rates(sampling: Sampling) -> dict[str, Any]:
    """Tell a measurement both."""
    return steps(sampling) | rates(sampling)


def fitted_steps_and_rates(sampling: Sampling) -> dict[str, Any]:
    """Tell a measurement the steps to which orders are fitted, and the student's."""
    return fitted_steps(sampling) | rates(sampling)


def any_visible(evidence: Evidence) -> bool:
    """Tell whether imitation sees the trait in any instance of the first case."""
    return bool(evidence.proper) and bool(np.any(evidence.first.visible))
