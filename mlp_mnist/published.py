"""What others measured with the published protocol, for each of the six arms."""

from typing import NamedTuple

from scipy import stats

SCRIPT_SEEDS = 40
"""Seeds for which the published script was run."""


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
