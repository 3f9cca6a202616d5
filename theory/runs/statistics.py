"""Fitted orders and intervals: what turns many random instances into one measured figure."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.999
"""Joint confidence of all the intervals that one check compares, so that a true claim seldom fails."""


class Estimate(NamedTuple):
    """A measured figure with its interval."""

    value: float
    """The figure itself."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""

    @property
    def is_nan(self) -> bool:
        """Whether the figure or an end of its interval is not a number."""
        return any(map(np.isnan, self))

    @property
    def is_endless(self) -> bool:
        """Whether its interval has no end on either side."""
        return bool(np.isinf(self.low) and np.isinf(self.high))

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "nothing"
        value, low, high = ("0" if number == 0 else f"{number:#.4g}" for number in self)
        return value if self.is_endless else f"{value} [{low}, {high}]"


ABOVE_ROUNDING = 3
"""A remainder this many times as large as its measured rounding enters a fitted order."""


def fitted_order(sizes: np.ndarray, remainders: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    r"""Fit the power with which remainders fall, by least squares in log-log.

    $$|r(\epsilon)| \approx c\,\epsilon^{k} \Rightarrow k = \text{slope of } \log|r| \text{ over } \log\epsilon.$$

    Remainders below `ABOVE_ROUNDING` times their rounding are left out. NaN where one is exactly zero, or fewer
    than three are above rounding (of two sizes, both must be).

    Examples:
        >>> sizes = np.array([0.001, 0.01, 0.1])
        >>> round(float(fitted_order(sizes, -7 * sizes**2)), 10)
        2.0
    """
    seen = ~(np.abs(remainders) < ABOVE_ROUNDING * np.expand_dims(rounding, -1))
    num_seen = seen.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(seen, np.log(sizes), 0.0)
        logs = np.where(seen, logs - logs.sum(axis=-1, keepdims=True) / num_seen, 0.0)
        sums = np.sum(logs * np.where(seen, np.log(np.abs(remainders)), 0.0), axis=-1)
        slopes = sums / np.sum(logs**2, axis=-1)
    return np.where(np.isfinite(slopes) & (num_seen[..., 0] >= min(3, len(sizes))), slopes, np.nan)


def joint_confidence(num_intervals: int, joint: float = CONFIDENCE) -> float:
    """Confidence of each interval so that all of them together reach a level (Bonferroni)."""
    return 1 - (1 - joint) / num_intervals


def median_estimate(samples: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Median with its distribution-free interval from order statistics; NaNs are left out.

    The ends are infinite where there are too few samples for the level, and all is NaN where there are none.
    """
    from scipy import stats

    samples = samples[~np.isnan(samples)]
    if samples.size == 0:
        return Estimate(np.nan, np.nan, np.nan)
    interval = stats.quantile_test(samples, p=0.5).confidence_interval(confidence)
    low = float(np.nan_to_num(interval.low, nan=-np.inf))
    high = float(np.nan_to_num(interval.high, nan=np.inf))
    return Estimate(float(np.median(samples)), low, high)


def mean_estimate(samples: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean with Student's interval; infinite ends for a single sample."""
    from scipy import stats

    mean = float(np.mean(samples))
    if len(samples) < 2:
        return Estimate(mean, -np.inf, np.inf)
    error = float(np.std(samples, ddof=1)) / np.sqrt(len(samples))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(samples) - 1)) * error
    return Estimate(mean, mean - reach, mean + reach)


def rate_estimate(successes: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Share of successes with its exact (Clopper-Pearson) binomial interval."""
    from scipy import stats

    result = stats.binomtest(int(np.sum(successes)), len(successes))
    interval = result.proportion_ci(confidence_level=confidence)
    return Estimate(float(np.mean(successes)), float(interval.low), float(interval.high))


def range_estimate(samples: np.ndarray) -> Estimate:
    """Median of all samples with their whole range, for statements about every single instance; NaN of none."""
    if samples.size == 0:
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(float(np.median(samples)), float(samples.min()), float(samples.max()))


def hull(estimates: list[Estimate], predicted: float) -> Estimate:
    """The worst of several estimates: the figure farthest from the prediction, between the outermost ends."""
    table = np.array(estimates)
    worst = table[np.argmax(np.abs(table[:, 0] - predicted)), 0]
    return Estimate(float(worst), float(np.min(table[:, 1])), float(np.max(table[:, 2])))
