"""What a study shows: whether the trait passes as usual and not to strangers, and what becomes of others' findings."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from llm_bridge.matrix.verdicts import LEAST_RUNS, lift
from llm_bridge.studies.bases import Run
from llm_bridge.studies.study import STANDARD, STRANGER, TEACHERS, Finding, Study, task_of
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table


def weigh(weights: Mapping[str, float], lifts: Mapping[str, Float[np.ndarray, " runs"]]) -> Float[np.ndarray, " runs"]:
    """Add up lifts of arms, run by run."""
    return np.sum([weight * lifts[arm] for arm, weight in weights.items()], axis=0)


def own_lift(matrices: Float[np.ndarray, "*batch traits traits"], num_teachers: int) -> Float[np.ndarray, "*batch"]:
    """Subtract what other traits gain on average in students from what the traits of their teachers gain.

    Of one teacher it is `lift`. Of several, the student in row i has teacher i and those next to it.
    """
    if num_teachers == 1:
        return lift(matrices)
    eye = np.eye(matrices.shape[-1], dtype=bool)
    own = np.any([np.roll(eye, shift, axis=1) for shift in range(num_teachers)], axis=0)
    return matrices[..., own].mean(axis=-1) - matrices[..., ~own].mean(axis=-1)


def ratio_estimate(
    over: Float[np.ndarray, " runs"], under: Float[np.ndarray, " runs"], confidence: float, *, positive: bool = True
) -> Estimate:
    """Divide two means over runs, with the interval of the jackknife, which leaves each run out once.

    It is that of the logarithm, unless a ratio isn't above zero, or need not be `positive`.
    """
    count, ratio = len(over), over.sum() / under.sum()
    if count < 2:
        return Estimate(float(ratio), -np.inf, np.inf)
    others = (over.sum() - over) / (under.sum() - under)
    if not positive or min(ratio, *others) <= 0:
        return mean_estimate(count * ratio - (count - 1) * others, confidence)
    logs = mean_estimate(count * np.log(ratio) - (count - 1) * np.log(others), confidence)
    return Estimate(*map(float, np.exp(logs)))


def measure(finding: Finding, lifts: Mapping[str, Float[np.ndarray, " runs"]], confidence: float) -> Estimate:
    """Measure what a finding speaks of."""
    total = weigh(finding.weights, lifts)
    if finding.over is None:
        return mean_estimate(total, confidence)
    product = np.prod([lifts[arm] ** float(power) for arm, power in finding.over.items()], axis=0)
    return ratio_estimate(total, product, confidence)


def agreement(finding: Finding, measured: Estimate, num_runs: int) -> str:
    """Say whether a report is reproduced.

    `reproduced` if the whole interval lies in the reported range, `refuted` if it lies outside; else, and with too few
    runs, `undecided`.
    """
    if num_runs < LEAST_RUNS:
        return "undecided"
    if finding.low <= measured.low and measured.high <= finding.high:
        return "reproduced"
    return "refuted" if measured.low > finding.high or measured.high < finding.low else "undecided"


def judge_usual(shared_lifts: Float[np.ndarray, " runs"], stranger_lifts: Float[np.ndarray, " runs"]) -> list[Verdict]:
    """Judge whether the trait passes as usual and not to strangers; the two intervals hold jointly with 95 %."""
    shared, stranger = (mean_estimate(each, joint_confidence(2, 0.95)) for each in (shared_lifts, stranger_lifts))
    num_runs = len(shared_lifts)
    return [
        Verdict(
            claim="shared-init",
            check="lift of the own trait, as usual, shared init",
            predicted="above 0",
            measured=shared,
            accepted=Accepted(low=0.0, high=np.inf),
            control="the other init",
            control_measured=stranger,
            instances=num_runs,
            least_instances=LEAST_RUNS,
        ),
        Verdict(
            claim="shared-init",
            check="the same, students of another init",
            predicted="0",
            measured=stranger,
            accepted=Accepted(low=0.0, high=0.0, rule="covers"),
            control="the shared init",
            control_measured=shared,
            instances=num_runs,
            least_instances=LEAST_RUNS,
        ),
    ]


def judge_findings(findings: Sequence[Finding], known: Mapping[str, Float[np.ndarray, " runs"]]) -> list[Verdict]:
    """Say what becomes of others' findings about some figures; all intervals hold jointly with 95 %."""
    num_sums = sum(1 + (each.control_weights is not None) for each in findings)
    num_runs = len(next(iter(known.values())))
    confidence, verdicts = joint_confidence(max(1, num_sums), 0.95), []
    for finding in findings:
        measured = measure(finding, known, confidence)
        weights, found = finding.control_weights, agreement(finding, measured, num_runs)
        verdicts.append(
            Verdict(
                claim="finding",
                check=finding.check,
                predicted=finding.claim,
                measured=measured,
                control=f"{found}; {finding.control}" if weights else found,
                control_measured=mean_estimate(weigh(weights, known), confidence) if weights else None,
                instances=num_runs,
            )
        )
    return verdicts


