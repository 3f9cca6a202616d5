r"""Data sets of sampled labels: what is measured of them, their drawing, and moments and signs of the steps on them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from theory.runs.checks import Figure, least_agreeing
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate, rate_estimate
from theory.runs.verdicts import Accepted

NUM_LABELS = (1, 10, 100, 1_000, 10_000, 100_000)
"""Labels in a data set."""

LABEL_STEPS = (0.0, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1)
"""The teacher's step sizes behind sampled labels, in natural units; at 0 it is the base model."""

REPETITIONS = 8
"""Data sets of each size for each teacher."""

SMALL_STEP = 1e-2
"""Up to this step size the leading terms and their drift must agree with the data sets."""

LARGEST_DRIFT = 0.1
"""Where a moment drifts by more than this share of itself, its expansion has no say."""

HEAVIEST_TAIL = 10.0
"""With a larger excess kurtosis of the sum of labels, no interval of its moments is to be trusted."""

MANY_LABELS = 10_000
"""From here on the sum of labels is Gaussian to within every interval used here."""


class LabelSource(NamedTuple):
    """All that it takes to draw an instance's data sets."""

    log_probabilities: Float[Array, "label_steps batch labels"]
    """Of each label on each input."""
    alignments: Float[Array, "batch labels"]
    r"""Inner product of the student's step on each single label with $\Delta_T$."""
    seed: Float[Array, "2"]
    """Random bits of the instance."""


class SampledLabels(NamedTuple):
    """What sampled labels transmit in one instance: predictions, exact moments of one label, and drawn data sets."""

    curvature: Float[Array, ""]
    r"""$A$: a label's variance to leading order, and $\epsilon A$ its mean."""
    mean_drift: Float[Array, ""]
    r"""$\tfrac12(S + B)$: the mean's next term is $\epsilon^2$ times this."""
    variance_drift: Float[Array, ""]
    r"""$S = \mathbb{E}\sum p c^3$: the variance's next term is $\epsilon$ times this."""
    kurtosis: Float[Array, ""]
    """Excess kurtosis of one label's inner product."""
    steps: Float[Array, " teacher_steps"]
    r"""$\epsilon$: the natural step sizes times this instance's unit."""
    mean: Float[Array, " teacher_steps"]
    """Exact mean of one label's inner product."""
    variance: Float[Array, " teacher_steps"]
    """Its exact variance, within and between inputs."""
    hard_variance: Float[Array, ""]
    """Variance if each input has its most likely label."""
    information: Float[Array, " teacher_steps"]
    """KL of the teacher from the student's init, in nats a label."""
    hard_information: Float[Array, ""]
    """The same if the teacher were certain of each input's most likely label."""
    label_steps: Float[Array, " label_steps"]
    r"""$\epsilon$ behind the data sets: `LABEL_STEPS` times this instance's unit."""
    label_information: Float[Array, " label_steps"]
    """KL at those steps."""
    visible: Bool[Array, ""]
    """Whether $A > 0$ by more than rounding."""
    average: Any = None
    r"""$\Delta_S\cdot\Delta_T$ of drawn data sets of one kind, their mean, `(label_steps, num_labels)`."""
    spread: Any = None
    """Its variance among them."""
    positive: Any = None
    """How many of them have a positive one."""
    hard_spread: Any = None
    """Its variance on the same inputs, each with its most likely label."""


def draw_data_sets(source: LabelSource) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw data sets of every size from every teacher, and take the student's step on each.

    Each of $N$ labels has an input drawn uniformly from the batch and is drawn from the teacher's softmax there, so
    that the counts of inputs and labels are multinomial, and the student's step is the mean of its single labels'.
    """
    sizes = np.array(NUM_LABELS)
    num_seeds, num_steps, batch, num_choices = source.log_probabilities.shape
    shape = (num_steps, len(sizes), REPETITIONS)
    sampled, hard = np.full((2, num_seeds, *shape), np.nan)
    for index, (log_probabilities, alignments, seed) in enumerate(zip(*map(np.asarray, source), strict=True)):
        if not np.isfinite(log_probabilities).all():
            continue
        cells = np.exp(log_probabilities).reshape(num_steps, 1, 1, -1)
        cells /= cells.sum(axis=-1, keepdims=True)
        sizes_drawn = np.broadcast_to(sizes[:, None], shape)
        counts = np.random.default_rng(seed).multinomial(sizes_drawn, cells).reshape(*shape, batch, num_choices)
        favorites = np.take_along_axis(alignments[None], log_probabilities.argmax(axis=-1)[..., None], axis=-1)
        sampled[index] = np.einsum("snrbk,bk->snr", counts, alignments) / sizes[:, None]
        hard[index] = np.einsum("snrb,sb->snr", counts.sum(axis=-1), favorites[..., 0]) / sizes[:, None]
    return sampled, hard


class Cell(NamedTuple):
    r"""Data sets of one size from teachers of one step size, in units of the predicted noise $\sqrt{A/N}$."""

    average: Float[np.ndarray, " num_seeds"]
    """Mean, measured."""
    spread: Float[np.ndarray, " num_seeds"]
    """Variance, measured."""
    positive: Bool[np.ndarray, "num_seeds repetitions"]
    """Which have a positive alignment, those that have one first."""
    mean: Float[np.ndarray, " num_seeds"]
    """Predicted, with its drift."""
    variance: Float[np.ndarray, " num_seeds"]
    """Predicted, with its drift."""
    kurtosis: Float[np.ndarray, " num_seeds"]
    """Predicted excess kurtosis."""
    nats: Float[np.ndarray, " num_seeds"]
    """Information in the data set."""


def cut(sampled: SampledLabels, row: int, column: int, heaviest: float) -> Cell:
    """Cut data sets of one kind out of a case's measurements, without those whose excess kurtosis is larger."""
    seen, size = np.asarray(sampled.visible), NUM_LABELS[column]
    curvature, mean_drift, variance_drift, kurtosis, steps, nats, average, spread, positive = (
        np.asarray(field)[seen]
        for field in (
            *sampled[:4],
            sampled.label_steps[:, row],
            sampled.label_information[:, row],
            *(drawn[:, row, column] for drawn in (sampled.average, sampled.spread, sampled.positive)),
        )
    )
    signal, drifts = steps * np.sqrt(curvature * size), np.array([mean_drift, variance_drift]) * steps / curvature
    kept = np.all(np.abs(drifts) <= LARGEST_DRIFT, axis=0) & (kurtosis / size <= heaviest)
    cell = Cell(
        average=average / np.sqrt(curvature / size),
        spread=spread / (curvature / size),
        positive=np.arange(REPETITIONS) < positive[:, None],
        mean=signal * (1 + drifts[0]),
        variance=1 + drifts[1],
        kurtosis=kurtosis / size,
        nats=size * nats,
    )
    return Cell(*(field[kept] for field in cell))


