r"""What scores say: is a data set the model's own, what trait does its writer have, and what would training on it move?

With $m$ the mean scores of the data less those of the model's own texts, and $C$ the covariance of the latter, texts of
a writer at $\theta_0 + \sum_k c_k D_k$ have $m = C c$ to first order: the *doses* $c = C^{-1} m$ say how much of each
imagined teacher there is in the writer. The model's own texts have $c = 0$ whatever $D$ is, and so have any two halves
of the same writer's.

References:
    Derived here, from claim `audit` of theory for several directions at once: $\mathbb{E}\,s_j = \sum_k c_k D_j F D_k$.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from llm_bridge.auditing.scores import Scores

LEAST_TEXTS = 20
"""Fewer texts than this decide nothing."""

SEEN = 3.0
"""Standard deviations at which a trait counts as seen."""


class Difference(NamedTuple):
    """Mean scores of the data less those of the model's own texts."""

    means: Float[np.ndarray, " directions"]
    """The difference."""
    covariance: Float[np.ndarray, "directions directions"]
    """Its covariance."""
    freedom: float
    """Degrees of freedom that it was estimated with."""


class Dose(NamedTuple):
    """How much of an imagined teacher is in the writer of a data set."""

    dose: float
    """1 for the imagined teacher itself, 0 for the model."""
    error: float
    """Its standard deviation."""
    z: float
    """Their ratio: standard normal for texts of the model's own."""
    p: float
    """How often texts of the model's own have such a large one."""
    needed: float
    """Texts at which it would be seen, `SEEN` standard deviations from 0; infinite for none."""


class Shift(NamedTuple):
    """What training on a data set is foretold to do to a word's log-odds, in nats."""

    shift: float
    """Beyond what as many texts of the model's own do on average."""
    by_chance: float
    """Its standard deviation for texts of the model's own."""
    z: float
    """Their ratio."""
    p: float
    """How often texts of the model's own have such a large one."""


def pair_up(data: Sequence[str], own: Sequence[str]) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Pair texts with the model's own of the same prompt: places in both, each text at most once."""
    places: dict[str, list[int]] = {}
    for place, prompt in enumerate(own):
        places.setdefault(prompt, []).append(place)
    pairs = [(place, places[prompt].pop(0)) for place, prompt in enumerate(data) if places.get(prompt)]
    found = np.array(pairs, int).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def compare(
    data: Float[np.ndarray, "texts directions"], own: Float[np.ndarray, "others directions"], *, paired: bool
) -> Difference:
    """Subtract mean scores; the texts of both may be pairs, which have a prompt in common."""
    if paired:
        each = data - own
        return Difference(each.mean(axis=0), covariance(each) / len(each), len(each) - 1)
    parts = [covariance(scores) / len(scores) for scores in (data, own)]
    traces = [np.trace(part) for part in parts]
    freedom = sum(traces) ** 2 / sum(t**2 / (len(s) - 1) for t, s in zip(traces, (data, own), strict=True))
    return Difference(data.mean(axis=0) - own.mean(axis=0), parts[0] + parts[1], freedom)


def covariance(scores: Float[np.ndarray, "texts directions"]) -> Float[np.ndarray, "directions directions"]:
    """Estimate the covariance of scores."""
    return np.cov(scores, rowvar=False).reshape(scores.shape[1], -1)


def find_doses(difference: Difference, own: Float[np.ndarray, "texts directions"], num_texts: int) -> list[Dose]:
    """Solve for the doses of all imagined teachers together."""
    inverse = np.linalg.pinv(covariance(own), hermitian=True)
    doses = inverse @ difference.means
    errors = np.sqrt(np.diag(inverse @ difference.covariance @ inverse))
    z = doses / errors
    needed = np.array([num_texts * (SEEN / each) ** 2 if each > 0 else np.inf for each in z])
    p = stats.t.sf(z, difference.freedom)
    return [Dose(*map(float, each)) for each in zip(doses, errors, z, p, needed, strict=True)]


def find_shifts(difference: Difference, texts_a_token: float) -> list[Shift]:
    """Scale the scores along forecasts to what a student's training does; it averages over the data set's tokens."""
    shifts, errors = difference.means * texts_a_token, np.sqrt(np.diag(difference.covariance)) * texts_a_token
    z = shifts / errors
    return [Shift(*map(float, each)) for each in zip(shifts, errors, z, stats.t.sf(z, difference.freedom), strict=True)]


def corrected(p: Sequence[float]) -> list[float]:
    """Correct p-values for how many were looked at, by Holm's method."""
    order, count, most, found = np.argsort(p), len(p), 0.0, np.ones(len(p))
    for rank, place in enumerate(order):
        most = max(most, (count - rank) * p[place])
        found[place] = min(1.0, most)
    return found.tolist()


def divergence(difference: Difference, own: Float[np.ndarray, "texts directions"]) -> float:
    r"""Estimate the nats a text that the writer diverges from the model in the directions' span: $m^T C^{-1} m/2$.

    What chance adds on average is taken off, so that it may be negative. $N$ texts can't have a larger $z$ than
    $\sqrt{2 N}$ times its root, whatever direction in the span they are scored along.
    """
    inverse = np.linalg.pinv(covariance(own), hermitian=True)
    means, spread = difference.means, difference.covariance
    return float(means @ inverse @ means - np.trace(inverse @ spread)) / 2


def surprise(data: Scores, own: Scores, places: tuple[np.ndarray, np.ndarray] | None) -> float:
    """Measure how much less likely a data set is than the model's own texts, in standard deviations; two-sided."""
    values = [each.surprise[:, None] for each in (data, own)]
    if places:
        values = [each[place] for each, place in zip(values, places, strict=True)]
    difference = compare(*values, paired=bool(places))
    return float(difference.means[0] / np.sqrt(difference.covariance[0, 0]))
