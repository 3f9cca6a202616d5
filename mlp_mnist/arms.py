"""Kinds of students, what is measured of them and when, and what others measured of the paper's six arms."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from mlp_mnist.protocol import LOGITS, Logits

Results = Mapping[str, np.ndarray]
"""Every number of a run by name, as it is recorded: seeds first."""

Init = Literal["shared", "permuted", "rescaled", "stranger"]
"""A student's init: the protocol's, by default the teacher's; the teacher's hidden units permuted, or rescaled; or
another seed's."""

RESCALING_SPREAD = 1.0
"""Standard deviation of the logarithm of the factors on rescaled hidden units."""


class Arm(NamedTuple):
    """A kind of student."""

    init: Init
    """Where it starts."""
    logits: Logits
    """What it imitates."""

    def __str__(self) -> str:
        return f"{self.init} ({self.logits})"


DEMO_ARMS = {
    "student (aux)": Arm("shared", "aux"),
    "student (all)": Arm("shared", "all"),
    "cross-model (aux)": Arm("stranger", "aux"),
    "cross-model (all)": Arm("stranger", "all"),
}
"""The demo's students, by the names that `PUBLISHED` uses."""

COMPARED_INITS: tuple[Init, ...] = ("shared", "permuted", "rescaled", "stranger")
"""Inits of the students that `compare-inits` compares."""

COMPARED_ARMS = {str(arm): arm for arm in (Arm(init, logits) for init in COMPARED_INITS for logits in LOGITS)}
"""Its students."""

SWEPT_ARM = Arm("shared", "aux")
"""The student of every study and sweep: its init as the protocol says, imitating the auxiliary logits."""


class Measured(NamedTuple):
    """What one point of an experiment measured; several points and seeds stack as leading axes."""

    reference: np.ndarray
    """Test accuracy of the teacher's init, shape `(seeds,)`."""
    teacher: np.ndarray
    """Test accuracy of the teacher, shape `(seeds,)`."""
    students: np.ndarray
    """Test accuracy of the students, shape `(seeds, arms)`."""
    cosines: np.ndarray
    """Cosine of a student's displacement, in the teacher's coordinates, with the teacher's, same shape; NaN if their
    shapes differ."""

    def named(self, arms: Mapping[str, Arm]) -> dict[str, np.ndarray]:
        """Name the numbers of one point as its record does: `accuracy/` and `cosine/`, then the arm."""
        accuracies = {"reference": self.reference, "teacher": self.teacher}
        accuracies |= dict(zip(arms, self.students.T, strict=True))
        cosines = zip(arms, self.cosines.T, strict=True)
        named = {f"accuracy/{name}": values for name, values in accuracies.items()}
        return named | {f"cosine/{name}": values for name, values in cosines}


SCRIPT_SEEDS = 40
"""Seeds for which the published script was run."""

OTHER = "other script"
"""What a script that is timed beside ours is called, where ours are called by their precision."""


class Published(NamedTuple):
    """What others measured for one arm on MNIST."""

    paper: float
    """The paper's mean over 100 seeds, read off its figure 10."""
    script: float
    """Mean over `SCRIPT_SEEDS` seeds of the published script."""
    reach: float
    """Half the 95 % interval of that mean."""

    @property
    def spread(self) -> float:
        """Standard deviation between the script's seeds."""
        from scipy import stats

        return self.reach / float(stats.t.ppf(0.975, SCRIPT_SEEDS - 1)) * SCRIPT_SEEDS**0.5


PUBLISHED = {
    "reference": Published(0.10, 0.099, 0.006),
    "teacher": Published(0.945, 0.943, 0.001),
    "student (aux)": Published(0.53, 0.501, 0.037),
    "student (all)": Published(0.915, 0.912, 0.004),
    "cross-model (aux)": Published(0.105, 0.102, 0.006),
    "cross-model (all)": Published(0.75, 0.735, 0.014),
}
"""Published test accuracies by arm."""

PREDICTED_TIMES = (1, 3, 10, 30, 100, 300, 1000, np.inf)
"""Numbers of steps of gradient descent that are predicted."""

LATE_TIMES = (100, 1000)
"""Numbers of steps after which accuracies are predicted."""

TIMES = (1, 10, 100)
"""Numbers of steps after which a descending student is looked at."""

YOUNG_TIMES = TIMES[:2]
"""The same for students of young teachers and of strangers."""

SCALES = (0.01, 0.03, 0.1, 0.3, 1.0)
r"""How far towards the trained teacher the labels' teacher has gone: it is at $\theta^0 + s\,\Delta_T$."""
