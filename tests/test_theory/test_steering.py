"""Claim 17: steered activations against a displaced bias, in NumPy, and what the layer's weights do without one."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims import steering
from theory.claims.steering import ACTIVATIONS, RELU, TANH, Steering, along_bias, steer
from theory.problem import draw_instance, own_key

SAMPLING = Sampling(num_seeds=64)
STEPS = (1e-5, 1e-4, 1e-3)
PROBLEMS = {one.name: one for one in steering.zoo_problems(SAMPLING)}
seeds = st.integers(0, 2**32 - 1)


def run(params: Any, inputs: np.ndarray, after: Any = 0.0, before: Any = 0.0) -> tuple[np.ndarray, ...]:
    """Activations and outputs of a tanh network, with vectors added."""
    first, second, head = params["hidden"][0], params["hidden"][1], params["head"]
    one = np.tanh(inputs @ first["kernel"] + first["bias"]) + after
    two = np.tanh(one @ second["kernel"] + second["bias"] + before)
    return one, two, two @ head["kernel"] + head["bias"]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@partial(jax.jit, static_argnames="name")
def measured(name: str, seed: jax.Array) -> tuple[Any, Steering]:
    instance = draw_instance(PROBLEMS[name], jax.random.key(seed))
    return instance, steering.measure(PROBLEMS[name], instance, activate=ACTIVATIONS[name], teacher_steps=STEPS)


@given(seed=seeds, place=st.sampled_from([0, 1]))
def test_vector_on_activations_gives_the_outputs_of_a_moved_bias(seed, place):
    instance = draw_instance(PROBLEMS[TANH], jax.random.key(seed))
    vector = np.random.default_rng(seed).normal(size=16)
    vectors = [vector * (place == 0), vector * (place == 1)]
    along = vector @ instance.teacher["hidden"][1]["kernel"] if place == 0 else vector
    moved = jax.tree.map(jnp.add, instance.teacher, along_bias(instance.teacher, jnp.asarray(along)))
    steered = steer(jnp.tanh, instance.teacher, instance.inputs, *map(jnp.asarray, vectors))
    params, inputs = jax.device_get((instance.teacher, instance.inputs))
    np.testing.assert_allclose(steered, PROBLEMS[TANH].apply(moved, instance.inputs), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(steered, run(params, inputs, *vectors)[2], rtol=1e-12, atol=1e-12)


def test_prediction_and_measurement_are_those_of_ten_lines_of_numpy():
    """Backpropagation by hand through softmax, head and tanh, at the first place."""
    key = jax.random.key(7)
    instance, one = jax.device_get(measured(TANH, jnp.uint32(7)))
    vector_key, others_key = jax.random.split(own_key(key))
    vector, others = (np.asarray(jax.random.normal(vector_key, (16,))), PROBLEMS[TANH].draw_inputs(others_key))
    inputs, params, auxiliary = instance.inputs, instance.teacher, list(zoo.AUXILIARY)
    first, second, outputs = run(params, inputs)
    head, along = params["head"]["kernel"][:, auxiliary], vector @ params["hidden"][1]["kernel"]
    probabilities = softmax(outputs[:, auxiliary])
    change = (along * (1 - second**2)) @ head
    curvature = np.sum(probabilities * change**2, axis=1) - np.sum(probabilities * change, axis=1) ** 2
    average = run(params, np.asarray(others))[0].mean(axis=0)
    step = one.predicted[0, -1] / curvature.mean()
    assert one.predicted[0, 0] == pytest.approx(step * 1e-2 * curvature.mean(), rel=1e-9)
    assert one.weights_predicted[0, -1] == pytest.approx(step * (curvature @ first / 32) @ average, rel=1e-9)
    labels = softmax(run(params, inputs, after=step * vector)[2][:, auxiliary])
    errors = ((labels - probabilities) @ head.T) * (1 - second**2)
    assert one.measured[0, -1] == pytest.approx(errors.mean(axis=0) @ along, rel=1e-9)
    assert one.weights[0, -1] == pytest.approx(average @ (first.T @ errors / 32) @ along, rel=1e-9)


@given(seed=seeds)
def test_bias_moves_along_the_vector_and_rectified_weights_do_too(seed):
    _, one = jax.device_get(measured(RELU, jnp.uint32(seed)))
    if one.visible:
        assert np.all(one.measured[:, 0] > 0)
        assert np.all(one.weights[:, 0] > 0)
        assert np.all(one.weights[:, 0] <= one.largest[:, 0] * (1 + 1e-3))


@pytest.fixture(scope="module")
def report() -> Report:
    return steering.CLAIM.verify(None, SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 5
    assert all(verdict.control_flips for verdict in report.verdicts)


def test_vector_that_is_only_half_as_long_is_noticed(report, judge_again):
    halved = judge_again(steering.CLAIM, SAMPLING, report, lambda one: one._replace(measured=one.measured / 2))
    assert halved[:2] == ["fails", "fails"]
    assert halved[2:] == ["holds"] * 3
