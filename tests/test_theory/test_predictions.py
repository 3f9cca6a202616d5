"""Closed forms against explicit Jacobians, M written by hand and a dense K."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from theory import Problem, losses, networks
from theory.predictions import (
    Units,
    label_response,
    natural_units,
    output_change,
    predicted_displacement,
    transfer_form,
)
from theory.problem import Instance
from theory.runs.programs import COMPILER_OPTIONS
from theory.traits import weight_penalty

NETWORK = networks.mlp((2, 4, 3))
EPSILON = np.finfo(float).eps

sizes = st.floats(-5, 5, allow_subnormal=False)
"""XLA takes numbers below 2.2e-308 for 0."""

outputs = st.lists(sizes, min_size=3, max_size=3).map(np.array)


def problem(loss: losses.ImitationLoss) -> Problem:
    return Problem(
        apply=NETWORK.apply,
        initialize=NETWORK.initialize,
        draw_inputs=partial(jax.random.normal, shape=(5, 2)),
        imitation_loss=loss,
        trait_loss=weight_penalty,
    )


def squared_error_m(teacher: np.ndarray) -> np.ndarray:
    return 2 * np.eye(len(teacher))


def cross_entropy_m(teacher: np.ndarray) -> np.ndarray:
    p = np.exp(teacher) / np.exp(teacher).sum()
    return np.diag(p) - np.outer(p, p)


def auxiliary_m(teacher: np.ndarray) -> np.ndarray:
    m = np.zeros((3, 3))
    m[1:, 1:] = cross_entropy_m(teacher[1:])
    return m


LOSSES = {
    "squared error": (losses.squared_error, squared_error_m),
    "cross-entropy": (losses.cross_entropy, cross_entropy_m),
    "two of three logits": (losses.on_outputs(losses.cross_entropy, (1, 2)), auxiliary_m),
}
RESPONSES = {name: jax.jit(partial(label_response, loss)) for name, (loss, _) in LOSSES.items()}


def predictions(loss: losses.ImitationLoss) -> Callable[..., tuple[Any, jax.Array, Units]]:
    setting = problem(loss)

    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def predict(instance: Instance, v: Any, u: Any) -> tuple[Any, jax.Array, Units]:
        form, units = transfer_form(setting, instance, v, u), natural_units(setting, instance, u)
        return predicted_displacement(setting, instance, u), form, units

    return predict


PREDICTIONS = {name: predictions(loss) for name, (loss, _) in LOSSES.items()}


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def draw(key: jax.Array, shared: jax.Array) -> tuple[Instance, Any, Any]:
    keys = jax.random.split(key, 5)
    teacher, other, v, u = map(NETWORK.initialize, keys[:4])
    student = jax.tree.map(lambda one, two: jnp.where(shared, one, two), teacher, other)
    return Instance(teacher, student, jax.random.normal(keys[4], (5, 2)), keys[4], keys[4]), v, u


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def explicit(params: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    flat, unravel = ravel_pytree(params)

    def apply(flat: jax.Array) -> jax.Array:
        return NETWORK.apply(unravel(flat), inputs)

    return apply(flat), jax.jacobian(apply)(flat)


def flat(tree: Any) -> np.ndarray:
    return np.asarray(ravel_pytree(tree)[0])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared init", "different inits"])
def test_predictions_equal_dense_algebra(name, shared):
    compute, m_of = PREDICTIONS[name], LOSSES[name][1]
    instance, v, u = draw(jax.random.key(0), jnp.array(shared))
    _, student_jacobian = map(np.asarray, explicit(instance.student, instance.inputs))
    labels, teacher_jacobian = map(np.asarray, explicit(instance.teacher, instance.inputs))
    k = np.mean([s.T @ m_of(y) @ t for s, y, t in zip(student_jacobian, labels, teacher_jacobian, strict=True)], axis=0)

    displacement, form, _ = compute(instance, v, u)
    rounding = 100 * EPSILON * np.linalg.norm(k) * np.linalg.norm(flat(u))
    np.testing.assert_allclose(flat(displacement), k @ flat(u), rtol=0, atol=rounding)
    np.testing.assert_allclose(form, flat(v) @ k @ flat(u), rtol=0, atol=rounding * np.linalg.norm(flat(v)))
    if shared:
        assert np.linalg.eigvalsh((k + k.T) / 2).min() >= -100 * EPSILON * np.linalg.norm(k)
        np.testing.assert_allclose(k, k.T, rtol=0, atol=100 * EPSILON * np.linalg.norm(k))
    else:
        assert np.linalg.norm(k - k.T) > 0.1 * np.linalg.norm(k)


@pytest.mark.parametrize("name", LOSSES)
def test_units_move_the_outputs_by_one_and_the_student_all_the_way(name):
    instance, v, u = draw(jax.random.key(2), jnp.array(False))
    labels, jacobian = map(np.asarray, explicit(instance.teacher, instance.inputs))
    changes = jacobian @ flat(u)
    curvature = np.mean([change @ LOSSES[name][1](y) @ change for y, change in zip(labels, changes, strict=True)])
    units = PREDICTIONS[name](instance, v, u)[2]
    assert float(units.teacher_step) * np.sqrt(np.mean(changes**2)) == pytest.approx(1.0)
    assert float(units.learning_rate) * curvature == pytest.approx(flat(u) @ flat(u))
    assert units.visible


@pytest.mark.parametrize("name", LOSSES)
def test_units_are_one_where_the_outputs_do_not_move(name):
    instance, v, u = draw(jax.random.key(2), jnp.array(False))
    units = PREDICTIONS[name](instance, v, jax.tree.map(jnp.zeros_like, u))[2]
    assert (units.teacher_step, units.learning_rate, units.visible) == (1.0, 1.0, False)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_common_shift_of_all_logits_is_visible_to_squared_error_alone(name, size):
    instance, v, u = draw(jax.random.key(2), jnp.array(False))
    still = jax.tree.map(jnp.zeros_like, u)
    shift = still | {"head": still["head"] | {"bias": jnp.full(3, size)}}
    units = PREDICTIONS[name](instance, v, shift)[2]
    assert units.visible == (name == "squared error")
    assert float(units.teacher_step) == pytest.approx(1 / size)
    assert float(units.learning_rate) == pytest.approx(0.5 if units.visible else 1.0)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_a_number_does_not_pass_for_invisible(name):
    instance, v, u = draw(jax.random.key(2), jnp.array(False))
    assert PREDICTIONS[name](instance, v, jax.tree.map(lambda leaf: jnp.nan * leaf, u))[2].visible


def test_change_of_the_outputs_is_the_jacobian_times_the_direction():
    instance, _, u = draw(jax.random.key(1), jnp.array(False))
    outputs, jacobian = explicit(instance.teacher, instance.inputs)
    result = output_change(problem(losses.squared_error), instance.teacher, instance.inputs, u)
    np.testing.assert_allclose(result.outputs, outputs, rtol=100 * EPSILON)
    np.testing.assert_allclose(result.change, np.asarray(jacobian) @ flat(u), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
@given(student=outputs, teacher=outputs, change=outputs)
def test_response_is_m_at_the_teachers_outputs_wherever_the_student_is(name, student, teacher, change):
    expected = LOSSES[name][1](teacher) @ change
    response = RESPONSES[name](student, teacher, change)
    np.testing.assert_allclose(response, expected, rtol=0, atol=20 * EPSILON * np.abs(change).max())


@given(student=outputs, teacher=outputs, size=sizes)
def test_cross_entropy_does_not_answer_a_common_shift_but_squared_error_does(student, teacher, size):
    shift = np.full(3, size)
    response = RESPONSES["cross-entropy"](student, teacher, shift)
    np.testing.assert_allclose(response, 0, atol=20 * EPSILON * abs(size))
    np.testing.assert_array_equal(RESPONSES["squared error"](student, teacher, shift), 2 * shift)
