"""Verdicts on a study or a sweep: strangers at chance, what theory says of its points, and the findings of others."""

from collections.abc import Mapping, Sequence

import numpy as np

from mlp_mnist.arms import Results
from mlp_mnist.protocol import Protocol
from mlp_mnist.studies import Finding
from mlp_mnist.tables import point_table
from mlp_mnist.verdicts import ABOVE, JOINT_CONFIDENCE, LEAST_SEEDS, Checks, at_chance, judged, value
from theory.runs.checks import Check, Evidence, Figure, Select, every, mean
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, mean_estimate
from theory.runs.verdicts import Accepted, verdict_table

UNMOVED = Accepted(low=0.0, high=0.0)
"""Not one image is classified otherwise than by the init."""

SAME = Accepted(low=-0.02, high=0.02)
"""The whole interval of a mean difference is that small."""


LEAST_NUMBERS = 4
"""With fewer numbers of logits a curve with two free parameters says little."""

SPREADS = np.geomspace(1, 1e5, 2001)
"""Values of κ that are tried."""

CHI_SQUARED_95 = 3.84
"""95 % of one squared normal deviate are below."""


def is_chance(protocol: Protocol) -> bool:
    """Say whether theory puts a student of auxiliary logits at chance: its class head is drawn anew and never trained.

    Its class head gets no gradient from auxiliary logits. Where that head was drawn independently of all else, its ten
    rows are exchangeable, so each class is equally often the largest, whatever the hidden layers do.
    """
    fresh = protocol.shared in {"nothing", "auxiliary head"} or protocol.correlation == 0
    return fresh and protocol.matched_epochs == 0


def judge_sweep(
    results: Results,
    points: Mapping[str, Protocol],
    findings: Sequence[Finding],
    equal: tuple[str, str] | None = None,
) -> Outcome:
    """Judge a study or a sweep: protocols by label, what others found, and labels of two points that must agree."""
    accuracies = {label: results[f"accuracy/{label}"] for label in points}
    verdicts = judged(results, (*_point_checks(accuracies, points, equal), *_finding_checks(accuracies, findings)))
    return Outcome(dict(results), verdicts, f"{point_table(results, points)}\n{verdict_table(verdicts)}")


def _point_checks(accuracies: Results, points: Mapping[str, Protocol], equal: tuple[str, str] | None) -> Checks:
    """What theory says of a sweep's points, and of two that must agree."""
    controls = [label for label, point in points.items() if is_chance(point)]
    best = max(accuracies, key=lambda label: float(np.mean(accuracies[label])))
    for label in controls:
        yield (
            "different-initialization",
            at_chance(
                f"accuracy from auxiliary logits with a fresh class head: {label}",
                label,
                f"the best point: {best}",
                best,
                joint=2 * len(controls),
            ),
        )
    for label, point in points.items():
        if point.num_auxiliary == 1 and point.loss == "kl":
            yield (
                "null-space",
                Check(
                    says=f"accuracy gained from a softmax of one logit, which has no gradient: {label}",
                    predicted="0",
                    of=value(f"accuracy/{label}", minus=f"reference/{label}"),
                    by=every,
                    accepted=UNMOVED,
                    control=f"the best point: {best}",
                    broken=value(f"accuracy/{best}", minus=f"reference/{best}"),
                ),
            )
    yield from _number_checks(accuracies, points)
    yield from _removal_checks({point.removed: label for label, point in points.items() if not is_chance(point)})
    if equal:
        first, second = (f"accuracy/{label}" for label in equal)
        yield (
            "precision",
            Check(
                says=f"mean accuracy, {equal[1]} − {equal[0]}, seed by seed",
                predicted="within ±0.02",
                of=value(second, minus=first),
                by=mean(confidence=0.95),
                accepted=SAME,
                control=f"{controls[0]} − {equal[0]}",
                broken=value(f"accuracy/{controls[0]}", minus=first),
                least=LEAST_SEEDS,
            ),
        )


def saturation(gains: np.ndarray, numbers: np.ndarray, spread: float) -> tuple[float, float]:
    r"""Fit a factor $a$ in mean gains $a\,m/(m + \kappa)$, and return it with what is left, $\chi^2$.

    Args:
        gains: What every seed gained, `(numbers, seeds)`.
        numbers: Numbers of auxiliary logits $m$.
        spread: $\kappa$.

    Returns:
        The factor, and the sum of squared deviations in standard errors of the means.
    """
    means, errors = gains.mean(axis=1), gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1])
    shape = numbers / (numbers + spread)
    factor = np.sum(means * shape / errors**2) / np.sum(shape**2 / errors**2)
    return float(factor), float(np.sum(((means - factor * shape) / errors) ** 2))


