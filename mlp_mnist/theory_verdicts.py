"""Verdicts on the linearized student: where its predictions hold, and where they don't."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlp_mnist.arms import PREDICTED_TIMES, SCALES, TIMES, YOUNG_TIMES, Results
from mlp_mnist.claims import adam, epochs, finite_step, noisy_steps, shared_heads
from mlp_mnist.tables import number_table
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS, Checks, judged
from theory.runs.checks import Check, Evidence, Select, every, mean
from theory.runs.records import Outcome
from theory.runs.statistics import fitted_order
from theory.runs.verdicts import Accepted, verdict_table

NEAR_ONE = Accepted(low=0.9, high=1.1)
"""A hundredth of the teacher's displacement leaves the linear range by some per cent."""

BEYOND_LINEAR = Accepted(low=1.0, high=np.inf)
"""The prediction is the linear order itself, so what is left of it must be of a higher one; of order 2 where all is
smooth, which a ReLU is not."""

YOUNG = slice(len(YOUNG_TIMES))
"""Places of the times at which students of young teachers are looked at."""

FITTED = slice(0, 3)
"""Scales of the teacher's displacement from which an order is fitted."""

YOUNG_PREDICTED = [PREDICTED_TIMES.index(time) for time in YOUNG_TIMES]
LAST_PREDICTED = PREDICTED_TIMES.index(TIMES[-1])


def _over_predicted(name: str) -> Select:
    """Transfer fraction over its prediction, behind the youngest teacher."""
    return lambda evidence: [
        evidence.cases[f"descent/{name}"][:, :, 0, YOUNG] / evidence.cases["descent/predicted"][..., YOUNG_PREDICTED]
    ]


def _error_order(name: str) -> Select:
    """Order in the teacher's distance from the init of a student's distance from its prediction."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        errors = np.swapaxes(evidence.cases[f"descent/{name}"][:, :, FITTED, YOUNG], 2, 3)
        return [1 + fitted_order(np.array(SCALES[FITTED]), errors)]

    return select


TIMES_IN_WORDS = " and ".join(map(str, YOUNG_TIMES))

YOUNG_CHECKS: Checks = (
    (
        "many-steps",
        Check(
            says=f"transfer fraction after {TIMES_IN_WORDS} steps of descent, teacher at θ⁰ + {SCALES[0]}Δ_T, over "
            "predicted, every seed and number",
            predicted="→ 1",
            of=_over_predicted("transfer"),
            by=every,
            accepted=NEAR_ONE,
            control="student from another seed's init",
            broken=_over_predicted("stranger-transfer"),
        ),
    ),
    (
        "many-steps",
        Check(
            says=f"order in s of ‖θ_S − θ⁰ − s[I − (I − ηK)ᵗ]Δ_T‖, t = {TIMES_IN_WORDS}, s = {SCALES[FITTED][0]} … "
            f"{SCALES[FITTED][-1]}, every seed and number",
            predicted="> 1 (2 if smooth)",
            of=_error_order("error"),
            by=every,
            accepted=BEYOND_LINEAR,
            control="student from another seed's init",
            broken=_error_order("stranger-error"),
        ),
    ),
)
"""Claim many-steps in its limit, for students of young teachers under gradient descent."""

TRAINED: dict[str, tuple[str, Any]] = {
    f"transfer fraction after {TIMES[-1]} steps of descent, trained teacher, over predicted": (
        "1 if linear",
        lambda of: of["descent/transfer"][..., -1, -1] / of["descent/predicted"][..., LAST_PREDICTED],
    ),
    f"the same prediction ({TIMES[-1]} steps) from half of the sampled images, over that from all": (
        "1 if enough",
        lambda of: of["descent/predicted-half"][..., LAST_PREDICTED] / of["descent/predicted"][..., LAST_PREDICTED],
    ),
    "the student's transfer fraction over the linearized student's, both by the protocol's optimizer": (
        "1 if linear",
        lambda of: of["student/transfer"][..., -1] / of["linearized/transfer"][..., -1],
    ),
    "accuracy, student − network at the linearized student's parameters": (
        "0 if linear in parameters",
        lambda of: of["student/accuracy"][..., -1] - of["linearized/accuracies"][..., 1],
    ),
    "accuracy, student − linearized network": (
        "0 if linear in outputs",
        lambda of: of["student/accuracy"][..., -1] - of["linearized/accuracies"][..., 0],
    ),
    "share of epochs' starts at which a gradient step of imitation lowers the trait's loss": (
        "no guarantee",
        lambda of: (of["student/fall"][..., :-1] > 0).mean(axis=-1),
    ),
}
"""How the linear predictions fare with the trained teacher, where nothing is guaranteed: what is expected, and how it
is measured for each seed and number."""

TRAINED_CHECKS: Checks = tuple(
    (
        "linearization",
        Check(
            says=f"{says}, mean over numbers",
            predicted=expected,
            of=lambda evidence, measure=measure: [measure(evidence.cases).mean(axis=1)],
            by=mean(len(TRAINED), JOINT_CONFIDENCE),
            least=LEAST_SEEDS,
        ),
    )
    for says, (expected, measure) in TRAINED.items()
)
"""All of them are reports."""


CLAIMS = (finite_step, epochs, adam, noisy_steps, shared_heads)
"""Where other claims are held against students."""


def judge_linearization(results: Results, numbers: Sequence[int]) -> Outcome:
    """Judge predictions against students, for several numbers of auxiliary logits."""
    others = (check for claim in CLAIMS for check in claim.checks(numbers))
    verdicts = judged(results, (*YOUNG_CHECKS, *TRAINED_CHECKS, *others))
    return Outcome(results, verdicts, f"{number_table(results, numbers)}\n{verdict_table(verdicts)}")
