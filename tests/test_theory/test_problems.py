"""Random instances, the simulated steps against closed forms, and sharing an init in part."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from theory import zoo
from theory.problems import draw_instance, imitation_descent, inner_product, student_displacement, trait_descent
from theory.sharing import SHARING, negate_head_columns

LINEAR = zoo.variant("linear, squared error", hidden=(), loss="squared error")
KEY = jax.random.key(4)


def same(left: Any, right: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(left), jax.tree.leaves(right)))


def test_only_the_students_init_depends_on_sharing():
    shared, apart = draw_instance(LINEAR, KEY), draw_instance(LINEAR, KEY, shared=False)
    assert same(shared.student, shared.teacher)
    assert same((shared.teacher, shared.inputs), (apart.teacher, apart.inputs))
    assert shared.trait_key == apart.trait_key
    assert not np.any(apart.student["head"]["kernel"] == apart.teacher["head"]["kernel"])


def test_student_displacement_equals_a_linear_model_s_gradient_by_hand():
    instance = draw_instance(LINEAR, KEY, shared=False)
    direction = trait_descent(LINEAR, instance.teacher, instance.trait_key)
    moved = student_displacement(LINEAR, instance, direction, jnp.array(0.3))
    inputs = np.asarray(instance.inputs)
    kernels = [params["head"]["kernel"] for params in (instance.student, instance.teacher, direction)]
    student, teacher, step = map(np.asarray, kernels)
    shift = 0.3 * np.asarray(direction["head"]["bias"])
    gap = inputs @ (teacher + 0.3 * step - student) + shift
    np.testing.assert_allclose(moved["head"]["kernel"], 2 * inputs.T @ gap / len(inputs), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(moved["head"]["bias"], 2 * gap.mean(axis=0), rtol=1e-12, atol=1e-13)


def test_trait_loss_falls_along_its_descent_by_the_square_of_its_length():
    instance = draw_instance(LINEAR, KEY)
    downhill = trait_descent(LINEAR, instance.teacher, instance.trait_key)

    def loss(step: float) -> float:
        params = jax.tree.map(lambda leaf, change: leaf + step * change, instance.teacher, downhill)
        return float(LINEAR.trait_loss(params, instance.trait_key))

    assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx(-float(inner_product(downhill, downhill)), rel=1e-6)


def test_imitation_averages_over_examples():
    instance = draw_instance(LINEAR, KEY, shared=False)
    labels = LINEAR.apply(instance.teacher, instance.inputs)
    once = imitation_descent(LINEAR, instance.student, instance.inputs, labels)
    twice = imitation_descent(LINEAR, instance.student, jnp.tile(instance.inputs, (2, 1)), jnp.tile(labels, (2, 1)))
    np.testing.assert_allclose(ravel_pytree(once)[0], ravel_pytree(twice)[0], rtol=1e-12, atol=1e-13)


def test_inner_product_sums_over_all_entries():
    left, right = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}, {"a": jnp.ones(3), "b": jnp.full((2, 2), 2.0)}
    assert inner_product(left, right) == 3 + 8


@pytest.mark.parametrize(
    ("name", "body", "classes", "auxiliary"),
    [
        ("nothing", False, False, False),
        ("all but the auxiliary head", True, True, False),
        ("both heads", False, True, True),
        ("the class head", False, True, False),
        ("the auxiliary head", False, False, True),
        ("everything", True, True, True),
    ],
)
def test_student_shares_what_its_name_says_and_nothing_else(name, body, classes, auxiliary):
    drawn = draw_instance(zoo.build(zoo.REFERENCE), KEY, shared=False)
    student = SHARING[name](drawn.teacher, drawn.student)
    equal = student["head"]["kernel"] == drawn.teacher["head"]["kernel"]
    own = student["head"]["kernel"] == drawn.student["head"]["kernel"]
    for columns, shared in [(zoo.CLASSES, classes), (zoo.AUXILIARY, auxiliary)]:
        assert np.all((equal if shared else own)[:, list(columns)])
        assert not np.any((own if shared else equal)[:, list(columns)])
    assert same(student["hidden"], (drawn.teacher if body else drawn.student)["hidden"])


def test_negating_twice_changes_nothing_and_once_the_chosen_columns_alone():
    params = draw_instance(LINEAR, KEY).teacher
    once = negate_head_columns(zoo.AUXILIARY, params)
    assert same(negate_head_columns(zoo.AUXILIARY, once), params)
    np.testing.assert_array_equal(once["head"]["kernel"][:, :3], params["head"]["kernel"][:, :3])
    np.testing.assert_array_equal(once["head"]["kernel"][:, 3:], -params["head"]["kernel"][:, 3:])
