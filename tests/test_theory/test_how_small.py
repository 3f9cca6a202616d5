"""Claim 2.5: the second derivative against simulation and dense algebra, and the third order of what it leaves."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy import special

from theory import Problem, Sampling, zoo
from theory.claim import Report
from theory.claims import how_small
from theory.curvature import expand
from theory.problem import draw_instance, student_displacement, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("small", hidden=(8,))
SQUARED = zoo.variant("squared error, one hidden layer", loss="squared error", hidden=(4,))
CROSS_ENTROPY = zoo.variant("cross-entropy, one hidden layer", hidden=(4,))
SAMPLING = Sampling(num_seeds=64)

seeds = st.integers(0, 2**32 - 1)


class Curved(NamedTuple):
    predicted: Any
    simulated: Any
    size: Any


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def curve(seed: jax.Array, learning_rate: jax.Array) -> Curved:
    """Second derivative of the change in closed form, and by forward mode twice through both steps."""
    instance = draw_instance(REFERENCE, jax.random.key(seed))
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)

    def slope(teacher_step: jax.Array) -> jax.Array:
        def change(step: jax.Array) -> jax.Array:
            displacement = student_displacement(REFERENCE, instance, direction, step)
            student = optax.tree.add_scale(instance.student, learning_rate, displacement)
            return REFERENCE.trait_loss(student, instance.trait_data)

        return jax.jvp(change, (teacher_step,), (1.0,))[1]

    expansion = expand(REFERENCE, instance, direction)
    simulated = jax.jvp(slope, (0.0,), (1.0,))[1]
    return Curved(expansion.second_derivative(learning_rate), simulated, expansion.size(learning_rate))


@pytest.fixture(scope="module")
def report() -> Report:
    return how_small.CLAIM.verify([REFERENCE], SAMPLING)


@given(seed=seeds, rate=st.floats(0.01, 10))
def test_second_derivative_through_the_simulated_steps_is_the_closed_form(seed, rate):
    curved = curve(jnp.uint32(seed), jnp.array(rate))
    assert abs(float(curved.predicted - curved.simulated)) <= 1e-10 * float(curved.size)


class Dense(NamedTuple):
    expansion: Any
    along: Any
    jacobian: Any
    hessian: Any
    outputs: Any


def expand_densely(problem: Problem, seed: int) -> tuple[Dense, np.ndarray]:
    """Jacobian and Hessian as full arrays, and the bend of the outputs by finite differences."""
    shift = 1e-3

    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def compute(key: jax.Array) -> Dense:
        instance = draw_instance(problem, key)
        flat, restore = ravel_pytree(instance.teacher)
        direction = trait_descent(problem, instance.teacher, instance.trait_data)
        along = ravel_pytree(direction)[0]

        def outputs(theta: jax.Array) -> jax.Array:
            return problem.apply(restore(theta), instance.inputs)

        def trait(theta: jax.Array) -> jax.Array:
            return problem.trait_loss(restore(theta), instance.trait_data)

        path = jax.vmap(lambda step: outputs(flat + step * along))(jnp.array([-shift, 0.0, shift]))
        expansion = expand(problem, instance, direction)
        return Dense(expansion, along, jax.jacobian(outputs)(flat), jax.hessian(trait)(flat), path)

    dense = jax.device_get(compute(jax.random.key(seed)))
    before, start, after = dense.outputs
    return dense._replace(outputs=start), (after - 2 * start + before) / shift**2


def test_expansion_under_squared_error_is_what_dense_algebra_gives():
    (expansion, along, jacobian, hessian, _), bend = expand_densely(SQUARED, 0)
    change = jacobian @ along
    imitation = np.einsum("bop,bo->p", jacobian, 2 * change) / len(change)
    np.testing.assert_allclose(expansion.transfer, along @ imitation, rtol=1e-10)
    np.testing.assert_allclose(expansion.climb, imitation @ hessian @ imitation, rtol=1e-10)
    np.testing.assert_allclose(expansion.bending, np.mean(np.sum(2 * change * bend, axis=1)), rtol=1e-4)


def test_expansion_under_cross_entropy_is_a_third_cumulant_and_a_covariance():
    (expansion, along, jacobian, _, outputs), bend = expand_densely(CROSS_ENTROPY, 1)
    change, probabilities = jacobian @ along, special.softmax(outputs, axis=1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.sum(probabilities * values, axis=1, keepdims=True)

    centered = change - mean(change)
    cumulant, covariance = mean(centered**3), mean(centered * bend)
    np.testing.assert_allclose(expansion.bending, np.mean(cumulant + covariance), rtol=1e-4)


def test_expansion_of_a_linear_model_under_squared_error_does_not_bend():
    (expansion, along, jacobian, _, _), _ = expand_densely(zoo.variant("linear", hidden=(), loss="squared error"), 0)
    assert float(expansion.bending) == 0.0
    np.testing.assert_allclose(expansion.transfer, 2 * np.mean(np.sum((jacobian @ along) ** 2, axis=1)))


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 2


MUTATIONS = {
    "half the second derivative": lambda one: one._replace(second=one.second / 2),
    "another sign of the bending": lambda one: one._replace(second=one.size),
    "twice the transfer": lambda one: one._replace(first=2 * one.first),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_expansion_fails_for_a_wrong_factor_or_sign(mutation, report, judge_again):
    assert judge_again(how_small.CLAIM, SAMPLING, report, MUTATIONS[mutation]) == ["fails", "fails"]


def test_claim_says_nothing_of_what_imitation_can_not_see(report, judge_again):
    def invisible(result: how_small.Expansions) -> how_small.Expansions:
        return result._replace(visible=np.zeros(64, bool))

    assert judge_again(how_small.CLAIM, SAMPLING, report, invisible) == ["reported"]


def test_control_of_which_imitation_sees_nothing_does_not_flip(report, judge_again):
    def judge(seen: bool) -> list[str]:
        first = report.measurements["small"]
        blind = first._replace(visible=np.zeros(64, bool))
        cases = {"first": blind, "second": first if seen else blind, "control: another init": blind}
        return judge_again(how_small.CLAIM, SAMPLING, report._replace(measurements=cases), lambda result: result)

    assert judge(seen=True) == ["fails", "fails"]
    assert judge(seen=False) == ["reported"]


def test_order_is_not_judged_where_the_change_is_a_line_or_a_parabola():
    traits = ("random direction", "weight penalty")
    linear = [zoo.variant(f"linear, {trait}", hidden=(), loss="squared error", trait=trait) for trait in traits]
    report = how_small.CLAIM.verify(linear[::-1], Sampling(num_seeds=32, learning_rates=(0.3,)))
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"]
