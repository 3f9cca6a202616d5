"""The imitation losses against NumPy, and where their minimum is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import losses, outside_losses
from theory.loss_table import COSINE, INSIDE, POWERS, power_response

EPSILON = np.finfo(float).eps
outputs = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array).filter(lambda y: np.linalg.norm(y) > 0.1)


def cross_entropy(student: np.ndarray, teacher: np.ndarray) -> float:
    p, q = (np.exp(logits) / np.exp(logits).sum() for logits in (teacher, student))
    return -np.sum(p * np.log(q))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return np.sum(p * np.log(p / q))


def jensen_shannon(student: np.ndarray, teacher: np.ndarray) -> float:
    q, p = softmax(student), softmax(teacher)
    return (divergence(p, (p + q) / 2) + divergence(q, (p + q) / 2)) / 2


def sigmoid_cross_entropy(student: np.ndarray, teacher: np.ndarray) -> float:
    p, q = sigmoid(teacher), sigmoid(student)
    return -np.sum(p * np.log(q) + (1 - p) * np.log(1 - q))


def huber(student: np.ndarray, teacher: np.ndarray) -> float:
    error = np.abs(student - teacher)
    return float(np.sum(np.where(error < 1, error**2 / 2, error - 1 / 2)))


def cosine_distance(student: np.ndarray, teacher: np.ndarray) -> float:
    return float(1 - student @ teacher / np.sqrt((student @ student) * (teacher @ teacher)))


WEIGHTS = np.array([0.0, 1.0, 2.5])
REFERENCES = {
    "squared error": (losses.squared_error, lambda z, y: np.sum((z - y) ** 2)),
    "cross-entropy": (losses.cross_entropy, cross_entropy),
    "weighted": (losses.weighted_squared_error(WEIGHTS), lambda z, y: np.sum(WEIGHTS * (z - y) ** 2)),
    "tempered": (
        losses.kl_divergence(2.0, rescaled=False),
        lambda z, y: divergence(softmax(y / 2), softmax(z / 2)),
    ),
    "rescaled": (
        losses.kl_divergence(2.0, rescaled=True),
        lambda z, y: 4 * divergence(softmax(y / 2), softmax(z / 2)),
    ),
    "reverse KL": (losses.reverse_kl_divergence, lambda z, y: divergence(softmax(z), softmax(y))),
    "Jensen-Shannon": (losses.jensen_shannon_divergence, jensen_shannon),
    "sigmoid": (losses.sigmoid_cross_entropy, sigmoid_cross_entropy),
    "softmax error": (losses.probability_error, lambda z, y: np.sum((softmax(z) - softmax(y)) ** 2)),
    "log-cosh": (losses.log_cosh, lambda z, y: np.sum(np.log(np.cosh(z - y)))),
    "Huber": (losses.huber, huber),
    "cosine": (losses.cosine_distance, cosine_distance),
    "absolute": (outside_losses.power(1.0), lambda z, y: np.sum(np.abs(z - y))),
    "power 3/2": (outside_losses.power(1.5), lambda z, y: np.sum(np.abs(z - y) ** 1.5)),
    "quartic": (losses.quartic, lambda z, y: np.sum((z - y) ** 4)),
    "last two of three": (losses.on_outputs(losses.squared_error, (1, 2)), lambda z, y: np.sum((z - y)[1:] ** 2)),
    "stretched": (losses.stretched(losses.squared_error), lambda z, y: np.sum((z - 1.5 * y) ** 2)),
    "shifted": (
        outside_losses.shifted(losses.squared_error, np.array([1.0, -2.0, 0.5])),
        lambda z, y: np.sum((z - y - [1.0, -2.0, 0.5]) ** 2),
    ),
    "smoothed": (
        outside_losses.smoothed_cross_entropy(0.1),
        lambda z, y: -np.sum((0.9 * softmax(y) + 0.1 / 3) * np.log(softmax(z))),
    ),
    "inner product": (outside_losses.negative_inner_product, lambda z, y: -z @ y),
}
ELSEWHERE = ("stretched", "shifted", "smoothed", "inner product")
COMPILED = {name: jax.jit(jax.value_and_grad(loss)) for name, (loss, _) in REFERENCES.items()}


@pytest.mark.parametrize("name", REFERENCES)
@given(student=outputs, teacher=outputs)
@settings(max_examples=30)
def test_loss_equals_its_formula(name, student, teacher):
    value, _ = COMPILED[name](student, teacher)
    np.testing.assert_allclose(value, REFERENCES[name][1](student, teacher), rtol=100 * EPSILON, atol=1e3 * EPSILON)


@pytest.mark.parametrize("name", [name for name in REFERENCES if name not in ELSEWHERE])
@given(student=outputs, teacher=outputs)
@settings(max_examples=30)
def test_no_student_does_better_than_its_teacher(name, student, teacher):
    best, gradient = COMPILED[name](teacher, teacher)
    assert COMPILED[name](student, teacher)[0] >= best - 100 * EPSILON
    np.testing.assert_allclose(gradient, 0, atol=10 * EPSILON)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_losses_with_their_minimum_elsewhere_pull_a_student_away_from_its_teacher(name):
    teacher = np.array([1.0, -2.0, 3.0])
    assert np.linalg.norm(COMPILED[name](teacher, teacher)[1]) > 0.01


@jax.jit
def second_derivatives(teacher: jax.Array) -> dict[str, tuple[jax.Array, jax.Array, jax.Array]]:
    """For each loss -∂²L/∂y∂z and ∂²L/∂z² by automatic differentiation, and M in closed form."""
    units = jnp.eye(len(teacher))
    return {
        name: (
            -jax.jacfwd(jax.grad(loss), argnums=1)(teacher, teacher),
            jax.hessian(loss)(teacher, teacher),
            jax.vmap(response, in_axes=(None, 0), out_axes=1)(teacher, units),
        )
        for name, (loss, response) in (INSIDE | COSINE).items()
    }


@given(teacher=outputs)
@settings(max_examples=30)
def test_closed_form_of_m_is_both_second_derivatives_symmetric_and_positive_semi_definite(teacher):
    for name, (mixed, curvature, closed) in second_derivatives(teacher).items():
        tolerance = {"rtol": 1e-9, "atol": 1e-10 * np.max(np.abs(closed)), "err_msg": name}
        np.testing.assert_allclose(mixed, closed, **tolerance)
        np.testing.assert_allclose(curvature, closed, **tolerance)
        np.testing.assert_allclose(closed, closed.T, **tolerance)
        assert np.linalg.eigvalsh(closed)[0] >= -1e-10 * np.max(np.abs(closed))


@pytest.mark.parametrize("exponent", [1.0, 4.0])
def test_automatic_differentiation_sees_no_curvature_in_powers_though_they_pull(exponent):
    teacher, nearby = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, -0.25, 2.0])
    loss = outside_losses.power(exponent)
    np.testing.assert_array_equal(jax.jacfwd(jax.grad(loss), argnums=1)(teacher, teacher), 0)
    assert np.all(jax.grad(loss)(teacher, teacher + nearby) * nearby < 0)


@pytest.mark.parametrize("name", POWERS)
def test_response_of_a_power_is_its_descent_direction(name):
    teacher, nearby = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, -0.25, 2.0])
    descent = -jax.grad(outside_losses.power(POWERS[name]))(teacher, teacher + nearby)
    np.testing.assert_allclose(descent, power_response(POWERS[name])(teacher, nearby), rtol=1e-12)


@given(student=outputs, teacher=outputs)
@settings(max_examples=30)
def test_cosine_distance_never_pulls_along_the_student(student, teacher):
    gradient = COMPILED["cosine"](student, teacher)[1]
    assert abs(gradient @ student) <= 10 * EPSILON


def test_stretched_loss_has_its_minimum_elsewhere():
    teacher = np.array([1.0, -2.0, 3.0])
    assert COMPILED["stretched"](1.5 * teacher, teacher)[0] < COMPILED["stretched"](teacher, teacher)[0]
