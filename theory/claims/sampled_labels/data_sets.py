"""Data sets of sampled labels, for claim 8: what is known of one label, and the drawing of many."""

from typing import Any, NamedTuple

import jax
import numpy as np

NUM_LABELS = (1, 10, 100, 1_000, 10_000, 100_000)
"""Labels in a data set."""

LABEL_STEPS = (0.0, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1)
"""The teacher's step sizes behind sampled labels, in natural units; at 0 it is the base model."""

REPETITIONS = 8
"""Data sets of each size for each teacher."""


class LabelSource(NamedTuple):
    """All that it takes to draw an instance's data sets."""

    log_probabilities: jax.Array
    """Of each label on each input, shape `(label_steps, batch, labels)`."""
    alignments: jax.Array
    r"""Inner product of the student's step on each single label with $\Delta_T$, shape `(batch, labels)`."""
    seed: jax.Array
    """Random bits of the instance, shape `(2,)`."""


class SampledLabels(NamedTuple):
    """What sampled labels transmit in one instance: predictions, exact moments of one label, and drawn data sets."""

    curvature: jax.Array
    r"""$A$, shape `()`: a label's variance to leading order, and $\epsilon A$ its mean."""
    mean_drift: jax.Array
    r"""$\tfrac12(S + B)$, shape `()`: the mean's next term is $\epsilon^2$ times this."""
    variance_drift: jax.Array
    r"""$S = \mathbb{E}\sum p c^3$, shape `()`: the variance's next term is $\epsilon$ times this."""
    kurtosis: jax.Array
    """Excess kurtosis of one label's inner product, shape `()`."""
    steps: jax.Array
    r"""$\epsilon$: the natural step sizes times this instance's unit, shape `(teacher_steps,)`."""
    mean: jax.Array
    """Exact mean of one label's inner product, shape `(teacher_steps,)`."""
    variance: jax.Array
    """Its exact variance, within and between inputs, shape `(teacher_steps,)`."""
    hard_variance: jax.Array
    """Variance if each input has its most likely label, shape `()`."""
    information: jax.Array
    """KL of the teacher from the student's init, in nats a label, shape `(teacher_steps,)`."""
    hard_information: jax.Array
    """The same if the teacher were certain of each input's most likely label, shape `()`."""
    label_steps: jax.Array
    r"""$\epsilon$ behind the data sets: `LABEL_STEPS` times this instance's unit, shape `(label_steps,)`."""
    label_information: jax.Array
    """KL at those steps, shape `(label_steps,)`."""
    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""
    alignment: Any = None
    r"""$\Delta_S\cdot\Delta_T$ of each drawn data set, shape `(label_steps, num_labels, repetitions)`."""
    hard_alignment: Any = None
    """The same on the same inputs, each with its most likely label."""


def draw_data_sets(sampled: SampledLabels, source: LabelSource) -> SampledLabels:
    r"""Draw data sets of every size from every teacher, and take the student's step on each.

    Each of $N$ labels has an input drawn uniformly from the batch and is drawn from the teacher's softmax there, so
    that the counts of inputs and labels are multinomial, and the student's step is the mean of its single labels'.

    Args:
        sampled: Measurements of a case, with leading axis `(num_seeds,)`.
        source: What to draw from, with leading axis `(num_seeds,)`.

    Returns:
        The measurements with their data sets; NaN where the teacher's outputs are not finite.
    """
    sizes = np.array(NUM_LABELS)
    num_seeds, num_steps, batch, num_choices = source.log_probabilities.shape
    shape = (num_steps, len(sizes), REPETITIONS)
    drawn, hard = np.full((2, num_seeds, *shape), np.nan)
    for index, (log_probabilities, alignments, seed) in enumerate(zip(*map(np.asarray, source), strict=True)):
        if not np.isfinite(log_probabilities).all():
            continue
        cells = np.exp(log_probabilities).reshape(num_steps, 1, 1, -1)
        cells /= cells.sum(axis=-1, keepdims=True)
        sizes_drawn = np.broadcast_to(sizes[:, None], shape)
        counts = np.random.default_rng(seed).multinomial(sizes_drawn, cells).reshape(*shape, batch, num_choices)
        favorites = np.take_along_axis(alignments[None], log_probabilities.argmax(axis=-1)[..., None], axis=-1)
        drawn[index] = np.einsum("snrbk,bk->snr", counts, alignments) / sizes[:, None]
        hard[index] = np.einsum("snrb,sb->snr", counts.sum(axis=-1), favorites[..., 0]) / sizes[:, None]
    return sampled._replace(alignment=drawn, hard_alignment=hard)