def fitted_spread(gains: np.ndarray, numbers: np.ndarray) -> Estimate:
    r"""Fit $\kappa$ along with the factor: the least $\chi^2$, and where it grows by 3.84 (95 %), within `SPREADS`."""
    left = np.array([saturation(gains, numbers, spread)[1] for spread in SPREADS])
    inside = SPREADS[left <= left.min() + CHI_SQUARED_95]
    low = 0.0 if inside[0] == SPREADS[0] else float(inside[0])
    high = np.inf if inside[-1] == SPREADS[-1] else float(inside[-1])
    return Estimate(float(SPREADS[left.argmin()]), low, high)


def _number_checks(accuracies: Results, points: Mapping[str, Protocol]) -> Checks:
    """Hold accuracies over the number of logits, shared heads alone, against the share m/(m + κ) of claim shared-heads.

    Theory says what of the features' lesson comes through, not what an accuracy makes of it: a factor is free, and with
    it all is reported.
    """
    heads = {point.num_auxiliary: label for label, point in points.items() if point.shared == "heads"}
    if len(heads) < LEAST_NUMBERS:
        return
    numbers, units = np.array(sorted(heads)), next(iter(points.values())).hidden[-1]

    def gained(evidence: Evidence) -> list[np.ndarray]:
        of = evidence.cases
        return [np.stack([of[f"accuracy/{heads[one]}"] - of[f"reference/{heads[one]}"] for one in numbers], axis=1)]

    def left(spread: float) -> Figure:
        return lambda gains, settings: Estimate(*[saturation(gains[0].T, numbers, spread)[1]] * 3)

    degrees = f"{len(numbers) - 1} degrees of freedom"
    figures: dict[str, tuple[str, Figure]] = {
        "κ, accuracy gained with heads shared fitted by a·m/(m + κ), a and κ free": (
            f"{units + 1} for a teacher at random",
            lambda gains, settings: fitted_spread(gains[0].T, numbers),
        ),
        f"χ² of a·m/(m + {units + 1}), a alone free, {degrees}": (
            "few standard errors if accuracy goes with the share",
            left(units + 1),
        ),
        f"χ² of a straight line a·m instead, {degrees}": ("more if κ is finite", left(SPREADS[-1])),
    }
    for says, (expected, figure) in figures.items():
        yield ("shared-heads", Check(says=says, predicted=expected, of=gained, by=figure))


def _removal_checks(labels: Mapping[str, str]) -> Checks:
    """Transfer goes by way of the teacher's displacement: without it a student gains less than half.

    There is something to check if a point removes the aligned component of each step, another a random one and another
    nothing.
    """
    if set(labels) != {"nothing", "aligned", "random"}:
        return

    def missed(removed: str) -> Select:
        def select(evidence: Evidence) -> list[np.ndarray]:
            whole, left = (
                evidence.cases[f"accuracy/{labels[name]}"] - evidence.cases[f"reference/{labels[name]}"]
                for name in ("nothing", removed)
            )
            return [whole / 2 - left]

        return select

    yield (
        "alignment",
        Check(
            says="half of the accuracy gained, less what is gained without the aligned component of each step",
            predicted="> 0",
            of=missed("aligned"),
            by=mean(confidence=JOINT_CONFIDENCE),
            accepted=ABOVE,
            control="without a random component of the same size",
            broken=missed("random"),
            least=LEAST_SEEDS,
        ),
    )


def _finding_checks(accuracies: Results, findings: Sequence[Finding]) -> Checks:
    """Mean accuracy, or mean paired difference, with its 95 % interval, beside what others reported."""
    for finding in findings:
        yield (
            "finding",
            Check(
                says=f"{finding.point} − {finding.than}" if finding.than else finding.point,
                predicted=finding.claim,
                of=value(f"accuracy/{finding.point}", minus=finding.than and f"accuracy/{finding.than}"),
                by=mean(confidence=0.95),
                control=agreement(finding, accuracies),
            ),
        )


def agreement(finding: Finding, accuracies: Results) -> str:
    """Say whether a report is reproduced.

    It is `reproduced` if the interval lies in the reported range, or, for an accuracy, reaches into it; `refuted` if it
    lies outside; else `undecided`.
    """
    values = accuracies[finding.point]
    _, low, high = mean_estimate(values if finding.than is None else values - accuracies[finding.than])
    if low > finding.high or high < finding.low:
        return "refuted"
    inside = finding.low <= low and high <= finding.high
    return "reproduced" if np.isfinite(low) and (inside or finding.than is None) else "undecided"
