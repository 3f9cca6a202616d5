"""Verdicts and tables on the linearized student: where its predictions hold, and where they don't."""

from collections.abc import Mapping, Sequence

import numpy as np

from mlp_mnist.linearization.students import PREDICTED_TIMES, SCALES, TIMES, YOUNG_TIMES
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, fitted_order, joint_confidence, mean_estimate, range_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

Results = Mapping[str, np.ndarray]
"""Measurements by name, with leading axes `(seeds, numbers)`."""

NEAR_ONE = Accepted(low=0.9, high=1.1)
"""A hundredth of the teacher's displacement leaves the linear range by some per cent."""

BEYOND_LINEAR = Accepted(low=1.0, high=np.inf)
"""The prediction is the linear order itself, so what is left of it must be of a higher one; of order 2 where all is
smooth, which a ReLU is not."""

FITTED = slice(0, 3)
"""Scales of the teacher's displacement from which an order is fitted."""


def judge_linearization(results: Results, numbers: Sequence[int]) -> Outcome:
    """Judge predictions against students.

    Args:
        results: The measurements.
        numbers: Numbers of auxiliary logits.

    Returns:
        The outcome: measurements of every seed, verdicts, tables.
    """
    verdicts = [*judge_young(results), *report_trained(results)]
    return Outcome(results, verdicts, f"{number_table(results, numbers)}\n{verdict_table(verdicts)}")


def judge_young(results: Results) -> list[Verdict]:
    """Judge claim 10 in its limit, for students of young teachers under gradient descent.

    Args:
        results: The measurements.

    Returns:
        The verdicts: the transfer fraction at the youngest teacher, and the order of the distance from the prediction.
    """
    places = [PREDICTED_TIMES.index(time) for time in YOUNG_TIMES]
    predicted = results["descent/predicted"][..., places]
    num_seeds = len(predicted)

    def ratio(name: str) -> Estimate:
        return range_estimate(results[f"descent/{name}"][:, :, 0, : len(YOUNG_TIMES)] / predicted)

    def order(name: str) -> Estimate:
        errors = np.swapaxes(results[f"descent/{name}"][:, :, FITTED, : len(YOUNG_TIMES)], 2, 3)
        return range_estimate(1 + fitted_order(np.array(SCALES[FITTED]), errors))

    times = " and ".join(map(str, YOUNG_TIMES))
    return [
        Verdict(
            claim="many-steps",
            check=f"transfer fraction after {times} steps of descent, teacher at θ⁰ + {SCALES[0]}Δ_T, over predicted, "
            "every seed and number",
            predicted="→ 1",
            measured=ratio("transfer"),
            accepted=NEAR_ONE,
            control="student from another seed's init",
            control_measured=ratio("stranger-transfer"),
            instances=num_seeds,
        ),
        Verdict(
            claim="many-steps",
            check=f"order in s of ‖θ_S − θ⁰ − s[I − (I − ηK)ᵗ]Δ_T‖, t = {times}, s = "
            f"{SCALES[FITTED][0]} … {SCALES[FITTED][-1]}, every seed and number",
            predicted="> 1 (2 if smooth)",
            measured=order("error"),
            accepted=BEYOND_LINEAR,
            control="student from another seed's init",
            control_measured=order("stranger-error"),
            instances=num_seeds,
        ),
    ]


def report_trained(results: Results) -> list[Verdict]:
    """Report how the linear predictions fare with the trained teacher, where nothing is guaranteed.

    Args:
        results: The measurements.

    Returns:
        The verdicts, all of them reports.
    """
    place, half = PREDICTED_TIMES.index(TIMES[-1]), results["descent/predicted-half"]
    descent = results["descent/predicted"]
    student, linearized = results["student/transfer"][..., -1], results["linearized/transfer"][..., -1]
    accuracy, predicted = results["student/accuracy"][..., -1], results["linearized/accuracies"]
    falls = results["student/fall"][..., :-1] > 0
    confidence = joint_confidence(6, JOINT_CONFIDENCE)
    checks = {
        f"transfer fraction after {TIMES[-1]} steps of descent, trained teacher, over predicted": (
            "1 if linear",
            results["descent/transfer"][..., -1, -1] / descent[..., place],
        ),
        f"the same prediction ({TIMES[-1]} steps) from half of the sampled images, over that from all": (
            "1 if enough",
            half[..., place] / descent[..., place],
        ),
        "the student's transfer fraction over the linearized student's, both by the protocol's optimizer": (
            "1 if linear",
            student / linearized,
        ),
        "accuracy, student − network at the linearized student's parameters": (
            "0 if linear in parameters",
            accuracy - predicted[..., 1],
        ),
        "accuracy, student − linearized network": ("0 if linear in outputs", accuracy - predicted[..., 0]),
        "share of epochs' starts at which a gradient step of imitation lowers the trait's loss": (
            "no guarantee",
            falls.mean(axis=-1),
        ),
    }
    return [
        Verdict(
            claim="linearization",
            check=f"{check}, mean over numbers",
            predicted=expected,
            measured=mean_estimate(values.mean(axis=1), confidence),
            instances=len(values),
            least_instances=LEAST_SEEDS,
        )
        for check, (expected, values) in checks.items()
    ]


def number_table(results: Results, numbers: Sequence[int]) -> str:
    """Lay out predictions and students by number of auxiliary logits.

    Args:
        results: The measurements.
        numbers: Numbers of auxiliary logits.

    Returns:
        A Markdown table of means over seeds, with 95 % intervals where students are real.
    """
    place = PREDICTED_TIMES.index(TIMES[-1])
    columns = {
        f"descent, {TIMES[-1]} steps: share predicted": results["descent/predicted"][..., place],
        "share": results["descent/transfer"][..., -1, -1],
        "protocol: share predicted": results["linearized/transfer"][..., -1],
        "share ": results["student/transfer"][..., -1],
        "cosine predicted": results["linearized/cosine"][..., -1],
        "cosine": results["student/cosine"][..., -1],
        "accuracy predicted, linearized network": results["linearized/accuracies"][..., 0],
        "network there": results["linearized/accuracies"][..., 1],
        "accuracy": results["student/accuracy"][..., -1],
    }

    def cell(name: str, values: np.ndarray) -> str:
        mean, _, high = mean_estimate(values)
        real = name.strip() in {"share", "cosine", "accuracy"} and np.isfinite(high)
        return f"{mean:.3f} ± {high - mean:.3f}" if real else f"{mean:.3f}"

    rows = [
        [number, *(cell(name, values[:, index]) for name, values in columns.items())]
        for index, number in enumerate(numbers)
    ]
    return markdown_table(["auxiliary logits", *columns], rows)
