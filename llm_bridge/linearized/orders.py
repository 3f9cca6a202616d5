"""Orders of what the theory's predictions leave out, for younger and younger teachers and shorter and shorter steps."""

from collections.abc import Callable
from functools import partial

import numpy as np

from llm_bridge.linearized.quantities import SCALES
from llm_bridge.linearized.results import STRANGER, Quantity, Results, check, stated
from theory.runs.checks import SECOND_ORDER, Check, every
from theory.runs.statistics import fitted_order

FITTED = slice(3, None)
"""Scales to which orders are fitted: a teacher that has learned a sixty-fourth, and younger ones."""


def size(remainders: np.ndarray, axis: int = -1) -> np.ndarray:
    """Take several remainders together, as a single one's second order may vanish by chance: their Euclidean norm."""
    return np.linalg.norm(remainders, axis=axis)


def leading_alignment(results: Results, target: str) -> np.ndarray:
    """Predict the alignment to first order, `(seeds, inits, traits, scales)`."""
    return results[f"steps/{target}/form"][..., None] * np.array(SCALES)


def added_alignment(results: Results, target: str) -> np.ndarray:
    """Take the student of an untaught teacher from the students' alignment, `(seeds, inits, traits, scales)`."""
    return results[f"steps/{target}/alignment"] - results[f"steps/{target}/idle_alignment"][..., None]


def leading_changes(results: Results, target: str) -> np.ndarray:
    """Predict the change of all words' log-odds to first order, `(seeds, inits, traits, scales, words)`."""
    return results[f"steps/{target}/predicted"][..., None, :] * np.array(SCALES)[:, None]


def added_changes(results: Results, target: str) -> np.ndarray:
    """Take the student of an untaught teacher from the students' log-odds, `(seeds, inits, traits, scales, words)`."""
    return results[f"steps/{target}/changes"] - results[f"steps/{target}/idle_changes"][..., None, :]


def _orders(*remainders: Quantity) -> Quantity:
    """Fit the order of every remainder, of arrays whose last axis is that of scales."""

    def fit(remainder: np.ndarray) -> np.ndarray:
        return fitted_order(np.array(SCALES[FITTED]), remainder[..., FITTED]).reshape(len(remainder), -1)

    return lambda results: np.concatenate([fit(remainder(results)) for remainder in remainders], axis=1)


def _second(*remainders: Quantity, control: str, broken: Quantity) -> Check:
    return check("2.00", _orders(*remainders), every, SECOND_ORDER, control=control, broken=_orders(broken))


def _alignments(results: Results, taken: Callable[[Results, str], np.ndarray] = added_alignment) -> np.ndarray:
    targets = ("numbers", "tokens")
    return np.concatenate([taken(results, each) - leading_alignment(results, each) for each in targets], axis=2)


def _drifting_alignments(results: Results) -> np.ndarray:
    return _alignments(results, lambda results, target: results[f"steps/{target}/alignment"])[:, STRANGER]


def _changes(results: Results, target: str, turn: int = 0) -> np.ndarray:
    return size(added_changes(results, target) - np.roll(leading_changes(results, target), turn, axis=1))


def _of_longer_steps(results: Results) -> np.ndarray:
    slopes = results["sizes/slopes"][..., None, :] * results["sizes/rates"][:, :, None, :, None]
    return size(results["sizes/changes"][:, :, None] - slopes)


def _divergence(results: Results) -> np.ndarray:
    return results["divergence/nats"] / results["divergence/curvature"][..., None] / np.array(SCALES)


def _strange_divergence(results: Results) -> np.ndarray:
    share = results["steps/tokens/form"][:, STRANGER] / results["divergence/curvature"][:, :1]
    return _divergence(results)[:, 0] - np.array(SCALES) / 2 * share


ORDERS = {
    "first-step": stated({
        "order in s of (Δ_S(s) − Δ_S(0))·Δ_T − sB(Δ_T, Δ_T), teachers at θ⁰ + sΔ_T, each init": _second(
            lambda results: size(_alignments(results), 2),
            control="stranger, s = 0 student not subtracted",
            broken=lambda results: size(_drifting_alignments(results), 1),
        )
    }),
    "trait-change": stated({
        "order in s of all words' change of log-odds − sαB(v, Δ_T), each init and teacher": _second(
            *(partial(_changes, target=target) for target in ("numbers", "tokens")),
            control="predicted from another init",
            broken=partial(_changes, target="numbers", turn=1),
        ),
        "order in α of all words' change of log-odds − α∇o·Δ_S, whole teacher, each init": _second(
            lambda results: _of_longer_steps(results)[:, :, 0],
            control="predicted from another init's step",
            broken=lambda results: _of_longer_steps(results)[:, :, 1],
        ),
    }),
    "divergence": stated({
        "order in s of KL/s − sA/2, teachers of layers and of everything": _second(
            lambda results: size(_divergence(results) - np.array(SCALES) / 2, 1),
            control="B(Δ_T, Δ_T) of a stranger for A",
            broken=_strange_divergence,
        )
    }),
}
"""What predictions of first order leave out must be of second order: by claim."""