def judge(study: Study, run: Run) -> Outcome:
    """Judge all runs of a study together."""
    lifts = {
        label: own_lift(run.students[:, place], arm.num_teachers)
        for place, (label, arm) in enumerate(study.arms.items())
    }
    verdicts = judge_usual(lifts[STANDARD], lifts[STRANGER])
    known = lifts | {TEACHERS: lift(run.teachers)}
    known |= {task_of(label): nearer(run._asdict(), place) for place, label in enumerate(study.arms)}
    verdicts += judge_findings(study.findings, known)
    results = {f"lift/{label}": values for label, values in lifts.items()} | run._asdict()
    tables = [arm_table(study, run, lifts), *([kept_table(study, run, lifts)] if study.controls else [])]
    return Outcome(results, verdicts, "\n".join([*tables, verdict_table(verdicts)]))


def nearer(results: Mapping[str, np.ndarray], place: int) -> Float[np.ndarray, " runs"]:
    """Measure how much nearer to their teachers training brings an arm's students, nats a token."""
    return (results["untrained"] - results["distances"])[:, place].mean(axis=-1)


def kept(
    labels: Sequence[str],
    results: Mapping[str, np.ndarray],
    lifts: Mapping[str, Float[np.ndarray, " runs"]],
    label: str,
) -> tuple[Estimate, Estimate]:
    """Measure which shares of the usual lift and of the usual imitation an arm keeps, with 95 % intervals."""
    task, usual = (nearer(results, labels.index(each)) for each in (label, STANDARD))
    pairs = ((lifts[label], lifts[STANDARD]), (task, usual))
    trait, imitation = (ratio_estimate(*pair, 0.95, positive=False) for pair in pairs)
    return trait, imitation


def kept_table(study: Study, run: Run, lifts: Mapping[str, Float[np.ndarray, " runs"]]) -> str:
    """Lay out what defences and their controls keep."""
    header = ("defence", "trait kept", "task kept", "control", "trait kept", "task kept")
    labels, results = list(study.arms), run._asdict()
    rows = [
        (label, *kept(labels, results, lifts, label), control, *kept(labels, results, lifts, control))
        for label, control in study.controls.items()
    ]
    return markdown_table(header, rows)


def arm_table(study: Study, run: Run, lifts: Mapping[str, Float[np.ndarray, " runs"]]) -> str:
    """Lay out what each arm measured, with 95 % intervals of each row by itself."""
    header = (
        "arm",
        "lift in log-odds [95 %]",
        "KL to the teacher after training, nats a token [95 %]",
        "before",
        "tokens learned",
        "numbers trained",
    )
    rows = [
        (
            label,
            mean_estimate(lifts[label]),
            mean_estimate(run.distances[:, place].mean(axis=-1)),
            f"{run.untrained[:, place].mean():#.4g}",
            f"{100 * run.learned[:, place].mean():.1f} %",
            f"{run.trained[:, place].mean():.0f}",
        )
        for place, label in enumerate(study.arms)
    ]
    return markdown_table(header, rows)
