"""What a sweep shows: strangers at chance, findings of others, and the table of its points."""

from collections.abc import Mapping, Sequence

import numpy as np

from mlp_mnist.protocol import Protocol
from mlp_mnist.studies.study import Finding
from mlp_mnist.verdicts import ABOVE, CHANCE, JOINT_CONFIDENCE, LEAST_SEEDS
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate, range_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

NOTHING = Accepted(low=0.0, high=0.0)
"""Not one image is classified otherwise than by the init."""

SAME = Accepted(low=-0.02, high=0.02)
"""The whole interval of a mean difference is that small."""


def is_chance(protocol: Protocol) -> bool:
    """Say whether theory puts a student at chance.

    Its class head gets no gradient from auxiliary logits. Where that head was drawn independently of all else, its ten
    rows are exchangeable, so each class is equally often the largest, whatever the hidden layers do.

    Args:
        protocol: The protocol.

    Returns:
        Whether its class head is drawn anew and never trained.
    """
    fresh = protocol.shared in {"nothing", "auxiliary head"} or protocol.correlation == 0
    return fresh and protocol.matched_epochs == 0


def judge_sweep(
    results: Mapping[str, np.ndarray],
    points: Mapping[str, Protocol],
    findings: Sequence[Finding],
    equal: tuple[str, str] | None = None,
) -> Outcome:
    """Judge a sweep.

    Args:
        results: Accuracies and cosines of every seed, by quantity and label.
        points: Protocols by label.
        findings: What others found.
        equal: Labels of two points that must agree.

    Returns:
        The outcome.
    """
    accuracies = {label: results[f"accuracy/{label}"] for label in points}
    num_seeds = len(next(iter(accuracies.values())))
    controls = [label for label, point in points.items() if is_chance(point)]
    best = max(accuracies, key=lambda label: float(np.mean(accuracies[label])))
    confidence = joint_confidence(2 * max(1, len(controls)), JOINT_CONFIDENCE)
    verdicts = [
        Verdict(
            claim="different-initialization",
            check=f"accuracy from auxiliary logits with a fresh class head: {label}",
            predicted="0.1 (chance)",
            measured=mean_estimate(accuracies[label], confidence),
            accepted=CHANCE,
            control=f"the best point: {best}",
            control_measured=mean_estimate(accuracies[best], confidence),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        )
        for label in controls
    ]
    verdicts += [
        Verdict(
            claim="null-space",
            check=f"accuracy gained from a softmax of one logit, which has no gradient: {label}",
            predicted="0",
            measured=range_estimate(accuracies[label] - results[f"reference/{label}"]),
            accepted=NOTHING,
            control=f"the best point: {best}",
            control_measured=range_estimate(accuracies[best] - results[f"reference/{best}"]),
            instances=num_seeds,
        )
        for label, point in points.items()
        if point.num_auxiliary == 1 and point.loss == "kl"
    ]
    verdicts += judge_removal(results, points)
    if equal:
        first, second = (accuracies[label] for label in equal)
        verdicts.append(
            Verdict(
                claim="precision",
                check=f"mean accuracy, {equal[1]} − {equal[0]}, seed by seed",
                predicted="within ±0.02",
                measured=mean_estimate(second - first),
                accepted=SAME,
                control=f"{controls[0]} − {equal[0]}",
                control_measured=mean_estimate(accuracies[controls[0]] - first),
                instances=num_seeds,
                least_instances=LEAST_SEEDS,
            )
        )
    verdicts += [
        Verdict(
            claim="finding",
            check=f"{finding.point} − {finding.than}" if finding.than else finding.point,
            predicted=finding.claim,
            measured=compare(finding, accuracies),
            control=agreement(finding, accuracies),
            instances=num_seeds,
        )
        for finding in findings
    ]
    return Outcome(dict(results), verdicts, f"{point_table(results, points)}\n{verdict_table(verdicts)}")


def judge_removal(results: Mapping[str, np.ndarray], points: Mapping[str, Protocol]) -> list[Verdict]:
    """Judge whether transfer goes by way of the teacher's displacement: without it a student gains less than half.

    Args:
        results: Accuracies of every seed, by quantity and label.
        points: Protocols by label.

    Returns:
        One verdict if a point removes the aligned component of each step, another a random one and another nothing.
    """
    labels = {point.removed: label for label, point in points.items() if not is_chance(point)}
    if set(labels) != {"nothing", "aligned", "random"}:
        return []
    gained = {name: results[f"accuracy/{label}"] - results[f"reference/{label}"] for name, label in labels.items()}
    half = gained["nothing"] / 2
    return [
        Verdict(
            claim="alignment",
            check="half of the accuracy gained, less what is gained without the aligned component of each step",
            predicted="> 0",
            measured=mean_estimate(half - gained["aligned"], JOINT_CONFIDENCE),
            accepted=ABOVE,
            control="without a random component of the same size",
            control_measured=mean_estimate(half - gained["random"], JOINT_CONFIDENCE),
            instances=len(half),
            least_instances=LEAST_SEEDS,
        )
    ]


def compare(finding: Finding, accuracies: Mapping[str, np.ndarray]) -> Estimate:
    """Measure what others reported.

    Args:
        finding: Their report.
        accuracies: Accuracies of every seed by label.

    Returns:
        Mean accuracy, or mean paired difference, with its 95 % interval.
    """
    values = accuracies[finding.point]
    return mean_estimate(values if finding.than is None else values - accuracies[finding.than])


def agreement(finding: Finding, accuracies: Mapping[str, np.ndarray]) -> str:
    """Say whether a report is reproduced.

    Args:
        finding: The report.
        accuracies: Accuracies of every seed by label.

    Returns:
        `reproduced` if the interval lies in the reported range, or, for an accuracy, reaches into it; `refuted` if it
        lies outside; else `undecided`.
    """
    _, low, high = compare(finding, accuracies)
    if low > finding.high or high < finding.low:
        return "refuted"
    inside = finding.low <= low and high <= finding.high
    return "reproduced" if np.isfinite(low) and (inside or finding.than is None) else "undecided"


def point_table(results: Mapping[str, np.ndarray], points: Mapping[str, Protocol]) -> str:
    """Lay out what each point measured.

    Args:
        results: Accuracies and cosines of every seed, by quantity and label.
        points: Protocols by label.

    Returns:
        A Markdown table with 95 % intervals.
    """
    header = ("point", "student", "95 % interval", "spread between seeds", "teacher", "cosine with the teacher's way")
    rows = []
    for label in points:
        values = results[f"accuracy/{label}"]
        mean, low, high = mean_estimate(values)
        spread = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "–"
        cosine = np.mean(results[f"cosine/{label}"])
        way = f"{cosine:.3f}" if np.isfinite(cosine) else "–"
        teacher = np.mean(results[f"teacher/{label}"])
        rows.append((label, f"{mean:.3f}", f"{low:.3f} … {high:.3f}", spread, f"{teacher:.3f}", way))
    return markdown_table(header, rows)
