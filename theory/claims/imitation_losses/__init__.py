r"""Claim 4: lemma 1 and theorem 1 under every imitation loss of the class, and what becomes of them outside it.

$$\Delta_S(\epsilon)\cdot\Delta_T = \epsilon A + O(\epsilon^2),\qquad A = \mathbb{E}_x[(J\Delta_T)^\top M\,(J\Delta_T)],
\qquad M = -\frac{\partial^2 L_S}{\partial y\,\partial z}\Big|_{z = y},$$

if $L_S$ has its minimum over $z$ at $z = y$, and $M$ is positive semi-definite with a null space orthogonal to the
gradient. Outside: under $\sum_k|z_k - y_k|^r$ alignment is $r\,\epsilon^{r-1}\,\mathbb{E}\sum_k|J\Delta_T|_k^r$, of the
right sign, but for $r = 1$ the student's step doesn't shrink with $\epsilon$ and theorem 1 fails; with the minimum
elsewhere the student moves even if the teacher doesn't.

References:
    Cloud et al. (2025), arXiv:2507.14805, appendix C, for the class. Derived here: the closed form of each $M$
    (`loss_table`) and the powers (`outside_losses.power`). *Cosine distance*: $M = (I - \hat y\hat y^\top)/\|y\|^2$ has
    the null space $y(x)$, another one for each input. The proof needs only that, at each $x$, the null space at
    $z = y = f_{\theta^0}(x)$ is orthogonal to $\nabla_z L_S$ for all labels; and $\nabla_z L_S \perp z$, since the loss
    doesn't depend on $\|z\|$. *Minimum at* $y + b$ under squared error: $\Delta_S(0)\cdot\Delta_T$ is
    $2\,\mathbb{E}[b\cdot J\Delta_T]$, odd in $b$: for random $b$ of either sign alike, a fair coin.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from theory import losses, outside_losses, zoo
from theory.claims.evidence import (
    NEAR_ONE,
    Claim,
    Report,
    count,
    curved,
    num_visible,
    smallest_step_ratios,
    worst_order,
)
from theory.claims.imitation_losses.outsiders import judge_elsewhere, judge_powers
from theory.claims.imitation_losses.steps import (
    FALL_STEP,
    LossSteps,
    compare_alignment,
    compare_fall,
    largest_scaling,
    measure,
    measure_scaling,
)
from theory.claims.imitation_losses.table import COSINE, INSIDE, STRETCHED, UNNORMALIZED
from theory.claims.null_space import ROUNDING
from theory.problem import Problem
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

AT_LEAST_SECOND_ORDER = Accepted(low=1.95, high=math.inf)
r"""A remainder $O(\epsilon^2)$; of third order for a linear model under a loss without third derivatives at $z = y$."""


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check every loss of the table on problems that one brings, in place of their own imitation loss.

    Args:
        problems: The cases; the first also serves for the controls, and alone where nothing is guaranteed.
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    fitted = sampling.teacher_steps[: sampling.num_fitted]
    steps = {"teacher_steps": fitted, "learning_rates": sampling.learning_rates}
    results = sampling.sweep_all({problem.name: partial(measure, problem, **steps) for problem in problems}, NAME)
    cases = [results[problem.name] for problem in problems]
    verdicts = [
        *judge_inside(cases, sampling),
        *judge_powers(NAME, cases, sampling),
        *judge_elsewhere(NAME, cases[:1]),
    ]
    return Report(verdicts, results)


def judge_inside(cases: Sequence[LossSteps], sampling: Sampling) -> list[Verdict]:
    """Judge lemma 1 and theorem 1 under the losses of the class, and under the cosine distance.

    Args:
        cases: Measurements of each case.
        sampling: Instances and step sizes.

    Returns:
        The verdicts.
    """
    everything = (*INSIDE, *COSINE)
    (stretched,) = compare_alignment(cases[:1], [STRETCHED])
    (unnormalized,) = compare_alignment(cases[:1], [UNNORMALIZED])
    orders = (
        (f"{len(INSIDE)} losses inside the class", tuple(INSIDE), STRETCHED, stretched),
        ("cosine distance", tuple(COSINE), UNNORMALIZED, unnormalized),
    )
    fitted = {name: curved(compare_alignment(cases, chosen)) for name, chosen, _, _ in orders}
    verdicts = [
        Verdict(
            claim=NAME,
            check=f"order of Δ_S·Δ_T − εA, worst of {name} on {count(cases)}",
            predicted="2.00 (or more)",
            measured=worst_order(fitted[name], sampling),
            accepted=AT_LEAST_SECOND_ORDER,
            control=control,
            control_measured=worst_order([broken], sampling),
            instances=num_visible(fitted[name]),
        )
        for name, _, control, broken in orders
    ]
    ratios = (
        ("Δ_S·Δ_T / εA at the smallest ε", compare_alignment(cases, everything), stretched),
        (
            f"fall of L_T / εαA, each α, ε = {FALL_STEP:g}",
            compare_fall(cases, everything),
            *compare_fall(cases[:1], [STRETCHED]),
        ),
    )
    verdicts += [
        Verdict(
            claim=NAME,
            check=f"{name}, every instance with A > 0, {len(everything)} losses",
            predicted="→ 1",
            measured=smallest_step_ratios(compared),
            accepted=NEAR_ONE,
            control=STRETCHED,
            control_measured=smallest_step_ratios([control]),
            instances=num_visible(compared),
        )
        for name, compared, control in ratios
    ]
    return verdicts


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference and the networks farthest from it, and claim 3 under the cosine distance.

    Args:
        sampling: Instances and step sizes.

    Returns:
        The report.
    """
    report = verify([problem for problem in zoo.spread(sampling) if problem.name != "squared error"], sampling)
    reference = zoo.build(zoo.REFERENCE)
    measures = {
        name: partial(measure_scaling, replace(reference, imitation_loss=loss), teacher_steps=sampling.teacher_steps)
        for name, loss in (
            ("scaling: cosine distance", losses.cosine_distance),
            ("scaling: control", outside_losses.negative_inner_product),
        )
    }
    cosine, control = (scalings := sampling.sweep_all(measures, NAME)).values()
    verdict = Verdict(
        claim=NAME,
        check="vᵀKv and Δ_S·v over all ε under cosine distance, Jv = f, in rounding units",
        predicted="0 (rounding)",
        measured=largest_scaling(cosine),
        accepted=Accepted(low=0.0, high=ROUNDING),
        control=UNNORMALIZED,
        control_measured=largest_scaling(control),
        instances=sampling.num_seeds,
    )
    return Report([*report.verdicts, verdict], report.measurements | scalings)


NAME = "imitation-losses"
CLAIM = Claim(
    name=NAME,
    statement="every imitation loss of the class transfers alike; outside it orders and signs are others",
    verify=verify,
    verify_zoo=verify_zoo,
)
