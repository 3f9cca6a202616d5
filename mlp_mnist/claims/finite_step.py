r"""Claim finite-step on this rung: is a trained teacher inside the radius in which a first step leads towards it?

The student's first step of imitation $\Delta_S$, all sampled images in one batch, behind a teacher displaced by
$D = s\,\Delta_T$ has exactly

$$\Delta_S\cdot D = \mathbb{E}[\mathrm{KL}(p_T\|p_0) + \mathrm{KL}(p_0\|p_T)] - \mathbb{E}[(p_T - p_0)\cdot r],
\qquad r = f_T - f_0 - JD,$$

over the auxiliary logits. Divergence, curvature and step are computed in float64, for a network of float32's
parameters; the step in float32 too, to see its rounding.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist.arms import SCALES, Results
from mlp_mnist.predictions import Case, pose
from mlp_mnist.protocol import Protocol
from mlp_mnist.verdicts import Checks
from theory.finite_step import finite_step
from theory.problem import Params, imitation_descent, inner_product
from theory.runs.checks import VANISHING, Check, Evidence, Select, every
from theory.runs.verdicts import Accepted

MEASURED = {
    "finite-step/divergence": "symmetrized divergence of teacher and init over the auxiliary logits, `SCALES`",
    "finite-step/curvature": "what the network's curvature takes from it, likewise",
    "finite-step/step": "inner product of the student's first gradient step with the teacher's displacement, likewise",
    "finite-step/stranger-step": "the same for a student from another seed's init",
    "finite-step/rounded-step": "the student's, in float32",
}
"""What is measured, for each number of auxiliary logits."""

FLOAT32 = float(np.finfo(np.float32).eps)


@partial(jax.jit, static_argnames=("protocol",))
def split_steps(protocol: Protocol, case: Case, stranger: Params) -> tuple[jax.Array, ...]:
    """Compute divergence, curvature, the student's step and a stranger's for teachers of all ages, `(scales,)` each."""
    problem, instance = pose(protocol, case)

    def at_scale(scale: jax.Array) -> tuple[jax.Array, ...]:
        moved = optax.tree.scale(scale, case.displacement)
        split = finite_step(problem.apply, instance.teacher, moved, instance.inputs, problem.imitation_loss)
        labels = problem.apply(moved, instance.inputs)
        steps = (imitation_descent(problem, start, instance.inputs, labels) for start in (instance.teacher, stranger))
        return (*split, *(inner_product(step, moved) for step in steps))

    return jax.lax.map(at_scale, jnp.array(SCALES))


def measure(protocol: Protocol, case: Case, stranger: Params) -> dict[str, np.ndarray]:
    """Split the first step's alignment; a stranger is told by its init's displacement from the case's."""
    rounded = split_steps(protocol, case, stranger)[2]
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(float), (case.init, case.displacement, stranger))
        exact = split_steps(protocol, case._replace(init=wide[0], displacement=wide[1]), wide[2])
    names = (name.removeprefix("finite-step/") for name in MEASURED)
    return {name: np.asarray(value) for name, value in zip(names, (*exact, rounded), strict=True)}


def left(cases: Results, step: str) -> np.ndarray:
    """What is left of a step's alignment, relative to divergence and curvature."""
    divergence, curvature, measured = (cases[f"finite-step/{name}"] for name in ("divergence", "curvature", step))
    return np.abs(measured - divergence + curvature) / (np.abs(divergence) + np.abs(curvature))


def _left(step: str) -> Select:
    return lambda evidence: [left(evidence.cases, step)]


def _rounding(evidence: Evidence) -> list[np.ndarray]:
    """Rounding of a float32 step, in units of that of outputs which move by a share `SCALES`."""
    return [left(evidence.cases, "rounded-step") * np.array(SCALES) / FLOAT32]


def ratio(cases: Results) -> np.ndarray:
    """Curvature over divergence: within ±1 the step leads towards the teacher for sure."""
    return cases["finite-step/curvature"] / cases["finite-step/divergence"]


RANGE = f"s = {SCALES[0]:g} … {SCALES[-1]:g}"


def checks(numbers: Sequence[int]) -> Checks:
    """The identity, and whether trained teachers are inside the radius, for each number of auxiliary logits."""
    yield (
        "finite-step",
        Check(
            says=f"size of Δ_S·D − divergence + curvature, relative, float64, D = sΔ_T, {RANGE}, every seed and number",
            predicted="0 (rounding)",
            of=_left("step"),
            by=every,
            accepted=Accepted(low=0.0, high=VANISHING),
            control="student from another seed's init",
            broken=_left("stranger-step"),
        ),
    )
    yield (
        "finite-step",
        Check(
            says=f"the same of the student's float32 step, in units of float32's ε/s, {RANGE}",
            predicted="rounding",
            of=_rounding,
            by=every,
        ),
    )
    for place, number in enumerate(numbers):
        yield (
            "finite-step",
            Check(
                says=f"curvature over divergence, trained teacher (s = 1), {number} auxiliary logits, every seed",
                predicted="within ±1: towards the teacher for sure",
                of=lambda evidence, place=place: [ratio(evidence.cases)[:, place, -1]],
                by=every,
            ),
        )
