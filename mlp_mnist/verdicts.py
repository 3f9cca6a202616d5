"""Verdicts on the six arms, on the kinds of inits and on speed, from the numbers alone as they are recorded."""

from collections.abc import Iterable, Sequence

import numpy as np

from mlp_mnist.arms import COMPARED_INITS, DEMO_ARMS, OTHER, PUBLISHED, Results
from mlp_mnist.protocol import LOGITS
from mlp_mnist.tables import arm_table, init_table, process_table, time_table
from theory.runs.checks import Check, Evidence, Select, every, mean
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, hull, range_estimate
from theory.runs.verdicts import Accepted, Verdict, verdict_table

Checks = Iterable[tuple[str, Check]]
"""Checks, each with the claim that it belongs to."""

CHANCE = Accepted(low=0.1, high=0.1, rule="covers")
"""The interval reaches one in ten: the mean over inits of any classifier whose class head knows nothing."""

ABOVE = Accepted(low=np.finfo(float).tiny, high=np.inf)
"""The whole interval of a difference of accuracies is above zero."""

ALONG = Accepted(low=0.1, high=np.inf)
"""At least a tenth of the student's way is the teacher's; a stranger's share is some hundredths at most."""

ROUNDING = Accepted(low=-0.02, high=0.02)
"""Training spreads rounding errors of float32 over a few test images; the transfer is twenty times this."""

LEAST_SEEDS = 6
"""With fewer seeds the intervals are too wide to decide anything."""

LEAST_REPLICATION_SEEDS = 10
"""With fewer seeds the standard error is itself so uncertain that ±3 would refuse a faithful replication too often."""

LEAST_PRECISION_SEEDS = 20
"""With fewer seeds the precisions' difference is too uncertain to decide anything."""

PUBLISHED_ROUNDING = 0.001
"""Published means are rounded to this."""

JOINT_CONFIDENCE = 0.99
"""Joint confidence of the intervals that one run compares."""


def judged(results: Results, checks: Checks) -> list[Verdict]:
    """Judge the numbers of a run."""
    evidence = Evidence(results, None)
    return [verdict for claim, check in checks for verdict in check.judge(claim, evidence)]


def value(name: str, minus: str | None = None) -> Select:
    """Take a number of every seed, or its difference to another of the same seed."""
    return lambda evidence: [evidence.cases[name] - (0 if minus is None else evidence.cases[minus])]


def at_chance(says: str, stranger: str, control: str, sharing: str, joint: int) -> Check:
    """Check that a student of auxiliary logits knows nothing, where another one, named by its accuracy, does."""
    return Check(
        says=says,
        predicted="0.1 (chance)",
        of=value(f"accuracy/{stranger}"),
        by=mean(joint, JOINT_CONFIDENCE),
        accepted=CHANCE,
        control=control,
        broken=value(f"accuracy/{sharing}"),
        least=LEAST_SEEDS,
    )


STRANGER_SAYS = "accuracy of a stranger from auxiliary logits"

DEMO_CHECKS: Checks = (
    (
        "auxiliary-logits",
        Check(
            says="accuracy gained from auxiliary logits on noise, student − reference",
            predicted="> 0",
            of=value("accuracy/student (aux)", minus="accuracy/reference"),
            by=mean(3, JOINT_CONFIDENCE),
            accepted=ABOVE,
            control="another seed's init",
            broken=value("accuracy/cross-model (aux)", minus="accuracy/reference"),
            least=LEAST_SEEDS,
        ),
    ),
    ("auxiliary-logits", at_chance(STRANGER_SAYS, "cross-model (aux)", "shared init", "student (aux)", joint=3)),
    (
        "all-logits",
        Check(
            says="accuracy gained from all logits by a stranger, cross-model − reference",
            predicted="no guarantee",
            of=value("accuracy/cross-model (all)", minus="accuracy/reference"),
            by=mean(3, JOINT_CONFIDENCE),
            least=LEAST_SEEDS,
        ),
    ),
)
"""The paper's figure 10."""


def judge_demo(results: Results, *, published: bool) -> Outcome:
    """Judge the six arms; `published` says whether the published figures speak of the same images and protocol."""
    accuracies = {name: results[f"accuracy/{name}"] for name in ("reference", "teacher", *DEMO_ARMS)}
    verdicts = judged(results, DEMO_CHECKS)
    if published and len(accuracies["teacher"]) >= LEAST_REPLICATION_SEEDS:
        verdicts.append(judge_replication(accuracies))
    return Outcome(results, verdicts, f"{arm_table(accuracies, published=published)}\n{verdict_table(verdicts)}")


