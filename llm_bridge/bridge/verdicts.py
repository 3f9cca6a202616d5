"""Verdicts on the bridge: what the theory guarantees of a language model's students."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from llm_bridge.bridge.measurement import IMITATED, MATCHED, SHARED, STRANGER, TARGETS, TEACHERS
from llm_bridge.bridge.orders import judge_orders
from llm_bridge.bridge.reports import report_courses, report_information
from llm_bridge.bridge.roles import Extent
from llm_bridge.bridge.tables import channel_table, course_table, data_table, epoch_table, rank_table, step_table
from llm_bridge.bridge.training_verdicts import judge_training
from theory.runs.checks import VANISHING
from theory.runs.records import Outcome
from theory.runs.statistics import mean_estimate, range_estimate
from theory.runs.verdicts import Accepted, Verdict, verdict_table

Results = Mapping[str, np.ndarray]
"""Measurements by name, with a leading axis of seeds."""

NO_CHANCE = Accepted(low=4.0, high=np.inf)
"""A random direction comes as close once in thirty thousand times."""


def judge_bridge(results: Results, words: Sequence[str], extent: Extent) -> Outcome:
    """Judge the theory by the students of several base models.

    Args:
        results: Measurements.
        words: What teachers love.
        extent: How much was measured.

    Returns:
        The outcome: measurements of every seed, verdicts, tables.
    """
    verdicts = [
        *judge_orders(results),
        *judge_matched(results),
        *judge_signs(results),
        *judge_matrix(results),
        *judge_channels(results),
        *report_information(results, extent),
        *report_courses(results, extent),
        *judge_training(results),
    ]
    tables = [step_table(results), data_table(results, extent), course_table(results, words[0], extent)]
    tables += [table(results) for table in (channel_table, epoch_table, rank_table)]
    return Outcome(results, verdicts, "\n".join([*tables, verdict_table(verdicts)]))


def judge_matched(results: Results) -> list[Verdict]:
    """Judge that a matched student behaves as the teachers' base does, and report how alike their first steps are.

    Args:
        results: Measurements.

    Returns:
        The verdicts.
    """
    inits = results["odds/inits"]
    apart = np.linalg.norm(inits - inits[:, [SHARED]], axis=-1) / np.linalg.norm(inits[:, SHARED], axis=-1)[:, None]
    changes = results["course/predicted"][:, :, -1, 0] / np.abs(results["course/predicted"][:, SHARED, -1, 0])[:, None]
    verdict = partial(Verdict, claim="symmetry", control="stranger", instances=len(inits))
    return [
        verdict(
            check="words' log-odds of a matched student before training − those of the teachers' base / their size",
            predicted="0 (to rounding)",
            measured=range_estimate(apart[:, MATCHED]),
            accepted=Accepted(low=0.0, high=VANISHING),
            control_measured=range_estimate(apart[:, STRANGER]),
        ),
        verdict(
            check="linearized course of the trait's log-odds of a matched student over the shared init's size",
            predicted="no guarantee",
            measured=mean_estimate(changes[:, MATCHED]),
            control_measured=mean_estimate(changes[:, STRANGER]),
        ),
    ]


def judge_signs(results: Results) -> list[Verdict]:
    """Judge where the first step behind the whole teacher goes, and report how well it serves the trait.

    Args:
        results: Measurements.

    Returns:
        The verdicts.
    """
    cosines = results["directions/cosines"]
    along = cosines[:, :, 0, 0] * np.sqrt(results["size"])[:, None]
    verdict = partial(Verdict, claim="first-step", control="stranger", instances=len(cosines))
    return [
        verdict(
            check=f"√p × cosine of the first step with Δ_T, whole teacher, {TARGETS[0]}, every seed",
            predicted="> 0; N(0, 1) by chance",
            measured=range_estimate(along[:, SHARED]),
            accepted=NO_CHANCE,
            control_measured=range_estimate(along[:, STRANGER]),
        )
    ] + [
        verdict(
            check=f"cosine of the first step with the student's own −∇L_T, {target}",
            predicted="no guarantee",
            measured=mean_estimate(cosines[:, SHARED, place, 1]),
            control_measured=mean_estimate(cosines[:, STRANGER, place, 1]),
        )
        for place, target in enumerate(TARGETS)
    ]


def smallest_eigenvalue(matrices: np.ndarray) -> np.ndarray:
    """Compute the smallest eigenvalue of each matrix's symmetric part, relative to the matrix.

    Args:
        matrices: Shape `(…, size, size)`.

    Returns:
        Shape `(…)`.
    """
    even = (matrices + np.swapaxes(matrices, -1, -2)) / 2
    return np.linalg.eigvalsh(even)[..., 0] / np.linalg.norm(matrices, axis=(-1, -2))


def judge_matrix(results: Results) -> list[Verdict]:
    """Judge the Gram matrix of what all teachers have learned, and report which trait it foretells to rise the most.

    Args:
        results: Measurements.

    Returns:
        The verdicts.
    """
    gram = results["gram"]
    size, turned = np.linalg.norm(gram, axis=(-1, -2)), np.swapaxes(gram, -1, -2)
    uneven = np.linalg.norm(gram - turned, axis=(-1, -2)) / size
    exchanged = np.roll(gram[:, SHARED], 1, axis=-2)
    predicted = results["steps/numbers/predicted"]
    leads = np.mean(np.argmax(predicted, axis=-1) == np.arange(len(gram[0, 0])), axis=-1)
    verdict = partial(Verdict, claim="trait-matrix", instances=len(gram))
    return [
        verdict(
            check="asymmetry of Δ_iᵀKΔ_j, number tokens / its size",
            predicted="0 (to rounding)",
            measured=range_estimate(uneven[:, SHARED]),
            accepted=Accepted(low=0.0, high=VANISHING),
            control="stranger",
            control_measured=range_estimate(uneven[:, STRANGER]),
        ),
        verdict(
            check="smallest eigenvalue of Δ_iᵀKΔ_j, number tokens / its size",
            predicted="≥ 0",
            measured=range_estimate(smallest_eigenvalue(gram[:, SHARED])),
            accepted=Accepted(low=-VANISHING, high=1.0),
            control="teachers exchanged",
            control_measured=range_estimate(smallest_eigenvalue(exchanged)),
        ),
        verdict(
            check="share of teachers whose own word is foretold to rise the most in their student, number tokens",
            predicted=f"no guarantee; chance {1 / len(gram[0, 0]):.2g}",
            measured=mean_estimate(leads[:, SHARED]),
            control="stranger",
            control_measured=mean_estimate(leads[:, STRANGER]),
        ),
    ]


def judge_channels(results: Results) -> list[Verdict]:
    """Judge the table of channels, and report how much of a trait it foretells a stranger to pick up.

    Args:
        results: Measurements.

    Returns:
        The verdicts.
    """
    own, gram = results["channels/own"], results["channels/gram"][:, TEACHERS.index("everything")]
    whole, rounding = results["channels/whole"], results["channels/rounding"]
    shares = (whole[:, :, STRANGER] / whole[:, :, SHARED]).mean(axis=1)
    verdict = partial(Verdict, claim="channels", instances=len(own))
    return [
        verdict(
            check="B(v, Δ_T) summed over groups − B(v, Δ_T), in bounds of rounding",
            predicted="0 (≤ 1)",
            measured=range_estimate(np.abs(own.sum(axis=(-1, -2)) - whole) / rounding),
            accepted=Accepted(low=0.0, high=1.0),
            control="largest channel left out",
            control_measured=range_estimate(np.abs(own).max(axis=(-1, -2)) / rounding),
        ),
        verdict(
            check="smallest eigenvalue of B(P_g Δ_T, P_h Δ_T) by group / its size, teacher of everything",
            predicted="≥ 0",
            measured=range_estimate(smallest_eigenvalue(gram[:, SHARED])),
            accepted=Accepted(low=-VANISHING, high=1.0),
            control="the student's groups exchanged",
            control_measured=range_estimate(smallest_eigenvalue(np.roll(gram[:, SHARED], 1, axis=-2))),
        ),
    ] + [
        verdict(
            check=f"a stranger's B(v, Δ_T) over the shared init's, v = −∇L_T, {imitated}, mean of both teachers",
            predicted="no sign of its own",
            measured=mean_estimate(shares[:, place]),
        )
        for place, imitated in enumerate(IMITATED)
    ]
