"""The imitation losses against NumPy, and where their minimum is."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import losses

EPSILON = np.finfo(float).eps
outputs = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


def cross_entropy(student: np.ndarray, teacher: np.ndarray) -> float:
    p, q = (np.exp(logits) / np.exp(logits).sum() for logits in (teacher, student))
    return -np.sum(p * np.log(q))


REFERENCES = {
    "squared error": (losses.squared_error, lambda z, y: np.sum((z - y) ** 2)),
    "cross-entropy": (losses.cross_entropy, cross_entropy),
    "quartic": (losses.quartic, lambda z, y: np.sum((z - y) ** 4)),
    "last two of three": (losses.on_outputs(losses.squared_error, (1, 2)), lambda z, y: np.sum((z - y)[1:] ** 2)),
    "stretched": (losses.stretched(losses.squared_error), lambda z, y: np.sum((z - 1.5 * y) ** 2)),
}
COMPILED = {name: jax.jit(jax.value_and_grad(loss)) for name, (loss, _) in REFERENCES.items()}


@pytest.mark.parametrize("name", REFERENCES)
@given(student=outputs, teacher=outputs)
def test_loss_equals_its_formula(name, student, teacher):
    value, _ = COMPILED[name](student, teacher)
    np.testing.assert_allclose(value, REFERENCES[name][1](student, teacher), rtol=100 * EPSILON, atol=100 * EPSILON)


@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "stretched"])
@given(student=outputs, teacher=outputs)
def test_no_student_does_better_than_its_teacher(name, student, teacher):
    best, gradient = COMPILED[name](teacher, teacher)
    assert COMPILED[name](student, teacher)[0] >= best - 100 * EPSILON
    np.testing.assert_allclose(gradient, 0, atol=10 * EPSILON)


def test_stretched_loss_has_its_minimum_elsewhere():
    teacher = np.array([1.0, -2.0, 3.0])
    assert COMPILED["stretched"](1.5 * teacher, teacher)[0] < COMPILED["stretched"](teacher, teacher)[0]
