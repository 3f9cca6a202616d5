"""Verdicts of `compare`: what the theory guarantees of a language model's students, and how far it reaches beyond."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.orders import ORDERS
from llm_bridge.linearized.results import (
    IMITATED,
    MATCHED,
    SHARED,
    STRANGER,
    TARGETS,
    TEACHERS,
    Results,
    check,
    check_init,
    stated,
)
from llm_bridge.linearized.tables import channel_table, course_table, data_table, epoch_table, rank_table, step_table
from llm_bridge.linearized.training_verdicts import judge_training, leads
from theory.runs.checks import VANISHING, Check, Evidence, every
from theory.runs.records import Outcome
from theory.runs.verdicts import Accepted, verdict_table

ZERO = Accepted(low=0.0, high=VANISHING)
"""A size that is rounding."""

NOT_NEGATIVE = Accepted(low=-VANISHING, high=1.0)
"""An eigenvalue, relative to its matrix, of a positive semi-definite one."""

NO_CHANCE = Accepted(low=4.0, high=np.inf)
"""A random direction comes as close once in thirty thousand times."""


def judge_compare(results: Results, words: Sequence[str], extent: Extent) -> Outcome:
    """Judge the theory by the students of several base models.

    Args:
        results: Measurements.
        words: What teachers love.
        extent: How much was measured.

    Returns:
        The outcome: measurements of every seed, verdicts, tables.
    """
    tables = [step_table(results), data_table(results, extent), course_table(results, words[0], extent)]
    groups: list[tuple[str, Sequence[Check]]] = [("symmetry", MATCHED_COURSE), ("first-step", SIGNS)]
    if extent.whole:
        exact, forms = [*ORDERS.items(), ("symmetry", SAME_ANSWERS)], [("trait-matrix", check_matrix(len(words)))]
        groups = [*exact, *groups, *forms, ("channels", CHANNELS)]
        tables += [table(results) for table in (channel_table, epoch_table, rank_table)]
    groups += [*report_information(extent).items(), ("many-steps", report_courses(extent))]
    evidence = Evidence(results, None)
    verdicts = [verdict for claim, checks in groups for check in checks for verdict in check.judge(claim, evidence)]
    verdicts += judge_training(results) if extent.whole else []
    return Outcome(results, verdicts, "\n".join([*tables, verdict_table(verdicts)]))


def _apart(results: Results, init: int) -> np.ndarray:
    odds = results["odds/inits"]
    return np.linalg.norm(odds[:, init] - odds[:, SHARED], axis=-1) / np.linalg.norm(odds[:, SHARED], axis=-1)


def _end(results: Results, init: int) -> np.ndarray:
    ends = results["course/predicted"][:, :, -1, 0]
    return ends[:, init] / np.abs(ends[:, SHARED])


SAME_ANSWERS = stated({
    "words' log-odds of a matched student before training − those of the teachers' base / their size": check_init(
        "0 (to rounding)", _apart, every, ZERO, init=MATCHED
    )
})
"""A matched student behaves as the teachers' base does."""

MATCHED_COURSE = stated({
    "linearized course of the trait's log-odds of a matched student over the shared init's size": check_init(
        "no guarantee", _end, init=MATCHED
    )
})
"""How alike their courses are is reported."""


def _deviations(results: Results, init: int) -> np.ndarray:
    """Cosines with what the teacher has learned, in standard deviations of a random direction's."""
    return results["directions/cosines"][:, init, 0, 0] * np.sqrt(results["size"])


SIGNS = stated({
    f"√p × cosine of the first step with Δ_T, whole teacher, {TARGETS[0]}, every seed": check_init(
        "> 0; N(0, 1) by chance", _deviations, every, NO_CHANCE
    ),
    **{
        f"cosine of the first step with the student's own −∇L_T, {target}": check_init(
            "no guarantee", lambda results, init, place=place: results["directions/cosines"][:, init, place, 1]
        )
        for place, target in enumerate(TARGETS)
    },
})
"""Where the first step behind the whole teacher goes; how well it serves the trait is reported."""


def _smallest_eigenvalue(matrices: np.ndarray) -> np.ndarray:
    """Of each matrix's symmetric part, relative to the matrix."""
    even = (matrices + np.swapaxes(matrices, -1, -2)) / 2
    return np.linalg.eigvalsh(even)[..., 0] / np.linalg.norm(matrices, axis=(-1, -2))


def _asymmetry(results: Results, init: int) -> np.ndarray:
    gram = results["gram"][:, init]
    return np.linalg.norm(gram - np.swapaxes(gram, -1, -2), axis=(-1, -2)) / np.linalg.norm(gram, axis=(-1, -2))


