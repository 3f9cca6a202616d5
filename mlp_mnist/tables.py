"""Tables of the MNIST experiments: the six arms, and the kinds of inits."""

from collections.abc import Mapping, Sequence

import numpy as np

from mlp_mnist.protocol import LOGITS
from mlp_mnist.published import PUBLISHED
from theory.statistics import mean_estimate
from theory.verdicts import markdown_table


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
            paper, script, reach = PUBLISHED[name]
            row += [f"{paper:.3f}", f"{script:.3f} ± {reach:.3f}"]
        rows.append(row)
    return markdown_table(header + ["paper (N = 100)", "published script (N = 40)"] * published, rows)


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
