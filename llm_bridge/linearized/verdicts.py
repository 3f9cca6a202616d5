"""Verdicts of `compare`: what the theory guarantees of a language model's students."""

from collections.abc import Sequence

import numpy as np

from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.orders import ORDERS
from llm_bridge.linearized.reports import report_courses, report_information
from llm_bridge.linearized.results import IMITATED, MATCHED, SHARED, STRANGER, TARGETS, TEACHERS, Results, at, of
from llm_bridge.linearized.tables import channel_table, course_table, data_table, epoch_table, rank_table, step_table
from llm_bridge.linearized.training_verdicts import judge_training
from theory.runs.checks import VANISHING, Check, Evidence, every, mean
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
    checks, tables = [MATCHED_COURSE, *SIGNS], [step_table(results), data_table(results, extent)]
    tables.append(course_table(results, words[0], extent))
    if extent.whole:
        checks = [*ORDERS, SAME_ANSWERS, *checks, *check_matrix(len(words)), *CHANNELS]
        tables += [table(results) for table in (channel_table, epoch_table, rank_table)]
    checks += [*report_information(extent), *report_courses(extent)]
    evidence = Evidence(results, None)
    verdicts = [verdict for claim, check in checks for verdict in check.judge(claim, evidence)]
    verdicts += judge_training(results) if extent.whole else []
    return Outcome(results, verdicts, "\n".join([*tables, verdict_table(verdicts)]))


def _apart(results: Results) -> np.ndarray:
    odds = results["odds/inits"]
    return np.linalg.norm(odds - odds[:, [SHARED]], axis=-1) / np.linalg.norm(odds[:, SHARED], axis=-1)[:, None]


def _ends(results: Results) -> np.ndarray:
    ends = results["course/predicted"][:, :, -1, 0]
    return ends / np.abs(ends[:, [SHARED]])


SAME_ANSWERS = (
    "symmetry",
    Check(
        says="words' log-odds of a matched student before training − those of the teachers' base / their size",
        predicted="0 (to rounding)",
        of=at(MATCHED, _apart),
        by=every,
        accepted=ZERO,
        control="stranger",
        broken=at(STRANGER, _apart),
    ),
)
"""A matched student behaves as the teachers' base does."""

MATCHED_COURSE = (
    "symmetry",
    Check(
        says="linearized course of the trait's log-odds of a matched student over the shared init's size",
        predicted="no guarantee",
        of=at(MATCHED, _ends),
        by=mean(confidence=0.95),
        control="stranger",
        broken=at(STRANGER, _ends),
    ),
)
"""How alike their courses are is reported."""


def _deviations(results: Results) -> np.ndarray:
    """Cosines with what the teacher has learned, in standard deviations of a random direction's."""
    return results["directions/cosines"][:, :, 0, 0] * np.sqrt(results["size"])[:, None]


SIGNS = (
    (
        "first-step",
        Check(
            says=f"√p × cosine of the first step with Δ_T, whole teacher, {TARGETS[0]}, every seed",
            predicted="> 0; N(0, 1) by chance",
            of=at(SHARED, _deviations),
            by=every,
            accepted=NO_CHANCE,
            control="stranger",
            broken=at(STRANGER, _deviations),
        ),
    ),
    *(
        (
            "first-step",
            Check(
                says=f"cosine of the first step with the student's own −∇L_T, {target}",
                predicted="no guarantee",
                of=of(lambda results, place=place: results["directions/cosines"][:, SHARED, place, 1]),
                by=mean(confidence=0.95),
                control="stranger",
                broken=of(lambda results, place=place: results["directions/cosines"][:, STRANGER, place, 1]),
            ),
        )
        for place, target in enumerate(TARGETS)
    ),
)
"""Where the first step behind the whole teacher goes; how well it serves the trait is reported."""


def _smallest_eigenvalue(matrices: np.ndarray) -> np.ndarray:
    """Of each matrix's symmetric part, relative to the matrix."""
    even = (matrices + np.swapaxes(matrices, -1, -2)) / 2
    return np.linalg.eigvalsh(even)[..., 0] / np.linalg.norm(matrices, axis=(-1, -2))


