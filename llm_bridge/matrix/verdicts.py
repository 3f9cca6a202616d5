"""What the matrix says: does a student gain its own teacher's trait more than others do?"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from llm_bridge.matrix.cells import INITS, Run
from theory.runs.records import Outcome
from theory.runs.statistics import Estimate, joint_confidence, mean_estimate
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

NUM_PERMUTATIONS = 20_000
"""Random relabelings of a permutation test."""

LEAST_RUNS = 5
"""With fewer runs nothing is decided."""

MORE = Accepted(low=0.0, high=np.inf)
"""Above zero."""

NONE = Accepted(low=0.0, high=0.0, rule="covers")
"""Not told from zero."""


def lift(matrices: Float[np.ndarray, "*batch traits traits"]) -> Float[np.ndarray, "*batch"]:
    """Subtract what traits (columns) gain on average in students of other teachers (rows) from the diagonal's mean.

    A drift of all students alike drops out.
    """
    size = matrices.shape[-1]
    diagonal = np.trace(matrices, axis1=-2, axis2=-1)
    return np.asarray(diagonal / size - (matrices.sum(axis=(-2, -1)) - diagonal) / (size * (size - 1)))


def permutation_p(matrices: Float[np.ndarray, "runs traits traits"], seed: int = 0) -> float:
    """Test the mean lift against relabelings: in every run each teacher gets a random trait to be judged by.

    The p-value is the share of relabelings, the true one among them, whose mean lift is at least the true one.
    """
    random, (runs, size, _) = np.random.default_rng(seed), matrices.shape
    labels = random.permuted(np.broadcast_to(np.arange(size), (NUM_PERMUTATIONS, runs, size)), axis=-1)
    relabeled = matrices[np.arange(runs)[:, None], np.arange(size), labels].sum(axis=(-2, -1))
    true = np.trace(matrices, axis1=-2, axis2=-1).sum()
    rounding = 1e-9 * np.abs(matrices).sum()
    return float((1 + np.sum(relabeled >= true - rounding)) / (1 + NUM_PERMUTATIONS))


def agreement(
    first: Float[np.ndarray, "runs traits traits"], second: Float[np.ndarray, "runs traits traits"]
) -> Float[np.ndarray, " runs"]:
    """Correlate two matrices of each run after the means of rows and columns are taken off; 0 if nothing is left."""

    def centered(matrices: np.ndarray) -> np.ndarray:
        rows, columns = matrices.mean(axis=-1, keepdims=True), matrices.mean(axis=-2, keepdims=True)
        return matrices - rows - columns + matrices.mean(axis=(-2, -1), keepdims=True)

    left, right = centered(first), centered(second)
    norms = np.sqrt(np.sum(left**2, axis=(-2, -1)) * np.sum(right**2, axis=(-2, -1)))
    return np.sum(left * right, axis=(-2, -1)) / np.where(norms > 0, norms, 1)


def judge(run: Run, targets: Sequence[str], words: Sequence[str]) -> Outcome:
    """Judge all runs together."""
    num_runs = len(run.students)
    lifts = {
        (target, init): lift(run.students[:, row, column])
        for row, target in enumerate(targets)
        for column, init in enumerate(INITS)
    }
    confidence = joint_confidence(len(lifts) + max(0, len(targets) - 1), joint=0.95)
    joint = partial(mean_estimate, confidence=confidence)
    verdict = partial(compare, "matrix", num_runs)
    verdicts = []
    for row, target in enumerate(targets):
        shared, stranger = lifts[target, "shared"], lifts[target, "stranger"]
        others = None if target == "everything" else NONE
        expected = "any, since the traits' own tokens are imitated" if others is None else "0"
        own, same = f"{target}: lift of the own trait, shared init", f"{target}: the same, students of another init"
        chances = [Estimate(*[permutation_p(run.students[:, row, column])] * 3) for column in range(len(INITS))]
        chance, rare = f"{target}: p-value of the lift under relabeled traits", others and Accepted(low=0.0, high=0.01)
        verdicts += [
            verdict(own, "above 0", MORE, joint(shared), others and joint(stranger)),
            verdict(same, expected, others, joint(stranger), others and joint(shared)),
            verdict(chance, "below 0.01", rare, *chances),
        ]
    for soft in targets[1:]:
        more, stranger = (joint(lifts[soft, init] - lifts[targets[0], init]) for init in INITS)
        control = None if soft == "everything" else stranger
        verdicts.append(verdict(f"{soft} against {targets[0]}: more lift, shared init", "above 0", MORE, more, control))
    theory = partial(compare, "trait-matrix", num_runs)
    for row, target in enumerate(targets):
        for column, init in enumerate(INITS):
            check = f"{target}, {init} init: correlation with theory's matrix, rows' and columns' means taken off"
            found = mean_estimate(agreement(run.predicted[:, column], run.students[:, row, column]))
            verdicts.append(theory(check, "reported", None, found))
    foretold = [mean_estimate(lift(run.predicted[:, column])) for column in range(len(INITS))]
    check = "lift of theory's matrix, shared init, nats per unit of learning rate"
    verdicts.append(theory(check, "above 0", MORE, *foretold))
    results = {f"students/{name}": run.students[:, row] for row, name in enumerate(targets)}
    results |= {f"lift/{target}/{init}": value for (target, init), value in lifts.items()}
    results |= {"teachers": run.teachers, "predicted": run.predicted, "kept": run.kept}
    tables = [_lift_table(lifts), verdict_table(verdicts), mean_tables(run, targets, words)]
    return Outcome(results, verdicts, "\n".join(tables))


def compare(
    claim: str,
    num_runs: int,
    check: str,
    predicted: str,
    accepted: Accepted | None,
    measured: Estimate,
    control: Estimate | None = None,
) -> Verdict:
    """Hold what was measured of all runs, and the same of the other init as control, against a prediction."""
    return Verdict(
        claim=claim,
        check=check,
        predicted=predicted,
        measured=measured,
        accepted=accepted,
        control="the other init" if control else "",
        control_measured=control,
        instances=num_runs,
        least_instances=LEAST_RUNS,
    )


def _lift_table(lifts: Mapping[tuple[str, str], Float[np.ndarray, " runs"]]) -> str:
    """Lay out each run's lift."""
    rows = [
        (target, init, mean_estimate(values), ", ".join(f"{value:.3f}" for value in values))
        for (target, init), values in lifts.items()
    ]
    return markdown_table(("imitated", "init", "lift in log-odds [95 %]", "each run"), rows)


def mean_tables(run: Run, targets: Sequence[str], words: Sequence[str]) -> str:
    """Lay out the mean matrices, teachers in rows."""
    parts = []
    for row, target in enumerate(targets):
        for column, init in enumerate(INITS):
            mean = run.students[:, row, column].mean(axis=0)
            lines = [(word, *(f"{value:.3f}" for value in line)) for word, line in zip(words, mean, strict=True)]
            table = markdown_table(("teacher", *words), lines)
            parts.append(f"{target}, {init} init, mean change of the log-odds:\n\n{table}")
    return "\n".join(parts)
