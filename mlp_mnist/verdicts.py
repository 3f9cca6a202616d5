"""Tables and verdicts of the MNIST experiments."""

import numpy as np

from mlp_mnist.arms import Arm, Init, Measured
from mlp_mnist.protocol import LOGITS, Logits
from mlp_mnist.published import PUBLISHED
from mlp_mnist.tables import arm_table, init_table
from theory.runs.records import Outcome
from theory.runs.statistics import (
    Estimate,
    hull,
    joint_confidence,
    mean_estimate,
    range_estimate,
)
from theory.runs.verdicts import Accepted, Verdict, verdict_table

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

ROUNDED = 0.001
"""Published means are rounded to this."""

LEAST_REPLICATION_SEEDS = 10
"""With fewer seeds the standard error is itself so uncertain that ±3 would refuse a faithful replication too often."""

JOINT_CONFIDENCE = 0.99
"""Joint confidence of the intervals that one run compares."""

DEMO_ARMS = {
    "student (aux)": Arm("shared", "aux"),
    "student (all)": Arm("shared", "all"),
    "cross-model (aux)": Arm("stranger", "aux"),
    "cross-model (all)": Arm("stranger", "all"),
}
"""The demo's students, by the names that `PUBLISHED` uses."""

COMPARED_INITS: tuple[Init, ...] = ("shared", "permuted", "rescaled", "stranger")
"""Inits of the students that `compare-inits` compares."""

COMPARED_ARMS = [Arm(init, logits) for init in COMPARED_INITS for logits in LOGITS]
"""Its students."""


def arms(measured: Measured) -> dict[str, np.ndarray]:
    """Name the demo's six arms.

    Args:
        measured: All seeds, students `DEMO_ARMS`.

    Returns:
        Test accuracies, shape `(num_seeds,)`, by the names that `PUBLISHED` uses.
    """
    students = dict(zip(DEMO_ARMS, measured.students.T, strict=True))
    return {"reference": measured.reference, "teacher": measured.teacher} | students


def judge_demo(measured: Measured, *, published: bool) -> Outcome:
    """Judge the auxiliary-logit demo.

    Args:
        measured: All seeds, students `DEMO_ARMS`.
        published: Whether the published figures speak of the same images and protocol.

    Returns:
        The outcome: accuracies of every seed by arm, verdicts, tables.
    """
    accuracies = arms(measured)
    student, stranger = accuracies["student (aux)"], accuracies["cross-model (aux)"]
    num_seeds = len(student)
    confidence = joint_confidence(3, JOINT_CONFIDENCE)

    def gain(name: str, over: str = "reference") -> Estimate:
        return mean_estimate(accuracies[name] - accuracies[over], confidence)

    verdicts = [
        Verdict(
            claim="auxiliary-logits",
            check="accuracy gained from auxiliary logits on noise, student − reference",
            predicted="> 0",
            measured=gain("student (aux)"),
            accepted=ABOVE,
            control="another seed's init",
            control_measured=gain("cross-model (aux)"),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim="auxiliary-logits",
            check="accuracy of a stranger from auxiliary logits",
            predicted="0.1 (chance)",
            measured=mean_estimate(stranger, confidence),
            accepted=CHANCE,
            control="shared init",
            control_measured=mean_estimate(student, confidence),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim="all-logits",
            check="accuracy gained from all logits by a stranger, cross-model − reference",
            predicted="no guarantee",
            measured=gain("cross-model (all)"),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
    ]
    if published and num_seeds >= LEAST_REPLICATION_SEEDS:
        verdicts.append(judge_replication(accuracies))
    results = {f"accuracy/{name}": values for name, values in accuracies.items()}
    table = f"{arm_table(accuracies, published=published)}\n{verdict_table(verdicts)}"
    return Outcome(
        results | {f"cosine/{name}": cosines for name, cosines in zip(DEMO_ARMS, measured.cosines.T, strict=True)},
        verdicts,
        table,
    )


def judge_replication(accuracies: dict[str, np.ndarray]) -> Verdict:
    """Compare every arm's mean with the published script's, in standard errors of both.

    Args:
        accuracies: Test accuracies of each seed, by arm.

    Returns:
        The verdict on the largest deviation; the control holds the students to the strangers' figures.
    """

    def deviation(name: str, published: str) -> float:
        values, other = accuracies[name], PUBLISHED[published]
        own = np.var(values, ddof=1) / len(values)
        error = np.sqrt(own + (other.reach / 1.96) ** 2 + ROUNDED**2 / 12)
        return float((np.mean(values) - other.script) / error)

    def worst(pairs: dict[str, str]) -> Estimate:
        deviations = [deviation(name, published) for name, published in pairs.items()]
        return hull([Estimate(value, value, value) for value in deviations], predicted=0.0)

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


def judge_comparison(measured: Measured) -> Outcome:
    """Judge the comparison of inits.

    Args:
        measured: All seeds, students `COMPARED_ARMS`.

    Returns:
        The outcome: accuracies and cosines of every seed by init and logits, verdicts, tables.
    """
    accuracies, cosines = (
        dict(zip(COMPARED_ARMS, each.T, strict=True)) for each in (measured.students, measured.cosines)
    )
    confidence = joint_confidence(4, JOINT_CONFIDENCE)

    def accuracy(init: Init, logits: Logits) -> np.ndarray:
        return accuracies[Arm(init, logits)]

    def difference(init: Init) -> Estimate:
        pairs = [accuracy(init, logits) - accuracy("shared", logits) for logits in LOGITS]
        return range_estimate(np.concatenate(pairs))

    num_seeds = len(measured.teacher)
    verdicts = [
        Verdict(
            claim="symmetry",
            check="accuracy, permuted − shared, every seed, auxiliary and all logits",
            predicted="0 (rounding)",
            measured=difference("permuted"),
            accepted=ROUNDING,
            control="another seed's init",
            control_measured=difference("stranger"),
            instances=2 * num_seeds,
        ),
        Verdict(
            claim="symmetry",
            check="accuracy from auxiliary logits, rescaled − shared",
            predicted="no guarantee",
            measured=mean_estimate(accuracy("rescaled", "aux") - accuracy("shared", "aux"), confidence),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim="different-initialization",
            check="accuracy of a stranger from auxiliary logits",
            predicted="0.1 (chance)",
            measured=mean_estimate(accuracy("stranger", "aux"), confidence),
            accepted=CHANCE,
            control="shared init",
            control_measured=mean_estimate(accuracy("shared", "aux"), confidence),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
        Verdict(
            claim="alignment",
            check="cosine of the student's displacement with the teacher's, auxiliary logits",
            predicted="> 0.1",
            measured=mean_estimate(cosines[Arm("shared", "aux")], confidence),
            accepted=ALONG,
            control="another seed's init",
            control_measured=mean_estimate(cosines[Arm("stranger", "aux")], confidence),
            instances=num_seeds,
            least_instances=LEAST_SEEDS,
        ),
    ]
    results = {"accuracy/reference": measured.reference, "accuracy/teacher": measured.teacher}
    for arm in COMPARED_ARMS:
        results |= {f"accuracy/{arm}": accuracies[arm], f"cosine/{arm}": cosines[arm]}
    return Outcome(results, verdicts, f"{init_table(COMPARED_INITS, results)}\n{verdict_table(verdicts)}")
