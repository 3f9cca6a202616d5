r"""Mean, variance, signal-to-noise ratio and sign of the steps on sampled labels, against claim 8's predictions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from theory.claims.evidence import VANISHING
from theory.claims.sampled_labels.data_sets import LABEL_STEPS, NUM_LABELS, SampledLabels
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate, rate_estimate
from theory.runs.verdicts import Accepted

SMALL_STEP = 1e-2
"""Up to this step size the leading terms and their drift must agree with the data sets."""

LARGEST_DRIFT = 0.1
"""Where a moment drifts by more than this share of itself, its expansion has no say."""

HEAVIEST_TAIL = 10.0
"""With a larger excess kurtosis of the sum of labels, no interval of its moments is to be trusted."""

MANY_LABELS = 10_000
"""From here on the sum of labels is Gaussian to within every interval used here."""

NO_EXCESS = Accepted(low=0.0, high=0.0, rule="covers")
"""Nothing is left of a difference to the prediction but chance."""

NO_FACTOR = Accepted(low=1.0, high=1.0, rule="covers")
"""Nothing is left of a ratio to the prediction but chance."""


class Cell(NamedTuple):
    r"""Data sets of one size from teachers of one step size, in units of the predicted noise $\sqrt{A/N}$."""

    alignment: np.ndarray
    """Measured, shape `(num_seeds, repetitions)`."""
    mean: np.ndarray
    """Predicted, with its drift, shape `(num_seeds,)`."""
    variance: np.ndarray
    """Predicted, with its drift, shape `(num_seeds,)`."""
    kurtosis: np.ndarray
    """Predicted excess kurtosis, shape `(num_seeds,)`."""
    nats: np.ndarray
    """Information in the data set, shape `(num_seeds,)`."""


def cut(sampled: SampledLabels, row: int, column: int, heaviest: float) -> Cell:
    """Cut data sets of one kind out of a case's measurements.

    Args:
        sampled: Measurements of a case.
        row: Index of the step size.
        column: Index of the number of labels.
        heaviest: The largest excess kurtosis allowed.

    Returns:
        The cell.
    """
    seen, size = np.asarray(sampled.visible), NUM_LABELS[column]
    curvature, mean_drift, variance_drift, kurtosis, steps, nats, alignment = (
        np.asarray(field)[seen]
        for field in (
            *sampled[:4],
            sampled.label_steps[:, row],
            sampled.label_information[:, row],
            sampled.alignment[:, row, column],
        )
    )
    signal, drifts = steps * np.sqrt(curvature * size), np.array([mean_drift, variance_drift]) * steps / curvature
    kept = np.all(np.abs(drifts) <= LARGEST_DRIFT, axis=0) & (kurtosis / size <= heaviest)
    cell = Cell(
        alignment=alignment / np.sqrt(curvature / size)[:, None],
        mean=signal * (1 + drifts[0]),
        variance=1 + drifts[1],
        kurtosis=kurtosis / size,
        nats=size * nats,
    )
    return Cell(*(field[kept] for field in cell))


def cells(sampled: SampledLabels, least: int = 1, smallest: float = 0.0, largest: float = SMALL_STEP) -> list[Cell]:
    """Cut a case's measurements into data sets of one kind.

    Args:
        sampled: Measurements of a case.
        least: Least number of labels.
        smallest: The teacher's step sizes are larger than this…
        largest: …and at most this, in natural units.

    Returns:
        A cell for each step size and number of labels, of the instances that imitation sees, to which the expansion
        applies at that step, and whose tails are not too heavy for intervals.
    """
    return [
        cut(sampled, row, column, HEAVIEST_TAIL / least)
        for row, step in enumerate(LABEL_STEPS)
        if smallest < step <= largest
        for column, size in enumerate(NUM_LABELS)
        if size >= least
    ]


Judge = Callable[[Cell, float], Estimate]
"""From data sets of one kind and a confidence level to an estimate."""


def mean_excess(cell: Cell, confidence: float) -> Estimate:
    """Measured mean minus the predicted one, in units of the noise.

    Args:
        cell: Data sets of one kind.
        confidence: Confidence level of the interval.

    Returns:
        The estimate, with Student's interval over instances.
    """
    return mean_estimate(cell.alignment.mean(axis=1) - cell.mean, confidence)


def variance_ratio(cell: Cell, confidence: float) -> Estimate:
    r"""Measured variance over the predicted one.

    The pooled variance of $n$ instances with $R$ data sets each has the relative variance
    $\sum_i v_i^2\,(2/(R-1) + \kappa_i/R) / (\sum_i v_i)^2 = 2/\nu$, which a chi-square of $\nu$ degrees has, too.

    Args:
        cell: Data sets of one kind.
        confidence: Confidence level of the interval.

    Returns:
        The estimate, with the interval of that chi-square.
    """
    repetitions = cell.alignment.shape[1]
    ratio = float(np.var(cell.alignment, axis=1, ddof=1).sum() / cell.variance.sum())
    spread = cell.variance**2 * (2 / (repetitions - 1) + cell.kurtosis / repetitions)
    degrees = 2 * cell.variance.sum() ** 2 / spread.sum()
    tails = stats.chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], degrees) / degrees
    return Estimate(ratio, *map(float, ratio / tails))


def signal_to_noise(cell: Cell, confidence: float) -> Estimate:
    """Measured mean over measured standard deviation.

    Args:
        cell: Data sets of one kind.
        confidence: Confidence level of the intervals of both.

    Returns:
        The estimate, as far as both intervals reach.
    """
    mean, variance = mean_excess(cell, confidence), variance_ratio(cell, confidence)
    noise = np.sqrt(np.array(variance) * cell.variance.mean())
    value, low, high = np.array(mean) + cell.mean.mean()
    return Estimate(float(value / noise[0]), float(np.min(low / noise[1:])), float(np.max(high / noise[1:])))


def signal_to_noise_excess(cell: Cell, confidence: float) -> Estimate:
    """Measured signal-to-noise ratio minus the predicted one.

    Args:
        cell: Data sets of one kind.
        confidence: Confidence level of the interval.

    Returns:
        The estimate.
    """
    predicted = cell.mean.mean() / np.sqrt(cell.variance.mean())
    return Estimate(*map(float, np.array(signal_to_noise(cell, confidence)) - predicted))


def share_excess(cell: Cell, confidence: float) -> Estimate:
    r"""Share of data sets whose step has a positive alignment, minus the predicted $\Phi(\sqrt{2N\,\mathrm{KL}})$.

    Args:
        cell: Data sets of one kind.
        confidence: Confidence level of the interval.

    Returns:
        The estimate, with the exact binomial interval.
    """
    predicted = stats.norm.cdf(np.sqrt(2 * cell.nats)).mean()
    return Estimate(*map(float, np.array(rate_estimate(cell.alignment.ravel() > 0, confidence)) - predicted))


def worst(judge: Judge, cases: Sequence[Sequence[Cell]], accepted: Accepted) -> Estimate:
    """Judge all data sets together and keep the kind that agrees least.

    Args:
        judge: From a cell and a confidence level to an estimate.
        cases: The cells of each case.
        accepted: What agrees.

    Returns:
        The estimate with the least margin relative to its width, its interval at the joint level; NaN if none.
    """
    together = [cell for case in cases for cell in case if len(cell.mean)]
    estimates = [judge(cell, joint_confidence(len(together))) for cell in together]
    if not estimates or np.isnan(np.array(estimates)).any():
        return Estimate(np.nan, np.nan, np.nan)
    return min(estimates, key=lambda estimate: accepted.margin(estimate) / max(estimate.high - estimate.low, VANISHING))
