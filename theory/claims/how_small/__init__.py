r"""How small is sufficiently small? Theorem 1's open question, answered to second order and by a bound.

The student's step changes the teacher's trait loss by

$$g(\epsilon) = L_T(\theta^0 + \alpha\,\Delta_S(\epsilon)) - L_T(\theta^0)
= -\epsilon\,\alpha A + \tfrac12 c\,\epsilon^2 + O(\epsilon^3), \qquad
c = -\alpha\,\Delta_T\cdot\Delta_S''(0) + \alpha^2 (K\Delta_T)^\top H (K\Delta_T),$$

so for $c > 0$ the decrease ends near $\epsilon^* = 2\alpha A/c$. That is right within a few percent only where $g$ is
nearly a parabola on the way. What holds for every instance is Taylor's theorem: with
$t = |\epsilon^*| \max|g'''| / 3|c|$,

$$g(\epsilon) < 0 \text{ for } 0 < \epsilon < \frac{2\,|\epsilon^*|}{\operatorname{sign} c + \sqrt{1 + 4t}}, \qquad
\epsilon_\text{end} \le \frac{2\,\epsilon^*}{1 + \sqrt{1 - 4t}} \text{ if } c > 0,\ t \le \tfrac14.$$

The largest $|g'''|$ is an estimate: two polynomials must agree about it, on an interval that is halved until they do
(see `theory.line`). Where they never do, nothing is said of the instance but that.

References: derived here; see `theory.curvature`.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from theory import zoo
from theory.claims.evidence import LEAST_SEEDS, Claim, Report, count
from theory.claims.how_small.ends import measure_ends
from theory.claims.how_small.expansions import STEPS, Expansions, curved, is_parabola, measure, remainder
from theory.claims.how_small.verdicts import judge_bound, judge_foretold, judge_limits
from theory.problem import Problem
from theory.runs.statistics import Estimate, fitted_order, hull, joint_confidence, median_estimate, range_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted, Verdict

THIRD_ORDER = Accepted(low=2.95, high=3.05)
"""A remainder of third order, as fitted."""

EXACT = Accepted(low=0.0, high=1e-10)
"""Two ways to the same derivative agree to rounding."""

CONTROL = "control: another init"


def derivative_errors(results: Sequence[Expansions]) -> Estimate:
    """Compare closed-form and simulated derivatives, each relative to the size of its terms.

    Args:
        results: One for each case.

    Returns:
        Median and whole range over instances, step sizes and both derivatives.
    """
    errors = []
    for one in results:
        first, second, size = (np.asarray(part)[curved(one)] for part in (one.first, one.second, one.size))
        simulated_first, simulated_second = one.simulated_first[curved(one)], one.simulated_second[curved(one)]
        errors += [np.abs(simulated_first / first - 1).ravel(), np.abs((simulated_second - second) / size).ravel()]
    return range_estimate(np.concatenate(errors))


def remainder_orders(results: Sequence[Expansions]) -> Estimate:
    """Fit the order of what the expansion leaves, median over instances, and keep the worst case.

    Args:
        results: One for each case.

    Returns:
        The order farthest from 3 with the hull of all cases' intervals, jointly at the level `CONFIDENCE`.
    """
    columns = []
    for one in results:
        columns += list(fitted_order(STEPS, remainder(one)[curved(one)]).T)
    confidence = joint_confidence(max(1, len(columns)))
    return hull([median_estimate(column, confidence) for column in columns], predicted=3.0)


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the expansion, where the decrease ends, and two limits.

    Args:
        problems: The cases; the first also serves for the control.
        sampling: Instances and the student's step sizes.

    Returns:
        The report.
    """
    return verify_parts(problems, problems, sampling)


def verify_parts(expanded: Sequence[Problem], ended: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the expansion for some problems and the ends of the decrease for others.

    Args:
        expanded: Cases of the expansion; the first also serves for the control.
        ended: Cases in which ends are sought, at the price of hundreds of simulated steps an instance.
        sampling: Instances and the student's step sizes.

    Returns:
        The report.
    """
    rates = sampling.learning_rates
    results = sampling.sweep_all(
        {f"{problem.name}{ENDS}": partial(measure_ends, problem, learning_rates=rates) for problem in ended}
        | {problem.name: partial(measure, problem, learning_rates=rates) for problem in expanded}
        | {CONTROL: partial(measure, expanded[0], learning_rates=rates, shared=False)},
        NAME,
    )
    ends = {problem.name: results[f"{problem.name}{ENDS}"] for problem in ended}
    cases = [results[problem.name] for problem in expanded]
    enough = [case for case in cases if curved(case).sum() >= LEAST_SEEDS and not is_parabola(case)]
    verdicts = [
        Verdict(
            claim=NAME,
            check=f"error of −αA and c against derivatives at 0 by forward mode through the steps, {count(cases)}",
            predicted="0 (rounding)",
            measured=derivative_errors(cases),
            accepted=EXACT,
            control="student from another init",
            control_measured=derivative_errors([results[CONTROL]]),
            instances=sum(int(curved(case).sum()) for case in cases),
        )
    ]
    if enough:
        order = Verdict(
            claim=NAME,
            check=f"order of g + εαA − ½cε², worst of {count(enough)} × α = {', '.join(f'{rate:g}' for rate in rates)}",
            predicted="3.00",
            measured=remainder_orders(enough),
            accepted=THIRD_ORDER,
            control="student from another init",
            control_measured=remainder_orders([results[CONTROL]]),
            instances=sum(int(curved(case).sum()) for case in enough),
        )
        verdicts.append(order)
    verdicts += judge_bound(NAME, ends) + judge_limits(NAME, ends, rates) + judge_foretold(NAME, ends, rates)
    return Report(verdicts, results)


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the expansion on the reference case and those farthest from it, the ends on perceptrons.

    Args:
        sampling: Instances and the student's step sizes.

    Returns:
        The report.
    """
    regression = zoo.variant("regression trait", trait="regression")
    ended = [zoo.build(zoo.REFERENCE), *([regression] if sampling.cases == "all" else [])]
    return verify_parts(zoo.spread(sampling), ended, sampling)


NAME = "how-small"
ENDS = "; ends"
CLAIM = Claim(
    name=NAME,
    statement="the decrease of the trait loss ends near ε* = 2αA/c, and not before a step that a bound of g‴ gives",
    verify=verify,
    verify_zoo=verify_zoo,
)
