"""Claim 15: the exact alignment of a step behind a teacher that went any distance, and how sure its sign is."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, losses, zoo
from theory.claim import Report
from theory.claims.finite_step import CLAIM
from theory.finite_step import FiniteStep, finite_step, output_divergence
from theory.problem import draw_instance, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
SAMPLING = Sampling(num_seeds=48, cases="few")

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def split(seed: jax.Array, size: jax.Array) -> tuple[FiniteStep, Any]:
    instance = draw_instance(REFERENCE, jax.random.key(seed))
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    displaced = optax.tree.add_scale(instance.teacher, size, direction)
    jacobian = jax.jacobian(REFERENCE.apply)(instance.teacher, instance.inputs)
    before, after = (REFERENCE.apply(params, instance.inputs) for params in (instance.teacher, displaced))
    dense = [jacobian, optax.tree.scale(size, direction), before, after]
    return finite_step(REFERENCE.apply, instance.teacher, displaced, instance.inputs), dense


def flat(tree: Any, start: int) -> np.ndarray:
    return np.concatenate([np.reshape(leaf, (*np.shape(leaf)[:start], -1)) for leaf in jax.tree.leaves(tree)], axis=-1)


@given(seed=seeds, size=st.floats(0.01, 100.0))
def test_alignment_of_any_displacement_is_jeffreys_divergence_less_curvature(seed, size):
    parts, dense = split(jnp.uint32(seed), jnp.array(size))
    jacobian, displacement, before, after = jax.device_get(dense)
    matrix, displacement = flat(jacobian, 2), flat(displacement, 0)
    student, jeffreys, curvature = np.zeros(len(displacement)), 0.0, 0.0
    for rows, old, new in zip(matrix, before, after, strict=True):
        base, taught = (np.exp(logits) / np.exp(logits).sum() for logits in (old, new))
        student += rows.T @ (taught - base) / len(before)
        jeffreys += np.sum(taught * np.log(taught / base) + base * np.log(base / taught)) / len(before)
        curvature += (taught - base) @ (new - old - rows @ displacement) / len(before)
    rounding = 1e-11 * (jeffreys + abs(curvature) + size**2 * 1e-3)
    assert parts.divergence == pytest.approx(jeffreys, abs=rounding)
    assert parts.curvature == pytest.approx(curvature, abs=rounding)
    assert parts.alignment == pytest.approx(student @ displacement, abs=rounding)


def test_a_linear_model_has_no_curvature_and_is_always_sure():
    inputs, initial, displaced = (jax.random.normal(jax.random.key(seed), (4, 4)) for seed in range(3))
    parts = finite_step(lambda weights, inputs: inputs @ weights, initial, 100 * displaced, inputs)
    assert abs(parts.ratio) < 1e-14
    assert parts.alignment > 0


def test_squared_error_has_twice_the_squared_distance():
    before, after = jax.random.normal(jax.random.key(0), (2, 5, 3))
    expected = 2 * np.mean(np.sum((np.asarray(after) - np.asarray(before)) ** 2, axis=-1))
    assert float(output_divergence(before, after, losses.squared_error)) == pytest.approx(expected, rel=1e-13)


CONVEX = (losses.log_cosh, losses.huber, losses.sigmoid_cross_entropy, losses.cross_entropy)


@jax.jit
def divergences(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each convex loss between drawn outputs, and by how much it is above its minimum."""
    before, after = 3 * jax.random.normal(jax.random.key(seed), (2, 5, 3))
    excess = [jnp.mean(jax.vmap(loss)(before, after) - jax.vmap(loss)(after, after)) for loss in CONVEX]
    return jnp.stack([output_divergence(before, after, loss) for loss in CONVEX]), jnp.stack(excess)


@given(seed=seeds)
def test_any_convex_loss_has_a_divergence_above_its_own_excess(seed):
    divergence, excess = divergences(jnp.uint32(seed))
    assert np.all(divergence >= excess - 1e-12)
    assert np.all(excess >= 0)


def test_rows_of_any_shape_count_as_much_as_their_weight():
    before, after = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    weights = jnp.zeros((3, 5)).at[0, 1].set(2.0)
    one = output_divergence(before[0, 1][None], after[0, 1][None])
    assert float(output_divergence(before, after, weights=weights)) == pytest.approx(float(one), rel=1e-13)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE, zoo.variant("squared error", loss="squared error")], SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 3 + ["reported"]


def test_a_loss_of_no_bregman_form_is_not_held_to_it():
    verdicts = CLAIM.verify([replace(REFERENCE, name="log-cosh", imitation_loss=losses.log_cosh)], SAMPLING).verdicts
    assert not any("least values" in verdict.check for verdict in verdicts)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda case: {"curvature": 1.001 * case.curvature}, [0]),
        (lambda case: {"symmetrized": case.symmetrized / 2}, [1]),
        (lambda case: {"measured": -case.measured}, [0, 2]),
        (lambda case: {"curvature": case.curvature / 3}, [0, 2]),
    ],
)
def test_claim_fails_for_a_wrong_term(change, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