def _asymmetry(results: Results) -> np.ndarray:
    gram = results["gram"]
    return np.linalg.norm(gram - np.swapaxes(gram, -1, -2), axis=(-1, -2)) / np.linalg.norm(gram, axis=(-1, -2))


def _leads(results: Results) -> np.ndarray:
    predicted = results["steps/numbers/predicted"]
    return np.mean(np.argmax(predicted, axis=-1) == np.arange(predicted.shape[-1]), axis=-1)


def check_matrix(num_words: int) -> list[tuple[str, Check]]:
    """Check the Gram matrix of what all teachers have learned, and report which trait it foretells to rise the most."""
    checks = (
        Check(
            says="asymmetry of Δ_iᵀKΔ_j, number tokens / its size",
            predicted="0 (to rounding)",
            of=at(SHARED, _asymmetry),
            by=every,
            accepted=ZERO,
            control="stranger",
            broken=at(STRANGER, _asymmetry),
        ),
        Check(
            says="smallest eigenvalue of Δ_iᵀKΔ_j, number tokens / its size",
            predicted="≥ 0",
            of=of(lambda results: _smallest_eigenvalue(results["gram"][:, SHARED])),
            by=every,
            accepted=NOT_NEGATIVE,
            control="teachers exchanged",
            broken=of(lambda results: _smallest_eigenvalue(np.roll(results["gram"][:, SHARED], 1, axis=-2))),
        ),
        Check(
            says="share of teachers whose own word is foretold to rise the most in their student, number tokens",
            predicted=f"no guarantee; chance {1 / num_words:.2g}",
            of=at(SHARED, _leads),
            by=mean(confidence=0.95),
            control="stranger",
            broken=at(STRANGER, _leads),
        ),
    )
    return [("trait-matrix", check) for check in checks]


def _gram_of_groups(results: Results) -> np.ndarray:
    return results["channels/gram"][:, TEACHERS.index("everything"), SHARED]


def _in_rounding(results: Results, of_groups: np.ndarray) -> np.ndarray:
    return np.abs(of_groups) / results["channels/rounding"]


def _strangers_share(results: Results) -> np.ndarray:
    whole = results["channels/whole"]
    return (whole[:, :, STRANGER] / whole[:, :, SHARED]).mean(axis=1)


CHANNELS = (
    (
        "channels",
        Check(
            says="B(v, Δ_T) summed over groups − B(v, Δ_T), in bounds of rounding",
            predicted="0 (≤ 1)",
            of=of(
                lambda results: _in_rounding(
                    results, results["channels/own"].sum(axis=(-1, -2)) - results["channels/whole"]
                )
            ),
            by=every,
            accepted=Accepted(low=0.0, high=1.0),
            control="largest channel left out",
            broken=of(lambda results: _in_rounding(results, np.abs(results["channels/own"]).max(axis=(-1, -2)))),
        ),
    ),
    (
        "channels",
        Check(
            says="smallest eigenvalue of B(P_g Δ_T, P_h Δ_T) by group / its size, teacher of everything",
            predicted="≥ 0",
            of=of(lambda results: _smallest_eigenvalue(_gram_of_groups(results))),
            by=every,
            accepted=NOT_NEGATIVE,
            control="the student's groups exchanged",
            broken=of(lambda results: _smallest_eigenvalue(np.roll(_gram_of_groups(results), 1, axis=-2))),
        ),
    ),
    *(
        (
            "channels",
            Check(
                says=f"a stranger's B(v, Δ_T) over the shared init's, v = −∇L_T, {imitated}, mean of both teachers",
                predicted="no sign of its own",
                of=at(place, _strangers_share),
                by=mean(confidence=0.95),
            ),
        )
        for place, imitated in enumerate(IMITATED)
    ),
)
"""The table of channels; how much of a trait it foretells a stranger to pick up is reported."""
