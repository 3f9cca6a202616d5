r"""Claim 5.1: the sign of claim 5's bilinear form is odd in the student's auxiliary head, and so a fair coin.

If the student imitates auxiliary outputs that the trait doesn't use, $B$ is *odd* in the student's auxiliary head:
a head with the opposite sign learns the opposite. A random head whose sign is a fair coin makes the transfer one.

References:
    Derived here: $v$ does not move the auxiliary head, so $J_S v$ is linear in it, while $M$ knows the teacher's
    outputs alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory import zoo
from theory.claim import Claim, Panel, measure_with
from theory.losses import Scalar
from theory.predictions import transfer_form
from theory.problem import Instance, Params, Problem, stack_trees, trait_descent
from theory.runs.checks import FAIR_COIN, LEAST_SEEDS, Check, Evidence, case, every, share
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Accepted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIGNS = "signs: "
"""How the names of the cases begin in a record."""

AUXILIARY = {f"{SIGNS}{label}, auxiliary outputs": label for label in ("tanh", "ReLU")}
"""Cases in which signs are counted, by activation."""

EVERYTHING = f"{SIGNS}ReLU, all outputs, squared error"
"""The case in which the trait's own outputs are imitated too."""

ODD = Accepted(low=-1 - 1e-9, high=-1 + 1e-9)
"""Negating the head negates the form, to rounding (cancellation in the form costs some digits)."""


def share_head_columns(outputs: Sequence[int], teacher: Params, student: Params) -> Params:
    """Give a student the teacher's weights into some outputs, and keep its own everywhere else."""
    columns = jnp.array(outputs)
    kernel = student["head"]["kernel"].at[:, columns].set(teacher["head"]["kernel"][:, columns])
    return student | {"head": student["head"] | {"kernel": kernel}}


def negate_head_columns(outputs: Sequence[int], params: Params) -> Params:
    """Flip the sign of the weights into some outputs."""
    kernel = params["head"]["kernel"].at[:, jnp.array(outputs)].multiply(-1)
    return params | {"head": params["head"] | {"kernel": kernel}}


SHARING: dict[str, Callable[[Params, Params], Params]] = {
    "nothing": lambda teacher, student: student,
    "all but the auxiliary head": lambda teacher, student: share_head_columns(zoo.AUXILIARY, student, teacher),
    "both heads": partial(share_head_columns, (*zoo.CLASSES, *zoo.AUXILIARY)),
    "the class head": partial(share_head_columns, zoo.CLASSES),
    "the auxiliary head": partial(share_head_columns, zoo.AUXILIARY),
    "everything": lambda teacher, student: teacher,
}
"""What the student's init has in common with the teacher's; from the parameters of both, drawn independently."""


class Signs(NamedTuple):
    """The bilinear form for a student as drawn and with its auxiliary head negated, axis `sharing` as in `SHARING`."""

    teacher: Float[Array, " sharing"]
    r"""$B(\Delta_T, \Delta_T)$."""
    own: Float[Array, " sharing"]
    r"""$B(-\nabla L_T(\theta_S^0), \Delta_T)$, the trait in the student's own terms."""
    negated_teacher: Float[Array, " sharing"]
    """The first with the student's auxiliary head negated."""
    negated_own: Float[Array, " sharing"]
    """The second with the student's auxiliary head negated."""


def measure(problem: Problem, strangers: Instance) -> Signs:
    """Evaluate the form of a perceptron's students that share more or less of their init with the teacher."""
    direction = trait_descent(problem, strangers.teacher, strangers.trait_data)

    def forms(student: Params) -> tuple[Scalar, Scalar]:
        instance = strangers._replace(student=student)
        own = trait_descent(problem, student, strangers.trait_data)
        teacher_form = transfer_form(problem, instance, direction, direction)
        return teacher_form, transfer_form(problem, instance, own, direction)

    students = [share_init(strangers.teacher, strangers.student) for share_init in SHARING.values()]
    negated = [negate_head_columns(zoo.AUXILIARY, student) for student in students]
    stacked = stack_trees(*students, *negated)
    teacher, own = jax.vmap(forms)(stacked)
    half = len(SHARING)
    return Signs(teacher[:half], own[:half], teacher[half:], own[half:])


