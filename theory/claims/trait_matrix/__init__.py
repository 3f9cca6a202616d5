r"""Claim 12: which trait reaches a student of which teacher, as one symmetric, positive semi-definite matrix.

Teacher $i$ takes a step $\epsilon$ along its own trait, $\Delta_i = -\nabla L_i(\theta^0)$; its student takes a step of
size $\alpha$. Then the loss of trait $j$ changes in that student by

$$L_j(\theta_S) - L_j(\theta^0) = -\epsilon\alpha\,G_{ij} + O(\epsilon^2), \qquad G_{ij} = \Delta_i^\top K \Delta_j,$$

so that trait $j$ passes to a student of teacher $i$ as $i$ does to a student of teacher $j$, no more than
$|G_{ij}| \le \sqrt{G_{ii} G_{jj}}$, and a teacher of several traits gives each of them its part. Nothing makes the
diagonal a row's largest entry: it is the whole matrix that says what a student picks up.

References:
    Derived here: the student moves by $\epsilon\alpha K\Delta_i + O(\epsilon^2)$ (Cloud et al. (2025),
    arXiv:2507.14805, lemma 1), and $\nabla L_j = -\Delta_j$. $K$ is symmetric and positive semi-definite, so $G$ is the
    Gram matrix of the $K^{1/2}\Delta_i$, and linear in each of them. From another init the two Jacobians differ, and
    $G$ loses symmetry and sign.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from theory import zoo
from theory.claims.evidence import (
    SECOND_ORDER,
    VANISHING,
    Claim,
    Comparison,
    Report,
    count,
    curved,
    num_visible,
    worst_order,
)
from theory.claims.trait_matrix.changes import MIXTURE, NUM_TRAITS, TraitLosses, TraitMatrix, measure, several_kinds
from theory.problem import Problem
from theory.runs.statistics import CONFIDENCE, Estimate, mean_estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

FIRST_ORDER = 100.0
"""Corrections of the measured matrix, relative to it and to the step size: far below 1 at the smallest step."""

STRANGER = "control: another init"
"""Case of the control."""


def change(result: TraitMatrix) -> np.ndarray:
    """What the teachers' steps added to the students' traits.

    Args:
        result: A case's measurements.

    Returns:
        Changes less those behind a teacher that stands still, shape `(num_seeds, traits + 1, traits, teacher_steps)`.
    """
    return np.asarray(result.changes - result.drift[:, None, :, None])


def compare(result: TraitMatrix, sampling: Sampling, remainder: np.ndarray) -> Comparison:
    """Put the size of a matrix that should vanish at second order beside that of the leading term.

    Args:
        result: A case's measurements.
        sampling: The step sizes.
        remainder: What is left, shape `(num_seeds, …, traits, teacher_steps)`.

    Returns:
        Both as Euclidean norms over all entries.
    """
    steps = np.array(sampling.teacher_steps[: sampling.num_fitted])
    leading = np.linalg.norm(result.predicted, axis=(1, 2))[:, None] * steps
    size = np.sqrt(np.sum(remainder**2, axis=tuple(range(1, remainder.ndim - 1))))
    return Comparison(leading, leading + size, np.asarray(result.visible))


def remainders(result: TraitMatrix, sampling: Sampling) -> Comparison:
    """Compare measured changes with the predicted matrix, and the mixed teacher's with the mixture of its rows.

    Args:
        result: A case's measurements.
        sampling: The step sizes.

    Returns:
        Their difference beside the prediction.
    """
    steps = np.array(sampling.teacher_steps[: sampling.num_fitted])
    mixed = np.einsum("i,nij->nj", MIXTURE, result.predicted)
    rows = np.concatenate([result.predicted, mixed[:, None]], axis=1)
    return compare(result, sampling, change(result) - rows[..., None] * steps)


def asymmetry(result: TraitMatrix, sampling: Sampling) -> Comparison:
    """Compare what trait j gains from teacher i with what trait i gains from teacher j.

    Args:
        result: A case's measurements.
        sampling: The step sizes.

    Returns:
        Their difference beside the prediction.
    """
    pure = change(result)[:, :NUM_TRAITS]
    return compare(result, sampling, pure - pure.swapaxes(1, 2))


def superposition(result: TraitMatrix, sampling: Sampling) -> Comparison:
    """Compare the mixed teacher's student with the mixture of the others.

    Args:
        result: A case's measurements.
        sampling: The step sizes.

    Returns:
        Their difference beside the prediction; a student's own drift is left in.
    """
    mixture = np.einsum("i,nijs->njs", MIXTURE, result.changes[:, :NUM_TRAITS])
    return compare(result, sampling, (result.changes[:, NUM_TRAITS] - mixture)[:, None])


def smallest_eigenvalues(results: Sequence[TraitMatrix]) -> Estimate:
    """Smallest eigenvalue of the measured matrix over the largest of the predicted one, at the smallest step.

    Args:
        results: Measurements, one for each case; the mean of each pair's two entries is taken.

    Returns:
        Median and whole range over the instances in which every trait is visible.
    """
    shares = []
    for result in results:
        matrix = change(result)[result.visible, :NUM_TRAITS, :, 0]
        symmetric = (matrix + matrix.swapaxes(1, 2)) / 2
        shares.append(np.linalg.eigvalsh(symmetric)[:, 0] / np.linalg.norm(symmetric, 2, axis=(1, 2)))
    return range_estimate(np.concatenate(shares))


def alike(result: TraitMatrix) -> bool:
    """Whether all six traits are one, as those of a trait loss that ignores its key.

    Args:
        result: A case's measurements.

    Returns:
        True if every instance's predicted matrix has equal entries, to rounding.
    """
    first = result.predicted[:, :1, :1]
    return bool(np.all(np.abs(result.predicted - first) <= VANISHING * np.abs(first)))


def largest_diagonals(result: TraitMatrix) -> np.ndarray:
    """Share of teachers whose own trait gains the most in their student, in the losses' own units.

    Args:
        result: A case's measurements.

    Returns:
        Shape `(num_seeds,)`.
    """
    return np.mean(np.argmax(result.own_units, axis=2) == np.arange(NUM_TRAITS), axis=1)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the matrix for one trait on different data.

    Args:
        problems: The cases; the first also serves for the control.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify_kinds(problems, sampling, lambda problem: None)


def verify_kinds(
    problems: Sequence[Problem], sampling: Sampling, choose: Callable[[Problem], TraitLosses | None]
) -> Report:
    """Check order, symmetry, definiteness and superposition by real steps; report how often the diagonal leads.

    Args:
        problems: The cases; the first also serves for the control.
        sampling: Instances and step sizes.
        choose: The losses of a problem's traits; None for its own one on different data.

    Returns:
        The report.
    """
    steps = sampling.teacher_steps[: sampling.num_fitted]
    measures = {
        problem.name: partial(measure, problem, teacher_steps=steps, losses=choose(problem)) for problem in problems
    }
    results = sampling.sweep_all(measures | {STRANGER: partial(measures[problems[0].name], shared=False)}, NAME)
    cases, stranger = [results[problem.name] for problem in problems], results[STRANGER]
    checks = {
        "all losses' changes + εαG, six teachers and their mixture": remainders,
        "antisymmetric part of the measured matrix": asymmetry,
        "mixed teacher's student − mixture of the others'": superposition,
    }
    ones = [problem.name for problem in problems if alike(results[problem.name])]
    why = {name: f"{name}: the trait ignores its key, so that six traits are one" for name in ones}
    instances = num_visible([remainders(case, sampling) for case in cases])
    verdicts = []
    for check, judge in checks.items():
        fitted = curved([judge(case, sampling) for case in cases])
        if not fitted:
            continue
        verdict = Verdict(
            claim=NAME,
            check=f"order of ‖{check}‖, worst of {count(fitted)}",
            predicted="2.00",
            measured=worst_order(fitted, sampling),
            accepted=SECOND_ORDER,
            control="student from another init",
            control_measured=worst_order([judge(stranger, sampling)], sampling),
            instances=num_visible(fitted),
        )
        verdicts.append(verdict)
    definite = Verdict(
        claim=NAME,
        check=f"smallest eigenvalue of the measured matrix / largest, smallest ε, {count(cases)}",
        predicted="≥ 0 (up to O(ε))",
        measured=smallest_eigenvalues(cases),
        accepted=Accepted(low=-FIRST_ORDER * steps[0], high=1.0),
        control="student from another init",
        control_measured=smallest_eigenvalues([stranger]),
        instances=instances,
        unjudged="; ".join(why.values()),
    )
    leading = [
        Verdict(
            claim=NAME,
            check=f"share of teachers whose own trait gains the most in their student: {problem.name}",
            predicted="no guarantee",
            measured=mean_estimate(largest_diagonals(results[problem.name]), CONFIDENCE),
            instances=sampling.num_seeds,
            unjudged=why.get(problem.name, ""),
        )
        for problem in problems
    ]
    return Report([*verdicts, definite, *leading], results)


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim for traits of several kinds at once, on the cases farthest apart.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    return verify_kinds(zoo.spread(sampling), sampling, several_kinds)


NAME = "trait-matrix"
CLAIM = Claim(
    name=NAME,
    statement="trait j passes to a student of teacher i as i to j: one positive semi-definite matrix, not its diagonal",
    verify=verify,
    verify_zoo=verify_zoo,
)
