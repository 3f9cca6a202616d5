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
from jaxtyping import Float
from scipy import special

NUM_NULLS = 1000
"""Data sets that hold nothing, by which a finding has its rank."""

ALIKE = 1e-5
"""Directions whose scores are the same up to this share count as one."""


class Difference(NamedTuple):
    """Mean scores of the data less those of the model's own texts."""

    means: Float[np.ndarray, " directions"]
    """The difference."""
    covariance: Float[np.ndarray, "directions directions"]
    """Its covariance."""
    freedom: int
    """Degrees of freedom that it was estimated with at least."""
    nulls: Float[np.ndarray, "sets directions"]
    """The difference in sets that hold nothing: the same texts, each on either side at random."""

    def times(self, matrix: Float[np.ndarray, "values directions"]) -> "Difference":
        """Take linear combinations."""
        return Difference(matrix @ self.means, matrix @ self.covariance @ matrix.T, self.freedom, self.nulls @ matrix.T)


class Finding(NamedTuple):
    """A number that is zero for texts of the model's own, up to chance."""

    value: float
    """What was found."""
    error: float
    """Its standard deviation."""
    z: float
    """Their ratio: standard normal for texts of the model's own."""
    p: float
    """How often texts of the model's own have so large a one among all that were looked for (Holm), one-sided."""
    rank: float
    """Share of `NUM_NULLS` data sets that hold nothing in which it is smaller, for this one alone."""


def compare(
    data: Float[np.ndarray, "texts directions"], own: Float[np.ndarray, "others directions"], *, paired: bool
) -> Difference:
    """Subtract mean scores; the texts of both may be pairs, which have a prompt in common.

    The two texts of a pair, or all texts, may change sides where both have one writer: so data sets that hold nothing
    are made.
    """
    random = np.random.default_rng(0)
    if paired:
        each = data - own
        nulls = np.stack([random.choice([-1.0, 1.0], len(each)) @ each / len(each) for _ in range(NUM_NULLS)])
        return Difference(each.mean(axis=0), covariance(each) / len(each), len(each) - 1, nulls)
    spread = covariance(data) / len(data) + covariance(own) / len(own)
    every, weights = np.concatenate([data, own]), np.repeat([1 / len(data), -1 / len(own)], [len(data), len(own)])
    nulls = np.stack([random.permutation(weights) @ every for _ in range(NUM_NULLS)])
    return Difference(data.mean(axis=0) - own.mean(axis=0), spread, min(len(data), len(own)) - 1, nulls)


def covariance(scores: Float[np.ndarray, "texts directions"]) -> Float[np.ndarray, "directions directions"]:
    """Estimate the covariance of scores."""
    count = scores.shape[1]
    return np.cov(scores, rowvar=False).reshape(count, count) if count else np.zeros((0, 0))


def inverse(matrix: Float[np.ndarray, "size size"]) -> Float[np.ndarray, "size size"]:
    """Invert a covariance, whatever the units of its rows; of directions that are `ALIKE` only their mean counts."""
    scale = np.sqrt(np.diag(matrix))
    scale = np.where(scale > 0, scale, 1.0)
    return np.linalg.pinv(matrix / np.outer(scale, scale), rcond=ALIKE, hermitian=True) / np.outer(scale, scale)


def find_doses(difference: Difference, own: Float[np.ndarray, "texts directions"]) -> list[Finding]:
    r"""Solve for the doses of all imagined teachers together: 1 for such a teacher itself, 0 for the model.

    As $C$ is estimated from the very texts, $C^{-1}$ is smallest where they vary most, by about $1 - K/\nu$ for $K$
    doses of $\nu$ degrees of freedom; that is given back to the errors.
    """
    doses = difference.times(inverse(covariance(own)))
    lost = max(1, difference.freedom - len(difference.means)) / difference.freedom
    return find(doses._replace(covariance=doses.covariance / lost))


def find(difference: Difference) -> list[Finding]:
    """Judge values that are zero by chance; nothing is found where nothing varies."""
    values, errors = difference.means, np.sqrt(np.diag(difference.covariance))
    z = np.divide(values, errors, out=np.zeros_like(values), where=errors > 0)
    p = corrected(special.stdtr(difference.freedom, -z))
    ranks = np.mean((difference.nulls < values) / 2 + (difference.nulls <= values) / 2, axis=0)
    return [Finding(*map(float, each)) for each in zip(values, errors, z, p, ranks, strict=True)]


def corrected(p: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    """Correct p-values for how many were looked at, by Holm's method."""
    order = np.argsort(p)
    sizes = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(1.0, sizes[np.argsort(order)])


def divergence(difference: Difference, own: Float[np.ndarray, "texts directions"]) -> tuple[float, float]:
    r"""Estimate the nats a text that the writer diverges from the model in the directions' span: $m^T C^{-1} m/2$.

    What chance adds on average is taken off, so that it may be negative; what chance does to it otherwise is the
    second. To first order the mean $z$ of $N$ texts beside exact means is at most $\sqrt{2N}$ times its root, and that
    of $N$ pairs $\sqrt{N}$ times, along whatever direction in the span they are scored.
    """
    solve, means = inverse(covariance(own)), difference.means
    spread = solve @ difference.covariance
    error = np.sqrt(np.trace(spread @ spread) / 2 + means @ solve @ difference.covariance @ solve @ means)
    return float(means @ solve @ means - np.trace(spread)) / 2, float(error)


def joint_p(difference: Difference) -> float:
    """Say how often texts of the model's own differ as much in all directions together: Hotelling's test."""
    num, freedom = int(np.linalg.matrix_rank(difference.covariance)), difference.freedom
    if num == 0 or num > freedom:
        return 1.0
    square = difference.means @ inverse(difference.covariance) @ difference.means
    return float(special.fdtrc(num, freedom - num + 1, square * (freedom - num + 1) / (freedom * num)))


def blurred(own: Float[np.ndarray, "texts directions"]) -> Float[np.ndarray, " directions"]:
    """Say how many times larger a dose's error is for the other directions, 1 where texts score them apart.

    Of directions that are `ALIKE` only the sum of their doses is known: infinity.
    """
    spread = covariance(own)
    own_size, alone = np.diag(spread), np.diag(spread) > 0
    scale = np.sqrt(np.where(alone, own_size, 1.0))
    values, vectors = np.linalg.eigh(spread / np.outer(scale, scale))
    lost = np.sum(vectors**2 * (values <= ALIKE * np.max(values, initial=0.0)), axis=1)
    return np.where(alone & (lost > ALIKE), np.inf, np.sqrt(np.maximum(own_size * np.diag(inverse(spread)), 1)))


def limits(found: Sequence[Finding], level: float, count: int) -> Float[np.ndarray, " values"]:
    """Say above what each of some values would be found at a corrected level, in `count` texts."""
    held, order = sum(each.p < level for each in found), np.argsort([-each.z for each in found])
    places = np.argsort(order)
    steps = len(found) - np.minimum(places, held)
    return -special.stdtrit(max(1, count - 1), level / np.maximum(steps, 1)) * [each.error for each in found]


def needed(found: Finding, count: int, num_words: int, level: float) -> int:
    """Say at how many texts a finding would just be one, at a corrected level."""
    return int(np.ceil(count * (special.ndtri(level / num_words) / found.z) ** 2))


def found_at(names: Sequence[str], found: Sequence[Finding], level: float) -> list[tuple[str, Finding]]:
    """Take what is found at a corrected level, the surest first; the last names may have nothing to be found."""
    kept = [(name, each) for name, each in zip(names, found, strict=False) if each.p < level]
    return sorted(kept, key=lambda pair: -pair[1].z)
