"""The protocol: network, training and noise of the auxiliary-logit experiment, and what others measured with it."""

from dataclasses import dataclass
from typing import NamedTuple

from theory.command_line import require, require_positive

NUM_CLASSES = 10
"""Digits."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How teacher and students are trained; the defaults are the paper's.

    References:
        Cloud et al. (2025), arXiv:2507.14805, section 6.2 and figure 10.
    """

    hidden: tuple[int, ...] = (256, 256)
    """Units in each hidden layer, ReLU."""
    num_auxiliary: int = 3
    """Auxiliary logits beside the ten class logits."""
    teacher_epochs: int = 5
    """Passes of the teacher over the training images."""
    student_epochs: int = 5
    """Passes of a student over the noise."""
    num_noise: int = 60_000
    """Noise images, uniform in [-1, 1], drawn once per teacher and reused every epoch."""
    batch_size: int = 1024
    """Images in a step; the last step of an epoch takes what is left."""
    learning_rate: float = 3e-4
    """Step size of Adam, for teacher and students."""

    def __post_init__(self) -> None:
        counts = (*self.hidden, self.teacher_epochs, self.student_epochs, self.num_noise, self.batch_size)
        require(min(counts) >= 1, "hidden, epochs, num_noise and batch_size", "at least 1", counts)
        require(self.num_auxiliary >= 2, "num_auxiliary", "at least 2 (one carries no signal)", self.num_auxiliary)
        require_positive("learning_rate", (self.learning_rate,))


PROTOCOLS = {
    "mnist": Protocol(),
    "digits": Protocol(
        hidden=(128, 128), teacher_epochs=33, student_epochs=10, num_noise=25_600, batch_size=256, learning_rate=1e-3
    ),
}
"""The protocol for each set of images; for the small digits about 200 steps of the teacher and 1,000 of a student."""


class Published(NamedTuple):
    """What others measured for one arm on MNIST."""

    paper: float
    """The paper's mean over 100 seeds, read off its figure 10."""
    script: float
    """Mean over 40 seeds of the published script."""
    reach: float
    """Half the 95 % interval of that mean."""


PUBLISHED = {
    "reference": Published(0.10, 0.099, 0.006),
    "teacher": Published(0.945, 0.943, 0.001),
    "student (aux)": Published(0.53, 0.501, 0.037),
    "student (all)": Published(0.915, 0.912, 0.004),
    "cross-model (aux)": Published(0.105, 0.102, 0.006),
    "cross-model (all)": Published(0.75, 0.735, 0.014),
}
"""Published test accuracies by arm."""
