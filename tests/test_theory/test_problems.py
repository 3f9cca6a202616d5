"""Random instances, the simulated steps against closed forms, and sharing an init in part."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from theory import zoo
from theory.claims.signs import SHARING, negate_head_columns
from theory.problem import (
    Instance,
    draw_instance,
    imitation_descent,
    inner_product,
    student_displacement,
    trait_descent,
    trait_key,
)

LINEAR = zoo.variant("linear, squared error", hidden=(), loss="squared error")
REFERENCE = zoo.build(zoo.REFERENCE)
KEY = jax.random.key(4)


class Simulated(NamedTuple):
    shared: Instance
    apart: Instance
    direction: Any
    moved: Any
    losses: jax.Array
    once: Any
    twice: Any


@pytest.fixture(scope="module")
def linear() -> Simulated:
    """Both steps of a linear model, its trait loss around its init, and imitation of every example once and twice."""

    @jax.jit
    def simulate(key: jax.Array) -> Simulated:
        shared, apart = (draw_instance(LINEAR, key, shared=shared) for shared in (True, False))
        direction = trait_descent(LINEAR, apart.teacher, apart.trait_data)
        moved = student_displacement(LINEAR, apart, direction, jnp.array(0.3))
        around = [optax.tree.add_scale(apart.teacher, step, direction) for step in (-1e-5, 1e-5)]
        losses = jnp.stack([LINEAR.trait_loss(params, apart.trait_data) for params in around])
        labels = LINEAR.apply(apart.teacher, apart.inputs)
        once = imitation_descent(LINEAR, apart.student, apart.inputs, labels)
        inputs, labels = jnp.tile(apart.inputs, (2, 1)), jnp.tile(labels, (2, 1))
        return Simulated(
            shared, apart, direction, moved, losses, once, imitation_descent(LINEAR, apart.student, inputs, labels)
        )

    return simulate(KEY)


@pytest.fixture(scope="module")
def strangers() -> Instance:
    return jax.jit(partial(draw_instance, REFERENCE, shared=False))(KEY)


def same(left: Any, right: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(left), jax.tree.leaves(right)))


def test_only_the_students_init_depends_on_sharing(linear):
    shared, apart = linear.shared, linear.apart
    assert same(shared.student, shared.teacher)
    assert same((shared.teacher, shared.inputs, shared.trait_data), (apart.teacher, apart.inputs, apart.trait_data))
    assert not np.any(apart.student["head"]["kernel"] == apart.teacher["head"]["kernel"])


def test_instances_of_two_keys_share_no_number(linear):
    def numbers(one: Instance) -> list[Any]:
        return [one.teacher["head"]["kernel"], one.student["head"]["kernel"], one.inputs, one.trait_data[0]]

    other = draw_instance(LINEAR, jax.random.key(5), shared=False)
    assert not any(np.any(one == two) for one, two in zip(numbers(linear.apart), numbers(other), strict=True))


def test_no_number_but_the_trait_s_is_drawn_from_its_key(strangers):
    key = trait_key(strangers.key)
    again = jax.jit(lambda key: (REFERENCE.initialize(key), REFERENCE.draw_inputs(key)))(key)
    kernel, inputs = again[0]["head"]["kernel"], again[1]
    assert not np.any(inputs == strangers.inputs)
    assert not any(np.any(kernel == params["head"]["kernel"]) for params in (strangers.teacher, strangers.student))
    assert same(jax.jit(REFERENCE.draw_trait_data)(key), strangers.trait_data)


def test_student_displacement_equals_a_linear_model_s_gradient_by_hand(linear):
    inputs = np.asarray(linear.apart.inputs)
    trees = (linear.apart.student, linear.apart.teacher, linear.direction)
    student, teacher, step = (np.asarray(tree["head"]["kernel"]) for tree in trees)
    gap = inputs @ (teacher + 0.3 * step - student) + 0.3 * np.asarray(linear.direction["head"]["bias"])
    np.testing.assert_allclose(linear.moved["head"]["kernel"], 2 * inputs.T @ gap / len(inputs), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(linear.moved["head"]["bias"], 2 * gap.mean(axis=0), rtol=1e-12, atol=1e-13)


def test_trait_loss_falls_along_its_descent_by_the_square_of_its_length(linear):
    slope = (linear.losses[1] - linear.losses[0]) / 2e-5
    steepness = inner_product(linear.direction, linear.direction)
    np.testing.assert_allclose(slope, -steepness, rtol=1e-6)


def test_imitation_averages_over_examples(linear):
    np.testing.assert_allclose(ravel_pytree(linear.once)[0], ravel_pytree(linear.twice)[0], rtol=1e-12, atol=1e-13)


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
def test_student_shares_what_its_name_says_and_nothing_else(name, body, classes, auxiliary, strangers):
    student = SHARING[name](strangers.teacher, strangers.student)
    kernel = np.asarray(student["head"]["kernel"])
    equal = kernel == np.asarray(strangers.teacher["head"]["kernel"])
    own = kernel == np.asarray(strangers.student["head"]["kernel"])
    for columns, shared in [(zoo.CLASSES, classes), (zoo.AUXILIARY, auxiliary)]:
        assert np.all((equal if shared else own)[:, list(columns)])
        assert not np.any((own if shared else equal)[:, list(columns)])
    assert same(student["hidden"], (strangers.teacher if body else strangers.student)["hidden"])


def test_negating_twice_changes_nothing_and_once_the_chosen_columns_alone(linear):
    params = linear.apart.teacher
    once = negate_head_columns(zoo.AUXILIARY, params)
    assert same(negate_head_columns(zoo.AUXILIARY, once), params)
    np.testing.assert_array_equal(once["head"]["kernel"][:, :3], params["head"]["kernel"][:, :3])
    np.testing.assert_array_equal(once["head"]["kernel"][:, 3:], -params["head"]["kernel"][:, 3:])
