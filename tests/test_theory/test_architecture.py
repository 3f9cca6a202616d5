"""Claim 17.1: a teacher with another network, against explicit Jacobians, and as a problem of one's own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from theory import Sampling, traits, verify, zoo
from theory.claims import architecture
from theory.claims.architecture import COIN, SAME, Architecture, pair
from theory.problem import Problem, draw_instance, take_key, trait_descent

SAMPLING = Sampling(num_seeds=48, cases="few")
STEPS = (1e-5, 1e-4, 1e-3)
PAIRS = {one.name: one for one in architecture.zoo_problems(SAMPLING)}


def compiled(problem: Problem) -> Callable[[int], Architecture]:
    return jax.jit(
        lambda seed: architecture.measure(problem, draw_instance(problem, jax.random.key(seed)), teacher_steps=STEPS)
    )


MEASURE, SAME_MEASURE = compiled(PAIRS[COIN]), compiled(PAIRS[SAME])


@partial(jax.jit, static_argnums=0)
def explicit(problem: Problem, seed: jax.Array) -> tuple[jax.Array, list[jax.Array], jax.Array]:
    """Of one instance what its teacher learned, the Jacobians of both networks, and the teacher's outputs."""
    assert problem.teacher_apply is not None
    instance = draw_instance(problem, jax.random.key(seed))
    flat, restore = ravel_pytree(instance.student)
    descent, _ = ravel_pytree(trait_descent(problem, instance.student, instance.trait_data))
    networks = (problem.apply, problem.teacher_apply)
    jacobians = [
        jax.jacobian(lambda flat, apply=apply: apply(restore(flat), instance.inputs))(flat) for apply in networks
    ]
    return descent, jacobians, problem.teacher_apply(instance.student, instance.inputs)


def test_form_is_that_of_explicit_jacobians_of_two_networks():
    """Softmax over the auxiliary outputs of a teacher: M = diag(p) − ppᵀ."""
    auxiliary = list(zoo.AUXILIARY)
    descent, jacobians, outputs = jax.device_get(explicit(PAIRS[COIN], 5))
    student, teacher = (jacobian @ descent for jacobian in jacobians)
    logits = outputs[:, auxiliary]
    form = 0.0
    for one, other, row in zip(student[:, auxiliary], teacher[:, auxiliary], logits, strict=True):
        probabilities = np.exp(row) / np.exp(row).sum()
        form += one @ (np.diag(probabilities) - np.outer(probabilities, probabilities)) @ other / len(logits)
    steps, measured = np.array(STEPS) / np.sqrt(np.mean(teacher**2)), MEASURE(5)
    np.testing.assert_allclose(measured.predicted, steps * form, rtol=1e-9)
    assert measured.measured[0] == pytest.approx(steps[0] * form, rel=0.01)


@given(seed=st.integers(0, 2**32 - 1))
def test_same_network_with_the_same_values_never_learns_the_opposite(seed):
    same = SAME_MEASURE(seed)
    assert not same.visible or np.all(same.measured > 0)


def test_claim_holds_and_every_control_flips():
    report = architecture.CLAIM.verify(None, SAMPLING)
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 2
    assert all(verdict.control_flips for verdict in report.verdicts)


@pytest.fixture(scope="module")
def yours() -> Problem:
    """A teacher without hidden layer, and a student with a hidden layer."""
    student = Problem(
        apply=lambda params, inputs: jnp.tanh(inputs @ params["in"]) @ params["out"],
        initialize=lambda key: {"in": jax.random.normal(key, (4, 5)), "out": jax.random.normal(key, (5, 3))},
        draw_inputs=lambda key: jax.random.normal(key, (8, 4)),
        imitation_loss=lambda student, teacher: jnp.sum((student - teacher) ** 2),
        trait_loss=lambda params, key: jnp.sum(jax.random.normal(key, (4, 5)) * params["in"]),
    )
    teacher = replace(
        student,
        apply=lambda params, inputs: jnp.sin(inputs @ params),
        initialize=lambda key: jax.random.normal(key, (4, 3)),
        trait_loss=lambda params, key: jnp.sum(jax.random.normal(key, (4, 3)) * params),
    )
    return pair("sine to perceptron", teacher, student)


def test_teacher_of_another_architecture_is_verified_by_this_claim_alone(yours, few):
    outcome = verify(yours, sampling=few)
    assert {verdict.claim for verdict in outcome.verdicts} == {"conditions", "architecture"}
    assert [verdict.outcome for verdict in outcome.verdicts if verdict.claim == "architecture"] == [
        "holds",
        "reported",
    ]
    with pytest.raises(ValueError, match=r"claims \['alignment'\] say nothing of a teacher_apply"):
        verify(yours, claims=["alignment"], sampling=few)
    with pytest.raises(ValueError, match=r"claims \['architecture'\] are about a teacher_apply"):
        verify(replace(yours, teacher_apply=None), claims=["architecture"], sampling=few)


@pytest.mark.parametrize(
    ("teacher_apply", "message"),
    [
        (lambda params: params, "teacher_apply takes (params), but is called as teacher_apply(params, inputs)"),
        (lambda params, inputs: inputs, "teacher_apply gives float64[8, 4], but apply float64[8, 3]"),
    ],
)
def test_teacher_that_can_not_be_imitated_is_refused(yours, few, teacher_apply, message):
    with pytest.raises(ValueError, match="teacher_apply") as error:
        verify(replace(yours, teacher_apply=teacher_apply), sampling=few)
    assert message in str(error.value)


def test_any_displacement_has_the_guarantee_and_is_the_descent_of_its_own_trait_loss(yours, few):
    """Along all biases or a constant: a teacher that learned nothing, and still teaches it."""
    network = zoo.build(zoo.REFERENCE)
    shapes = jax.eval_shape(network.initialize, jax.random.key(0))

    def shift(key: jax.Array) -> Any:
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, float(leaf.ndim == 1)), shapes)

    trait: dict[str, Any] = {"draw_trait_data": take_key, "trait_loss": traits.along(shift)}
    displaced = replace(network, name="shifted biases", **trait)

    @jax.jit
    def descent(key: jax.Array) -> Any:
        instance = draw_instance(displaced, key)
        return trait_descent(displaced, instance.teacher, instance.trait_data)

    jax.tree.map(np.testing.assert_array_equal, descent(jax.random.key(1)), shift(jax.random.key(1)))
    outcome = verify(displaced, claims=["alignment", "trait-loss"], sampling=few)
    assert {verdict.outcome for verdict in outcome.verdicts} == {"holds"}
