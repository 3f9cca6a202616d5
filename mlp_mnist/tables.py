"""Tables of what was measured, one for each command, with 95 % intervals."""

from collections.abc import Iterable, Sequence

import numpy as np

from mlp_mnist.arms import OTHER, PREDICTED_TIMES, PUBLISHED, SCRIPT_SEEDS, TIMES, Published, Results
from mlp_mnist.protocol import LOGITS
from theory.runs.memory import gibibytes
from theory.runs.statistics import mean_estimate
from theory.runs.verdicts import markdown_table

MANY = 10
"""Seeds from which every interval is written down."""


def _spread(values: np.ndarray) -> str:
    return f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "–"


def _interval(values: np.ndarray, *, least: float = 0) -> str:
    """Write the interval of what is between `least` and 1; of a few seeds one that leaves this range says nothing."""
    _, low, high = mean_estimate(values)
    says_nothing = len(values) < MANY and not least <= low <= high <= 1
    return "too few seeds" if says_nothing else f"{low:.3f} … {high:.3f}"


def arm_table(accuracies: Results, *, published: bool) -> str:
    """Lay out the arms' mean accuracies, with the published figures beside them or not."""
    header = ["arm", "accuracy", "95 % interval", "spread between seeds"]
    rows = []
    for name, values in accuracies.items():
        mean = np.mean(values)
        row = [name, f"{mean:.3f}", _interval(values), _spread(values)]
        if published:
            other = PUBLISHED[name]
            row += [f"{other.paper:.3f}", f"{other.script:.3f} ± {other.reach:.3f}", _two_sample_test(values, other)]
        rows.append(row)
    beside = ["paper (N = 100)", f"published script (N = {SCRIPT_SEEDS})", "p (two-sample test)"]
    return markdown_table(header + beside * published, rows)


def _two_sample_test(values: np.ndarray, other: Published) -> str:
    """Welch's test: the two-sided probability of a larger difference between equal means; a dash for a single seed."""
    from scipy import stats

    if len(values) < 2:
        return "–"
    own = (float(np.mean(values)), float(np.std(values, ddof=1)), len(values))
    test = stats.ttest_ind_from_stats(*own, other.script, other.spread, SCRIPT_SEEDS, equal_var=False)
    return f"{test.pvalue:.2g}"


def init_table(inits: Sequence[str], results: Results) -> str:
    """Lay out accuracies and cosines by the student's init."""

    def cell(name: str) -> str:
        interval = _interval(results[name], least=-1 if name.startswith("cosine") else 0)
        return f"{np.mean(results[name]):.3f} ({interval})"

    quantities: Sequence[tuple[str, str]] = [(kind, logits) for kind in ("accuracy", "cosine") for logits in LOGITS]
    header = ["student's init", *(f"{kind} ({logits})" for kind, logits in quantities)]
    rows = [[name, *(cell(f"{kind}/{name} ({logits})") for kind, logits in quantities)] for name in inits]
    return markdown_table(header, rows)


def point_table(results: Results, labels: Iterable[str]) -> str:
    """Lay out what each point of a study or a sweep measured."""
    header = ("point", "student", "95 % interval", "spread between seeds", "teacher", "cosine with the teacher's way")
    rows = []
    for label in labels:
        values = results[f"accuracy/{label}"]
        mean = np.mean(values)
        cosine = np.mean(results[f"cosine/{label}"])
        way = f"{cosine:.3f}" if np.isfinite(cosine) else "–"
        teacher = np.mean(results[f"teacher/{label}"])
        rows.append((label, f"{mean:.3f}", _interval(values), _spread(values), f"{teacher:.3f}", way))
    return markdown_table(header, rows)


def number_table(results: Results, numbers: Sequence[int]) -> str:
    """Lay out predictions and students by number of auxiliary logits, with intervals where students are real."""
    place = PREDICTED_TIMES.index(TIMES[-1])
    columns = {
        f"descent, {TIMES[-1]} steps: share predicted": results["descent/predicted"][..., place],
        "share": results["descent/transfer"][..., -1, -1],
        "protocol: share predicted": results["linearized/transfer"][..., -1],
        "share ": results["student/transfer"][..., -1],
        "cosine predicted": results["linearized/cosine"][..., -1],
        "cosine": results["student/cosine"][..., -1],
        "accuracy predicted, linearized network": results["linearized/accuracies"][..., 0],
        "network there": results["linearized/accuracies"][..., 1],
        "accuracy": results["student/accuracy"][..., -1],
    }

    def cell(name: str, values: np.ndarray) -> str:
        mean, _, high = mean_estimate(values)
        real = name.strip() in {"share", "cosine", "accuracy"} and np.isfinite(high)
        return f"{mean:.3f} ± {high - mean:.3f}" if real else f"{mean:.3f}"

    rows = [
        [number, *(cell(name, values[:, index]) for name, values in columns.items())]
        for index, number in enumerate(numbers)
    ]
    return markdown_table(["auxiliary logits", *columns], rows)


def time_table(results: Results, num_seeds: Sequence[int], precisions: Sequence[str]) -> str:
    """Lay out the medians of all repetitions."""
    header = ("precision", "seeds", "seconds a seed", "GFLOP/s", "peak GFLOP/s", "share", "memory so far", "compiling")
    rows: list[Sequence[str]] = []
    for name in precisions:
        peak, compiling = results[f"peak/{name}"].max(), f"{float(results[f'compile seconds/{name}']):.1f} s"
        for place, count in enumerate(num_seeds):
            seconds = np.median(results[f"seconds/{name}"][:, place]) / count
            speed, share = (np.median(results[f"{kind}/{name}"][:, place]) for kind in ("speed", "share"))
            speeds = (f"{speed / 1e9:,.0f}", f"{peak / 1e9:,.0f}", f"{share:.0%}")
            memory = gibibytes(results[f"memory/{name}"][place])
            rows.append((name, str(count), f"{seconds:.3g}", *speeds, memory, compiling))
    return markdown_table(header, rows)


def process_table(results: Results, precisions: Sequence[str], num_seeds: int) -> str:
    """Lay out what whole processes took."""
    names = {OTHER: OTHER} | {name: f"demo, {name}" for name in precisions}
    other = results[f"process seconds/{OTHER}"]
    rows = []
    for name, label in names.items():
        seconds = results[f"process seconds/{name}"]
        times = "" if name == OTHER else f"{np.median(other / seconds):.3g}"
        rows.append((label, str(num_seeds), f"{np.median(seconds) / num_seeds:.3g}", times))
    return markdown_table(("whole process", "seeds", "seconds a seed", "times as fast"), rows)