def check_matrix(num_words: int) -> tuple[Check, ...]:
    """Check the Gram matrix of what all teachers have learned, and report which trait it foretells to rise the most."""
    return stated({
        "asymmetry of Δ_iᵀKΔ_j, number tokens / its size": check_init("0 (to rounding)", _asymmetry, every, ZERO),
        "smallest eigenvalue of Δ_iᵀKΔ_j, number tokens / its size": check(
            "≥ 0",
            lambda results: _smallest_eigenvalue(results["gram"][:, SHARED]),
            every,
            NOT_NEGATIVE,
            control="teachers exchanged",
            broken=lambda results: _smallest_eigenvalue(np.roll(results["gram"][:, SHARED], 1, axis=-2)),
        ),
        "share of teachers whose own word is foretold to rise the most in their student, number tokens": check_init(
            f"no guarantee; chance {1 / num_words:.2g}",
            lambda results, init: leads(results["steps/numbers/predicted"][:, init]),
        ),
    })


def _gram_of_groups(results: Results) -> np.ndarray:
    return results["channels/gram"][:, TEACHERS.index("everything"), SHARED]


def _in_rounding(results: Results, of_groups: np.ndarray) -> np.ndarray:
    return np.abs(of_groups) / results["channels/rounding"]


def _strangers_share(results: Results, place: int) -> np.ndarray:
    whole = results["channels/whole"][..., place]
    return (whole[:, :, STRANGER] / whole[:, :, SHARED]).mean(axis=1)


CHANNELS = stated({
    "B(v, Δ_T) summed over groups − B(v, Δ_T), in bounds of rounding": check(
        "0 (≤ 1)",
        lambda results: _in_rounding(results, results["channels/own"].sum(axis=(-1, -2)) - results["channels/whole"]),
        every,
        Accepted(low=0.0, high=1.0),
        control="largest channel left out",
        broken=lambda results: _in_rounding(results, np.abs(results["channels/own"]).max(axis=(-1, -2))),
    ),
    "smallest eigenvalue of B(P_g Δ_T, P_h Δ_T) by group / its size, teacher of everything": check(
        "≥ 0",
        lambda results: _smallest_eigenvalue(_gram_of_groups(results)),
        every,
        NOT_NEGATIVE,
        control="the student's groups exchanged",
        broken=lambda results: _smallest_eigenvalue(np.roll(_gram_of_groups(results), 1, axis=-2)),
    ),
    **{
        f"a stranger's B(v, Δ_T) over the shared init's, v = −∇L_T, {imitated}, mean of both teachers": check(
            "no sign of its own", partial(_strangers_share, place=place)
        )
        for place, imitated in enumerate(IMITATED)
    },
})
"""The table of channels; how much of a trait it foretells a stranger to pick up is reported."""


def report_information(extent: Extent) -> dict[str, tuple[Check, ...]]:
    """The teachers' divergence at its full size, and how far sampled tokens carry it."""

    def over_quadratic(results: Results, place: int) -> np.ndarray:
        return results["divergence/nats"][:, place, 0] / (results["divergence/curvature"][:, place] / 2)

    def beyond_signal(results: Results, init: int) -> np.ndarray:
        noise = np.sqrt(results["divergence/curvature"][:, 0] / extent.num_places)
        found = results["directions/added"][:, init, TARGETS.index("sampled tokens"), 0] / noise
        return found - np.sqrt(2 * extent.num_places * results["divergence/nats"][:, 0, 0])

    quadratic = stated({
        f"KL of the whole teacher of {teacher} over A/2": check("1 if quadratic", partial(over_quadratic, place=place))
        for place, teacher in enumerate(TEACHERS if extent.whole else TEACHERS[:1])
    })
    sampled = stated({
        f"alignment by {extent.num_places} sampled tokens in σ = √(A/N), less √(2N·KL)": check_init(
            "0 ± 1 a seed", beyond_signal
        )
    })
    return {"divergence": quadratic, "sampled-tokens": sampled}


def report_courses(extent: Extent) -> tuple[Check, ...]:
    """How far the first order and the linearized student reach along a descent."""

    def ratio(results: Results, prediction: str, place: int) -> np.ndarray:
        measured = results["course/raw"] - results["course/idle"]
        return (measured / results[f"course/{prediction}"])[:, SHARED, place, 0]

    compared = {f"the linearized student's, t = {time}": ("predicted", at) for at, time in enumerate(extent.times)}
    compared[f"tα∇o·b, t = {extent.times[-1]}"] = ("first order", -1)
    return stated({
        f"rise of the trait's log-odds by t steps over {expected}, shared init": check(
            "1 if linear", partial(ratio, prediction=prediction, place=place)
        )
        for expected, (prediction, place) in compared.items()
    })