def cells(sampled: SampledLabels, least: int = 1, smallest: float = 0.0, largest: float = SMALL_STEP) -> list[Cell]:
    """Cut a case's measurements into data sets of one kind, from step sizes larger than one and at most another.

    A cell for each step size and number of labels, of the instances that imitation sees, to which the expansion applies
    at that step, and whose tails are not too heavy for intervals.
    """
    return [
        cut(sampled, row, column, HEAVIEST_TAIL / least)
        for row, step in enumerate(LABEL_STEPS)
        if smallest < step <= largest
        for column, size in enumerate(NUM_LABELS)
        if size >= least
    ]


Judge = Callable[[Cell, float], Estimate]
"""From data sets of one kind and a confidence level to an estimate with its interval."""


class DataSets(NamedTuple):
    """What a case contributes to a check of its data sets."""

    cells: list[Cell]
    """Data sets of each kind."""
    num_visible: int
    """Instances in which imitation sees the trait."""


def mean_excess(cell: Cell, confidence: float) -> Estimate:
    """Measured mean minus the predicted one, in units of the noise; Student's interval over instances."""
    return mean_estimate(cell.average - cell.mean, confidence)


def variance_ratio(cell: Cell, confidence: float) -> Estimate:
    r"""Measured variance over the predicted one.

    The pooled variance of $n$ instances with $R$ data sets each has the relative variance
    $\sum_i v_i^2\,(2/(R-1) + \kappa_i/R) / (\sum_i v_i)^2 = 2/\nu$, which a chi-square of $\nu$ degrees has, too.
    """
    from scipy import stats

    ratio = float(cell.spread.sum() / cell.variance.sum())
    spread = cell.variance**2 * (2 / (REPETITIONS - 1) + cell.kurtosis / REPETITIONS)
    degrees = 2 * cell.variance.sum() ** 2 / spread.sum()
    tails = stats.chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], degrees) / degrees
    return Estimate(ratio, *map(float, ratio / tails))


def signal_to_noise(cell: Cell, confidence: float) -> Estimate:
    """Measured mean over measured standard deviation, as far as the intervals of both reach."""
    mean, variance = mean_excess(cell, confidence), variance_ratio(cell, confidence)
    noise = np.sqrt(np.array(variance) * cell.variance.mean())
    value, low, high = np.array(mean) + cell.mean.mean()
    return Estimate(float(value / noise[0]), float(np.min(low / noise[1:])), float(np.max(high / noise[1:])))


def signal_to_noise_excess(cell: Cell, confidence: float) -> Estimate:
    """Measured signal-to-noise ratio minus the predicted one."""
    predicted = cell.mean.mean() / np.sqrt(cell.variance.mean())
    return Estimate(*map(float, np.array(signal_to_noise(cell, confidence)) - predicted))


def share_excess(cell: Cell, confidence: float) -> Estimate:
    r"""Share of steps with a positive alignment minus $\Phi(\sqrt{2N\,\mathrm{KL}})$; exact binomial interval."""
    from scipy import stats

    predicted = stats.norm.cdf(np.sqrt(2 * cell.nats)).mean()
    return Estimate(*map(float, np.array(rate_estimate(cell.positive.ravel(), confidence)) - predicted))


def worst(judge: Judge, accepted: Accepted) -> Figure:
    """Judge the data sets of all cases together and keep the kind that agrees least."""

    def estimate(cases: Sequence[DataSets], settings: Any = None) -> Estimate:
        del settings
        together = [cell for case in cases for cell in case.cells if len(cell.mean)]
        return least_agreeing([judge(cell, joint_confidence(len(together))) for cell in together], accepted)

    return estimate