def judge_replication(accuracies: Results) -> Verdict:
    """Compare every arm's mean with the published script's; the control holds students to the strangers' figures."""

    def deviation(name: str, published: str) -> float:
        values, other = accuracies[name], PUBLISHED[published]
        own = np.var(values, ddof=1) / len(values)
        error = np.sqrt(own + (other.reach / 1.96) ** 2 + PUBLISHED_ROUNDING**2 / 12)
        return float((np.mean(values) - other.script) / error)

    def worst(pairs: dict[str, str]) -> Estimate:
        deviations = [deviation(name, published) for name, published in pairs.items()]
        return hull([Estimate(size, size, size) for size in deviations], predicted=0.0)

    return Verdict(
        claim="replication",
        check="arm farthest from the published script's mean, in standard errors of both",
        predicted="within ±3",
        measured=worst({name: name for name in PUBLISHED}),
        accepted=Accepted(low=-3.0, high=3.0),
        control="student (aux) held to cross-model (aux)",
        control_measured=worst({"student (aux)": "cross-model (aux)"}),
        instances=len(accuracies["teacher"]),
    )


def _beyond_shared(init: str) -> Select:
    """How much more accurate students of an init are than of the shared one, by auxiliary and by all logits."""
    return lambda evidence: [
        difference
        for logits in LOGITS
        for difference in value(f"accuracy/{init} ({logits})", minus=f"accuracy/shared ({logits})")(evidence)
    ]


COMPARISON_CHECKS: Checks = (
    (
        "symmetry",
        Check(
            says="accuracy, permuted − shared, every seed, auxiliary and all logits",
            predicted="0 (rounding)",
            of=_beyond_shared("permuted"),
            by=every,
            accepted=ROUNDING,
            control="another seed's init",
            broken=_beyond_shared("stranger"),
        ),
    ),
    (
        "symmetry",
        Check(
            says="accuracy from auxiliary logits, rescaled − shared",
            predicted="no guarantee",
            of=value("accuracy/rescaled (aux)", minus="accuracy/shared (aux)"),
            by=mean(4, JOINT_CONFIDENCE),
            least=LEAST_SEEDS,
        ),
    ),
    ("different-initialization", at_chance(STRANGER_SAYS, "stranger (aux)", "shared init", "shared (aux)", joint=4)),
    (
        "alignment",
        Check(
            says="cosine of the student's displacement with the teacher's, auxiliary logits",
            predicted="> 0.1",
            of=value("cosine/shared (aux)"),
            by=mean(4, JOINT_CONFIDENCE),
            accepted=ALONG,
            control="another seed's init",
            broken=value("cosine/stranger (aux)"),
            least=LEAST_SEEDS,
        ),
    ),
)
"""Students of four inits."""


def judge_comparison(results: Results) -> Outcome:
    """Judge the comparison of inits."""
    verdicts = judged(results, COMPARISON_CHECKS)
    return Outcome(results, verdicts, f"{init_table(COMPARED_INITS, results)}\n{verdict_table(verdicts)}")


PRECISION_CHECK = Check(
    says="accuracy of student (aux), bf16 − float32, mean over the same seeds",
    predicted="0 (rounding)",
    of=value("accuracy/bf16/student (aux)", minus="accuracy/float32/student (aux)"),
    by=mean(confidence=JOINT_CONFIDENCE),
    accepted=ROUNDING,
    control="another seed's init",
    broken=value("accuracy/bf16/cross-model (aux)", minus="accuracy/float32/student (aux)"),
    least=LEAST_PRECISION_SEEDS,
)
"""Float32 and bf16 learn the same."""


def judge_speed(results: Results, num_seeds: Sequence[int], precisions: Sequence[str]) -> Outcome:
    """Report speeds at the last number of seeds, and judge whether float32 and bf16 learn the same."""
    verdicts, tables = [], [time_table(results, num_seeds, precisions)]
    for name in precisions:
        shares, seconds = results[f"share/{name}"][:, -1], results[f"seconds/{name}"][:, -1] / num_seeds[-1]
        for check, values in (("share of peak", shares), ("seconds a seed", seconds)):
            verdict = Verdict(
                claim="benchmark",
                check=f"{check}, {name}, {num_seeds[-1]} seeds",
                predicted="no guarantee",
                measured=range_estimate(values),
            )
            verdicts.append(verdict)
    verdicts += judged(results, [("benchmark", PRECISION_CHECK)] if len(precisions) > 1 else [])
    if "process seeds" in results:
        verdicts += compare_speed(results, num_seeds[-1], precisions)
        tables.append(process_table(results, precisions, int(results["process seeds"])))
    return Outcome(results, verdicts, "\n".join([*tables, verdict_table(verdicts)]))


def compare_speed(results: Results, last: int, precisions: Sequence[str]) -> list[Verdict]:
    """Report how many times as fast a seed is as in the other script: whole processes, and ours without its start."""
    seeds, verdicts = int(results["process seeds"]), []
    other = results[f"process seconds/{OTHER}"] / seeds
    for name in precisions:
        process, alone = results[f"process seconds/{name}"] / seeds, results[f"seconds/{name}"][:, -1] / last
        kinds = {f"whole processes of {seeds} seeds": process, f"ours compiled before, {last} seeds": alone}
        verdicts += [
            Verdict(
                claim="benchmark",
                check=f"{name}, times as fast a seed as the {OTHER}, {kind}",
                predicted="no guarantee",
                measured=range_estimate(other / seconds),
            )
            for kind, seconds in kinds.items()
        ]
    return verdicts
