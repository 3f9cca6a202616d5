"""Tables of the MNIST experiments: the six arms, and the kinds of inits."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from mlp_mnist.protocol import LOGITS
from mlp_mnist.published import PUBLISHED, SCRIPT_SEEDS, Published
from theory.runs.statistics import mean_estimate
from theory.runs.verdicts import markdown_table


def arm_table(accuracies: dict[str, np.ndarray], *, published: bool) -> str:
    """Lay out the arms' mean accuracies.

    Args:
        accuracies: Test accuracies of each seed, by arm.
        published: Whether to set the published figures beside them.

    Returns:
        A Markdown table with 95 % intervals.
    """
    header = ["arm", "accuracy", "95 % interval", "spread between seeds"]
    rows = []
    for name, values in accuracies.items():
        mean, low, high = mean_estimate(values)
        spread = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "–"
        row = [name, f"{mean:.3f}", f"{low:.3f} … {high:.3f}", spread]
        if published:
            other = PUBLISHED[name]
            row += [f"{other.paper:.3f}", f"{other.script:.3f} ± {other.reach:.3f}", two_sample_test(values, other)]
        rows.append(row)
    beside = ["paper (N = 100)", f"published script (N = {SCRIPT_SEEDS})", "p (two-sample test)"]
    return markdown_table(header + beside * published, rows)


def two_sample_test(values: np.ndarray, other: Published) -> str:
    """Hold an arm against the published script's by Welch's test.

    Args:
        values: Test accuracies of each seed.
        other: What the script gave.

    Returns:
        The two-sided probability of a larger difference between equal means; a dash for a single seed.
    """
    if len(values) < 2:
        return "–"
    own = (float(np.mean(values)), float(np.std(values, ddof=1)), len(values))
    test = stats.ttest_ind_from_stats(*own, other.script, other.spread, SCRIPT_SEEDS, equal_var=False)
    return f"{test.pvalue:.2g}"


def init_table(inits: Sequence[str], results: Mapping[str, np.ndarray]) -> str:
    """Lay out accuracies and cosines by init.

    Args:
        inits: The students' inits.
        results: Accuracies and cosines of each seed, by name.

    Returns:
        A Markdown table with 95 % intervals.
    """

    def cell(name: str) -> str:
        mean, low, high = mean_estimate(results[name])
        return f"{mean:.3f} ({low:.3f} … {high:.3f})"

    quantities: Sequence[tuple[str, str]] = [(kind, logits) for kind in ("accuracy", "cosine") for logits in LOGITS]
    header = ["student's init", *(f"{kind} ({logits})" for kind, logits in quantities)]
    rows = [[name, *(cell(f"{kind}/{name} ({logits})") for kind, logits in quantities)] for name in inits]
    return markdown_table(header, rows)
