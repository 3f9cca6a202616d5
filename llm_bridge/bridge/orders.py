"""Orders of what the theory's predictions leave out, for younger and younger teachers and shorter and shorter steps."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from llm_bridge.bridge.measurement import STRANGER
from llm_bridge.bridge.quantities import SCALES
from theory.runs.checks import SECOND_ORDER
from theory.runs.statistics import Estimate, fitted_order, range_estimate
from theory.runs.verdicts import Verdict

Results = Mapping[str, np.ndarray]
"""Measurements by name, with a leading axis of seeds."""

FITTED = slice(3, None)
"""Scales to which orders are fitted: a teacher that has learned a sixty-fourth, and younger ones."""


def order(remainders: Sequence[np.ndarray]) -> Estimate:
    """Fit the order of every remainder.

    Args:
        remainders: Arrays with a last axis of scales.

    Returns:
        Median and whole range over all of them.
    """
    fits = [fitted_order(np.array(SCALES[FITTED]), each[..., FITTED]).ravel() for each in remainders]
    return range_estimate(np.concatenate(fits))


def size(remainders: np.ndarray, axis: int) -> np.ndarray:
    """Take several remainders together.

    Args:
        remainders: Any array.
        axis: The axis along which they lie.

    Returns:
        Their Euclidean norm, without that axis.
    """
    return np.linalg.norm(remainders, axis=axis)


def leading_alignment(results: Results, target: str) -> np.ndarray:
    """Predict the alignment to first order.

    Args:
        results: Measurements.
        target: `numbers` or `tokens`.

    Returns:
        $s B$ of what each teacher has learned, shape `(seeds, inits, traits, scales)`.
    """
    return results[f"steps/{target}/form"][..., None] * np.array(SCALES)


def added_alignment(results: Results, target: str) -> np.ndarray:
    """Take the student of an untaught teacher from the students' alignment.

    Args:
        results: Measurements.
        target: `numbers` or `tokens`.

    Returns:
        Shape `(seeds, inits, traits, scales)`.
    """
    return results[f"steps/{target}/alignment"] - results[f"steps/{target}/idle_alignment"][..., None]


def added_changes(results: Results, target: str) -> np.ndarray:
    """Take the student of an untaught teacher from the students' log-odds.

    Args:
        results: Measurements.
        target: `numbers` or `tokens`.

    Returns:
        Shape `(seeds, inits, traits, scales, words)`.
    """
    return results[f"steps/{target}/changes"] - results[f"steps/{target}/idle_changes"][..., None, :]


def judge_orders(results: Results) -> list[Verdict]:
    """Judge what predictions of first order leave out: it must be of second order.

    Several teachers or words count together, as a single remainder's second order may vanish by chance.

    Args:
        results: Measurements.

    Returns:
        The verdicts.
    """
    scales, targets = np.array(SCALES), ("numbers", "tokens")
    drifts = [results[f"steps/{target}/alignment"] - leading_alignment(results, target) for target in targets]
    rests = [added_alignment(results, target) - leading_alignment(results, target) for target in targets]
    predicted = {target: results[f"steps/{target}/predicted"][..., None, :] * scales[:, None] for target in targets}
    changes = {target: added_changes(results, target) for target in targets}
    curvature, strange = results["divergence/curvature"], results["steps/tokens/form"][:, STRANGER]
    ratio = results["divergence/nats"] / curvature[..., None] / scales
    slopes = results["sizes/slopes"][..., None, :] * results["sizes/rates"][:, :, None, :, None]
    beyond = size(results["sizes/changes"][:, :, None] - slopes, -1)
    verdict = partial(Verdict, predicted="2.00", accepted=SECOND_ORDER, instances=len(ratio))
    return [
        verdict(
            claim="first-step",
            check="order in s of (Δ_S(s) − Δ_S(0))·Δ_T − sB(Δ_T, Δ_T), teachers at θ⁰ + sΔ_T, each init",
            measured=order([size(np.concatenate(rests, axis=2), 2)]),
            control="stranger, s = 0 student not subtracted",
            control_measured=order([size(np.concatenate(drifts, axis=2)[:, STRANGER], 1)]),
        ),
        verdict(
            claim="trait-change",
            check="order in s of all words' change of log-odds − sαB(v, Δ_T), each init and teacher",
            measured=order([size(changes[target] - predicted[target], -1) for target in targets]),
            control="predicted from another init",
            control_measured=order([size(changes["numbers"] - np.roll(predicted["numbers"], 1, axis=1), -1)]),
        ),
        verdict(
            claim="trait-change",
            check="order in α of all words' change of log-odds − α∇o·Δ_S, whole teacher, each init",
            measured=order([beyond[:, :, 0]]),
            control="predicted from another init's step",
            control_measured=order([beyond[:, :, 1]]),
        ),
        verdict(
            claim="divergence",
            check="order in s of KL/s − sA/2, teachers of layers and of everything",
            measured=order([size(ratio - scales / 2, 1)]),
            control="B(Δ_T, Δ_T) of a stranger for A",
            control_measured=order([ratio[:, 0] - scales / 2 * (strange / curvature[:, :1])]),
        ),
    ]
