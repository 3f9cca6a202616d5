"""Claim 5.3: moments of a random head by drawing it, steps by explicit Jacobians, and heads that aren't shared."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from theory import Sampling
from theory.claim import Report
from theory.claims import shared_heads
from theory.claims.shared_heads import ACTIVATIONS, BOTH, NUM_READ, NUMBERS, UNITS, features, pose
from theory.problem import Instance, draw_instance, own_key, trait_descent

SAMPLING = Sampling(num_seeds=64, cases="few")
TANH = pose("tanh")


def represent(body: Any, inputs: jax.Array) -> jax.Array:
    return features(ACTIVATIONS["tanh"], body, inputs)


@jax.jit
def drawn(key: jax.Array) -> tuple[Instance, jax.Array, Any]:
    """An instance, the inputs on which classes are read, and what the teacher learned."""
    instance = draw_instance(TANH, key, shared=False)
    others = TANH.draw_inputs(own_key(key))[:NUM_READ]
    return instance, others, trait_descent(TANH, instance.teacher, instance.trait_data)


@jax.jit
def jacobian(body: Any, inputs: jax.Array) -> jax.Array:
    """Features by inputs and parameters of the body."""
    flat, restore = ravel_pytree(body)
    return jax.jacobian(lambda flat: represent(restore(flat), inputs))(flat)


@pytest.fixture(scope="module")
def measured() -> Any:
    @jax.jit
    def measure(key: jax.Array) -> Any:
        return shared_heads.measure(TANH, draw_instance(TANH, key, shared=False), teacher_step=1e-5)

    return jax.device_get(measure(jax.random.key(11)))


@pytest.fixture(scope="module")
def dense() -> dict[str, Any]:
    """One instance, with T as explicit Jacobians give it."""
    instance, others, descent = jax.device_get(drawn(jax.random.key(11)))
    moved = np.asarray(ravel_pytree(descent["body"])[0])
    classes = np.asarray(instance.teacher["classes"])
    change = np.asarray(jacobian(instance.teacher["body"], instance.inputs)) @ moved
    own = (np.asarray(jacobian(instance.teacher["body"], others)) @ moved) @ classes
    taught, read = (np.asarray(jacobian(instance.student["body"], inputs)) for inputs in (instance.inputs, others))
    slopes = np.einsum("xip,ic->xcp", read, classes).reshape(NUM_READ * 3, -1)
    transfer = 2 * np.einsum("bip,kp,bj->kij", taught, slopes, change, optimize=True) / len(instance.inputs)
    heads = np.asarray(instance.teacher["auxiliary"])
    return {"transfer": transfer, "own": own.ravel(), "heads": heads}


def test_simulated_steps_are_those_of_explicit_jacobians(dense, measured):
    transfer, imitated = dense["transfer"], np.trace(dense["transfer"], axis1=1, axis2=2)
    assert float(measured.limit) == pytest.approx(
        imitated @ dense["own"] / np.linalg.norm(imitated) / np.linalg.norm(dense["own"]), rel=1e-9
    )
    for place, number in enumerate(NUMBERS):
        head = dense["heads"][:, :number]
        learned = np.einsum("kij,im,jm->k", transfer, head, head, optimize=True) * UNITS / number
        assert measured.coefficient[BOTH, place] == pytest.approx(learned @ imitated / (imitated @ imitated), abs=1e-3)
        assert measured.square[BOTH, place] == pytest.approx(learned @ learned / (imitated @ imitated), rel=1e-3)


def test_mean_and_square_over_heads_are_those_of_a_wishart_matrix(dense, measured):
    """Heads drawn anew 20,000 times, everything else the same."""
    transfer, number = dense["transfer"], 4
    heads = np.random.default_rng(0).normal(size=(20_000, UNITS, number)) / np.sqrt(UNITS)
    gram = np.einsum("sim,sjm->sij", heads, heads).reshape(len(heads), -1)
    learned = gram @ transfer.reshape(len(transfer), -1).T * UNITS / number
    imitated = np.trace(transfer, axis1=1, axis2=2)
    coefficients = learned @ imitated / (imitated @ imitated)
    squares = np.sum(learned**2, axis=1) / (imitated @ imitated)
    errors = [np.std(values) / np.sqrt(len(heads)) for values in (coefficients, squares)]
    assert coefficients.mean() == pytest.approx(1, abs=4 * errors[0])
    assert squares.mean() == pytest.approx(1 + float(measured.spread) / number, abs=4 * errors[1])


def test_spread_of_a_change_that_knows_nothing_of_the_head_is_about_the_number_of_features():
    """One input, a linear body: T is an outer product, and its spread 1 + |V|²|δ|²/|Vδ|²."""
    random = np.random.default_rng(1)
    head, change = random.normal(size=(UNITS, 3)), random.normal(size=UNITS)
    body = [jnp.eye(UNITS)]
    inputs = jnp.ones((1, UNITS))
    transfer = shared_heads.tangent_transfer(
        lambda body: jnp.ravel(features(lambda value: value, body, inputs) @ jnp.asarray(head)),
        lambda body: features(lambda value: value, body, inputs),
        body,
        jnp.asarray(change)[None],
    )
    symmetric, imitated = (transfer + transfer.swapaxes(1, 2)) / 2, jnp.trace(transfer, axis1=1, axis2=2)
    spread = 2 * float(jnp.sum(symmetric**2) / jnp.sum(imitated**2))
    expected = 1 + np.sum(head**2) * np.sum(change**2) / np.sum((change @ head) ** 2)
    assert spread == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(imitated, 2 * UNITS * change @ head, rtol=1e-9)


@pytest.fixture(scope="module")
def report() -> Report:
    return shared_heads.CLAIM.verify(None, SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 3 + ["reported"]
    assert all(verdict.control_flips for verdict in report.verdicts[:3])


def test_lesson_that_is_twice_as_large_is_noticed(report, judge_again):
    def doubled(one: shared_heads.SharedHeads) -> shared_heads.SharedHeads:
        return one._replace(coefficient=2 * one.coefficient, square=4 * one.square)

    assert judge_again(shared_heads.CLAIM, SAMPLING, report, doubled) == ["fails"] * 3 + ["reported"]