def flipped(one: Signs) -> np.ndarray:
    """The form after negating the head over that before, along both directions."""
    return np.stack([one.negated_teacher / one.teacher, one.negated_own / one.own], axis=1)


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build perceptrons that imitate auxiliary outputs, with few cases tanh alone; and one that imitates all."""
    chosen = list(AUXILIARY.items())[: None if sampling.cases == "all" else 1]
    auxiliary = [zoo.variant(name, activation=label.lower(), imitated=zoo.AUXILIARY) for name, label in chosen]
    return [*auxiliary, zoo.variant(EVERYTHING, activation="relu", loss="squared error")]


def positive(shared: str, along_teacher: bool = False) -> Callable[[Signs], np.ndarray]:
    """Whether the form is positive, in every instance, if so much is shared."""
    column = list(SHARING).index(shared)
    return lambda one: np.asarray(one.teacher if along_teacher else one.own)[:, column] > 0


def checks(evidence: Evidence) -> list[Check]:
    """The oddness, the fair coins, and how often the form is positive where nothing says how often."""
    auxiliary = [name for name in AUXILIARY if name in evidence.cases]
    rate = share(2 * len(auxiliary))
    odd = Check(
        says="B after / before negating the student's auxiliary head, every instance",
        predicted="−1 (odd)",
        of=lambda evidence: [flipped(evidence.cases[name]) for name in auxiliary],
        by=every,
        accepted=ODD,
        control="imitating all outputs",
        broken=case(EVERYTHING, flipped),
    )
    coins = [
        Check(
            says=f"share of positive B: {name.removeprefix(SIGNS)}, {shared} shared",
            predicted="0.5 (fair coin)",
            of=case(name, positive(shared)),
            by=rate,
            accepted=FAIR_COIN,
            control="everything shared",
            broken=case(name, positive("everything")),
            least=LEAST_SEEDS,
        )
        for name in auxiliary
        for shared in ("nothing", "all but the auxiliary head")
    ]
    unguaranteed = [
        *[(name, shared, False) for name in auxiliary for shared in list(SHARING)[2:5]],
        (EVERYTHING, "nothing", False),
        (EVERYTHING, "nothing", True),
    ]
    reported = [
        Check(
            says=f"share of positive B{' along Δ_T' * along_teacher}: {name.removeprefix(SIGNS)}, {shared} shared",
            predicted="no guarantee",
            of=case(name, positive(shared, along_teacher)),
            by=rate,
        )
        for name, shared, along_teacher in unguaranteed
    ]
    return [odd, *coins, *reported]


def draw(axes: "Axes", evidence: Evidence) -> None:
    """How often the transferred part helps the student, by what its init shares with the teacher's."""
    from theory.runs.statistics import joint_confidence, rate_estimate
    from theory.runs.style import BLACK, BLUE, ORANGE, stated

    names = [name for name in AUXILIARY if name in evidence.cases]
    confidence = joint_confidence(2 * len(names))
    for name, offset, color, marker in zip(names, (-0.13, 0.13), (BLUE, ORANGE), ("o", "s"), strict=False):
        rates = np.array([rate_estimate(column > 0, confidence) for column in evidence.cases[name].own.T])
        rows = np.arange(len(SHARING)) + offset
        reach = np.abs(rates[:, 1:] - rates[:, :1]).T
        axes.errorbar(rates[:, 0], rows, xerr=reach, fmt=marker, color=color, capsize=2, label=AUXILIARY[name])
    axes.axvline(0.5, color=BLACK, lw=0.8, ls=":", label="fair coin")
    axes.set_yticks(range(len(SHARING)), list(SHARING))
    axes.set(ylim=(len(SHARING) - 0.5, -0.5), xlim=(0.0, 1.03))
    axes.set(
        xlabel="share of seeds in which what is transferred\nlowers $L_T$ (intervals as judged)",
        ylabel="shared with the teacher",
    )
    axes.set_title(stated("Another auxiliary head: a fair coin", evidence))
    axes.legend(loc="upper right")


CLAIM = Claim(
    number=5.1,
    name="signs",
    statement="another auxiliary head: B is odd in the student's, so that the sign of what arrives is a fair coin",
    measurement=Signs,
    problems=zoo_problems,
    cases=measure_with(measure, shared=False),
    checks=checks,
    panels={"signs": Panel(draw=draw, shows=("own",))},
    any_problem=False,
)
