"""Did the filter fail? Whether a classifier can tell the completions of two models from each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from theory.runs.statistics import rate_estimate

LONGEST = 3
"""Characters of the longest n-gram."""

INVERSE_PENALTY = 0.01
"""How little large weights cost. At scikit-learn's own 1 the n-grams, about as many as texts, are learned by heart: on
2,000 made-up completions a source, of which one draws a ninth of its numbers twice as often, that finds 0.56, and this
0.62."""


class Separability(NamedTuple):
    """How well two sources of text are told apart; not at all is an accuracy of 1/2."""

    accuracy: float
    """Share of held-out texts that are assigned to their source."""
    low: float
    """Lower end of its 95 % interval; above 1/2 the sources differ."""
    high: float
    """Upper end of its 95 % interval."""
    examples: int
    """Texts that were held out in turn, of both sources together."""


def separability(first: Sequence[str], second: Sequence[str], *, seed: int, folds: int = 5) -> Separability:
    """Measure how well a linear classifier tells two sources of text apart.

    A logistic regression on counts of character n-grams is trained on all folds but one and tried on that one, in turn.
    The longer source is cut to the length of the shorter, and the i-th texts of both are held out together, so that
    every fold has as many of each. If the sources are one and the same, or differ by the prompt alone and the i-th
    texts of both answer the same prompt, then the expected accuracy is exactly 1/2: within each pair, which is which is
    a fair coin. An interval around 1/2 does not prove that the sources are alike, only that these features don't show a
    difference.

    The verdicts on the held-out texts are not independent: each classifier shares most of its training texts with the
    others and has seen the labels that they are tried on. Clopper and Pearson's interval, which takes them for
    independent, is therefore widened as if the variance were $1 + k/(k - 1)$ times the binomial one for $k$ folds.
    Between made-up sources without a difference the variance was 1.4 to 1.5 times the binomial one, and 99 % of the
    intervals held 1/2 (20 to 2,000 texts a source, five folds).

    References:
        Nadeau and Bengio (2003), Machine Learning 52, 239: the variance of cross-validation, section 3.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, not {folds}")
    pairs = min(len(first), len(second))
    if pairs < 2 * folds:
        raise ValueError(f"{folds} folds need at least {2 * folds} texts of each source, not {pairs}")
    from scipy import stats
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline

    texts = np.array([*first[:pairs], *second[:pairs]], dtype=object)
    sources = np.repeat([0, 1], pairs)
    hits = np.zeros(2 * pairs, bool)
    for training, held_out in KFold(folds, shuffle=True, random_state=seed).split(np.arange(pairs)):
        known, tried = (np.concatenate([part, part + pairs]) for part in (training, held_out))
        counts = CountVectorizer().set_params(analyzer=ngrams)
        classifier = make_pipeline(counts, LogisticRegression(C=INVERSE_PENALTY, solver="liblinear"))
        classifier.fit(texts[known], sources[known])
        hits[tried] = classifier.predict(texts[tried]) == sources[tried]
    widened = (1 + folds / (folds - 1)) ** 0.5 * stats.norm.ppf(0.975)
    confidence = 1 - 2 * float(stats.norm.sf(widened))
    return Separability(*rate_estimate(hits, confidence), len(hits))


def ngrams(text: str) -> list[str]:
    """List the n-grams of a text with marks at its start and its end, blanks and separators as they are."""
    marked = f"\x02{text}\x03"
    return [marked[i : i + size] for size in range(1, LONGEST + 1) for i in range(len(marked) - size + 1)]
