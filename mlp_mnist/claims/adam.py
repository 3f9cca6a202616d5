r"""Claim adam on this rung: Adam's student follows the linearized one that has Adam's memory.

Adam steps on all sampled images, with the protocol's rate times $s$, behind teachers at $\theta^0 + s\,\Delta_T$; what
it adds to its denominators goes with $s$, too. Predicted is Adam on linearized gradients, $-K(\Delta_T - \delta)$, and
beside it what the preconditioner of its first step would give if it were kept.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist.arms import SCALES
from mlp_mnist.predictions import Case, pose
from mlp_mnist.protocol import Protocol
from mlp_mnist.verdicts import JOINT_CONFIDENCE, LEAST_SEEDS, Checks
from theory.claims.adam import ADDED
from theory.problem import Params, imitation_descent, inner_product
from theory.runs.checks import Check, Evidence, Select, every, mean, share
from theory.runs.statistics import fitted_order
from theory.runs.verdicts import Accepted
from theory.tangent_kernel import kernel_product, optimize

STEPS = (1, 3, 10, 30)
"""Numbers of steps."""

YOUNG = slice(0, 3)
"""Scales of the teacher's displacement from which an order is fitted."""

FITTED = slice(1, 3)
"""Numbers of steps at which it is: the first step is the same in both predictions."""

MEASURED = {
    "adam/distance": "norm of the displacement that Adam on linearized gradients predicts, over s, `STEPS`",
    "adam/error": "distance of the trained student from it, over s, `SCALES` by `STEPS`",
    "adam/kept-error": "distance from what the first step's preconditioner would give, kept, likewise",
    "adam/transfer": "transfer fraction of the trained student, likewise",
    "adam/predicted-transfer": "predicted by Adam on linearized gradients, `STEPS`",
    "adam/kept-transfer": "by the first step's preconditioner, kept, `STEPS`",
}
"""What is measured, for each number of auxiliary logits."""


@partial(jax.jit, static_argnames=("protocol",))
def train_by_adam(protocol: Protocol, case: Case) -> tuple[jax.Array, ...]:
    """Run Adam on linearized gradients and on those of the network, as `MEASURED` says."""
    problem, instance = pose(protocol, case)
    product, start, rate = kernel_product(problem, instance), instance.teacher, protocol.rate
    first = jax.tree.map(jnp.abs, product(case.displacement))
    size = sum(leaf.size for leaf in jax.tree.leaves(first))
    added = ADDED * optax.tree.norm(first) / size**0.5
    square = inner_product(case.displacement, case.displacement)

    train = partial(optimize, start=start, times=STEPS)

    def linearized(moved: Params) -> Params:
        return product(optax.tree.sub(case.displacement, moved))

    def kept(moved: Params) -> Params:
        return jax.tree.map(lambda leaf, size: leaf / (size + added), linearized(moved), first)

    def norms(students: Params) -> jax.Array:
        return jax.vmap(optax.tree.norm)(students)

    def transfer(students: Params) -> jax.Array:
        return jax.vmap(inner_product, (0, None))(students, case.displacement) / square

    expected = train(optax.adam(rate, eps=added), linearized)
    frozen = train(optax.sgd(rate), kept)

    def at_scale(scale: jax.Array) -> tuple[jax.Array, ...]:
        labels = problem.apply(optax.tree.scale(scale, case.displacement), instance.inputs)
        optimizer = optax.adam(scale * rate, eps=scale * added)
        students = train(optimizer, lambda moved: imitation_descent(problem, moved, instance.inputs, labels))
        students = optax.tree.scale(1 / scale, students)
        missed = (norms(optax.tree.sub(students, predicted)) for predicted in (expected, frozen))
        return (*missed, transfer(students))

    errors = jax.lax.map(at_scale, jnp.array(SCALES))
    return norms(expected), *errors, transfer(expected), transfer(frozen)


def measure(protocol: Protocol, case: Case) -> dict[str, np.ndarray]:
    """Train Adam's students, and hold them against both predictions."""
    names = (name.removeprefix("adam/") for name in MEASURED)
    return {name: np.asarray(value) for name, value in zip(names, train_by_adam(protocol, case), strict=True)}


def _orders(quantity: str) -> Select:
    """Order in s of a student's distance from a prediction, in units of the parameters."""

    def select(evidence: Evidence) -> list[np.ndarray]:
        errors = np.swapaxes(evidence.cases[f"adam/{quantity}"][:, :, YOUNG, FITTED], 2, 3)
        return [1 + fitted_order(np.array(SCALES[YOUNG]), errors)]

    return select


def _miss(quantity: str, place: int) -> Select:
    """Distance of the trained teacher's student from a prediction, relative to the way predicted."""
    return lambda evidence: [
        np.mean(evidence.cases[f"adam/{quantity}"][:, :, -1, place] / evidence.cases["adam/distance"][..., place], 1)
    ]


BEYOND_LINEAR = Accepted(low=1.2, high=np.inf)
"""A prediction of the linear order leaves a higher one, about 3/2 for a ReLU; a wrong one leaves the linear order,
which a bound of 1 could not tell from it."""

FITTED_IN_WORDS = " and ".join(map(str, STEPS[FITTED]))

CHECKS: tuple[Check, ...] = (
    Check(
        says=f"order in s of ‖θ_S − θ⁰ − sδ_t‖, Adam on linearized gradients, t = {FITTED_IN_WORDS}, "
        f"s = {SCALES[YOUNG][0]} … {SCALES[YOUNG][-1]}, every seed and number",
        predicted="> 1 (2 if smooth)",
        of=_orders("error"),
        by=every,
        accepted=BEYOND_LINEAR,
        control="the first step's preconditioner, kept",
        broken=_orders("kept-error"),
    ),
    *(
        Check(
            says=f"distance from {name}, relative, trained teacher, t = {STEPS[place]}, mean over numbers",
            predicted="no guarantee",
            of=_miss(quantity, place),
            by=mean(3, JOINT_CONFIDENCE),
            least=LEAST_SEEDS,
        )
        for quantity, name, place in (
            ("error", "Adam on linearized gradients", 1),
            ("error", "Adam on linearized gradients", 3),
            ("kept-error", "the first step's P, kept", 1),
        )
    ),
    *(
        Check(
            says=f"share of Adam's students that go against their trained teacher, t = {STEPS[place]}",
            predicted="no guarantee",
            of=lambda evidence, place=place: [np.ravel(evidence.cases["adam/transfer"][:, :, -1, place] < 0)],
            by=share(),
        )
        for place in (0, 3)
    ),
    Check(
        says="share of the protocol's epochs after which its Adam student has gone against its teacher",
        predicted="no guarantee",
        of=lambda evidence: [np.ravel(evidence.cases["student/transfer"][..., 1:] < 0)],
        by=share(),
    ),
)


def checks(numbers: Sequence[int]) -> Checks:
    """The order behind young teachers; reports behind the trained one."""
    del numbers
    return (("adam", check) for check in CHECKS)
