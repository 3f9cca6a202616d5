r"""Claim 13: low-rank adapters transfer as much on average; only sharing them makes every transfer positive.

Matrices are trained as $W_l + A_l B_l$ with $B_l = 0$ at first and entries of $A_l \sim N(0, 1/r)$, all other
parameters in full. With $g = -\nabla L_T$ and $\Pi$ the map $A_l A_l^\top$ on the inputs of every matrix, the identity
elsewhere, the trait's loss in the student changes by $-\epsilon\alpha$ times, to first order,

- $(\Pi g)^\top K\, (\Pi g) \ge 0$ if teacher and student have the same adapters,
- $g^\top \Pi K g$ if the student alone has them: its mean is $A = g^\top K g$, its variance
  $\tfrac{2}{r}\sum_l \|\mathrm{sym}\,S_l\|_F^2$ with $S_l = (K g)_l\, g_l^\top$, matrices as `(fan_in, fan_out)`,
- $g^\top \Pi_S K \Pi_T\, g$ if they have independent ones: its mean is $A$.

References:
    Derived here: the first step moves $W_l$ by $A_l A_l^\top$ times the full step, see `theory.adapters`, and
    $\mathbb{E}[A_l A_l^\top] = I$. With a full teacher matrix $l$ adds $\mathrm{tr}(A_l^\top S_l A_l)$, a sum of $r$
    independent Gaussian forms $a^\top S_l\, a$ with $a \sim N(0, I/r)$, each of mean $\mathrm{tr}\,S_l / r$ and of
    variance $2\|\mathrm{sym}\,S_l\|_F^2/r^2$.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from theory import zoo
from theory.claims.evidence import LEAST_SEEDS, NEAR_ONE, Claim, Report, count
from theory.claims.low_rank.steps import NUM_DRAWS, RANKS, WRONG_VARIANCE, LowRank, freeze_vectors, measure
from theory.problem import Problem
from theory.runs.statistics import CONFIDENCE, Estimate, joint_confidence, mean_estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict


def standardize(results: Sequence[LowRank], falls: str, power: int = 1) -> Estimate:
    """Average a power of what passed less its predicted mean, in predicted standard deviations.

    Args:
        results: Measurements, one for each case.
        falls: The field that holds what passed.
        power: 1 for the mean, 2 for the variance.

    Returns:
        Mean over instances of the mean over ranks and draws, with its interval; the cases are averaged, too, since they
        may share random numbers.
    """
    seen = np.all([result.visible for result in results], axis=0)
    scores = [
        (getattr(result, falls) - result.curvature[:, None, None]) / result.deviation[..., None] for result in results
    ]
    means = np.mean([np.mean(score[seen] ** power, axis=(1, 2)) for score in scores], axis=0)
    return mean_estimate(means, CONFIDENCE) if seen.any() else Estimate(np.nan, np.nan, np.nan)


def same_ratios(results: Sequence[LowRank], falls: str) -> Estimate:
    """What passed over what should pass with the same adapters, in every instance, rank and draw.

    Args:
        results: Measurements, one for each case.
        falls: The field that holds what passed.

    Returns:
        Median and whole range.
    """
    ratios = [(getattr(result, falls) / result.same_predicted)[result.visible].ravel() for result in results]
    return range_estimate(np.concatenate(ratios))


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the guarantee for shared adapters, mean and spread for a student's own; report how often it is positive.

    Args:
        problems: The cases.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    measure_one = partial(measure, teacher_step=sampling.teacher_steps[0])
    results = sampling.sweep_all({problem.name: partial(measure_one, problem) for problem in problems}, NAME)
    cases = list(results.values())
    every = NUM_DRAWS * len(RANKS)
    seen = int(np.sum(np.all([case.visible for case in cases], axis=0)))
    wrong_scale = f"entries of variance {WRONG_VARIANCE:g}/r"

    def moment(check: str, falls: str, control: str, power: int) -> Verdict:
        truth = float(power == 2)
        return Verdict(
            claim=NAME,
            check=f"{check}, {count(cases)}",
            predicted=f"{truth:.0f}",
            measured=standardize(cases, falls, power),
            accepted=Accepted(low=truth, high=truth, rule="covers"),
            control=wrong_scale,
            control_measured=standardize(cases, control, power),
            instances=seen,
            least_instances=LEAST_SEEDS,
        )

    verdicts = [
        Verdict(
            claim=NAME,
            check=f"fall of L_T / εα(Πg)ᵀK(Πg), same adapters, r = 1 to {max(RANKS)}, every draw, {count(cases)}",
            predicted="→ 1",
            measured=same_ratios(cases, "same"),
            accepted=NEAR_ONE,
            control="independent adapters",
            control_measured=same_ratios(cases, "independent"),
            instances=every * int(sum(np.sum(case.visible) for case in cases)),
        ),
        moment("mean of (fall of L_T / εα − A) / predicted σ, adapters on the student", "student", "control", 1),
        moment("mean square of the same", "student", "control", 2),
        moment("mean of the same, independent adapters on both", "independent", "control_independent", 1),
    ]
    verdicts += [
        Verdict(
            claim=NAME,
            check=f"share of positive transfers, {adapters}, r = {rank}: {problems[0].name}",
            predicted="no guarantee",
            measured=share_positive(cases[0], falls, index),
            instances=seen,
        )
        for adapters, falls in (("adapters on the student", "student"), ("independent adapters", "independent"))
        for index, rank in enumerate(RANKS)
    ]
    return Report(verdicts, results)


def share_positive(result: LowRank, falls: str, rank: int) -> Estimate:
    """How often a transfer lowers the trait's loss.

    Args:
        result: A case's measurements.
        falls: The field that holds what passed.
        rank: Index of the rank.

    Returns:
        Mean over instances of the share of draws, with its interval.
    """
    positive = getattr(result, falls)[result.visible, rank] > 0
    if not len(positive):
        return Estimate(np.nan, np.nan, np.nan)
    share = mean_estimate(positive.mean(axis=1), joint_confidence(2 * len(RANKS)))
    return share._replace(low=max(share.low, 0.0), high=min(share.high, 1.0))


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the cases farthest apart, and with frozen biases.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    cases = zoo.spread(sampling)
    return verify([freeze_vectors(cases[0]), *cases], sampling)


NAME = "low-rank"
CLAIM = Claim(
    name=NAME,
    statement="LoRA: shared adapters always transfer; a student's own do so on average, with a spread of order r^−½",
    verify=verify,
    verify_zoo=verify_zoo,
)
