from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mlp_mnist import network, seed_group
from mlp_mnist.arms import Arm, Init
from mlp_mnist.protocol import Protocol, Shared
from mlp_mnist.seed_group import SeedGroup
from theory.problem import Params

AUX = [Arm("shared", "aux")]
WIDE = Protocol(hidden=(64, 64), num_auxiliary=10)
"""Enough weights in every layer to measure their statistics; never trained."""


@pytest.fixture(scope="module")
def group(grouped: Callable[..., SeedGroup]) -> SeedGroup:
    return grouped(0)


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The epochs that are trained: of teachers or students."""
    trained = []

    def watch(name: str, epoch: Callable, *arguments: object):
        trained.append(name)
        return epoch(*arguments)

    monkeypatch.setattr(seed_group, "teach_epoch", partial(watch, "teacher", seed_group.teach_epoch))
    monkeypatch.setattr(seed_group, "imitate_epoch", partial(watch, "student", seed_group.imitate_epoch))
    return trained


def assert_same(left: Params, right: Params) -> None:
    jax.tree.map(assert_array_equal, left, right)


def kernels(params: Params) -> dict[str, list[np.ndarray]]:
    """Weights by part, in units of their spread at the start."""
    layers = {name: list(part.values()) if name == "hidden" else [part] for name, part in params.items()}
    return {
        name: [np.ravel(layer["kernel"]) * layer["kernel"].shape[-1] ** 0.5 for layer in part]
        for name, part in layers.items()
    }


def correlations(left: Params, right: Params) -> dict[str, float]:
    pairs = {name: map(np.concatenate, (part, kernels(right)[name])) for name, part in kernels(left).items()}
    return {name: float(np.corrcoef(list(pair))[0, 1]) for name, pair in pairs.items()}


def error(params: Params) -> float:
    """Five standard errors of the correlation of the part with the fewest weights."""
    return 5 / np.sqrt(min(sum(map(np.size, part)) for part in kernels(params).values()))


def start(group: SeedGroup, protocol: Protocol, init: Init = "shared") -> Params:
    return group.student_inits(protocol, init)[0]


def test_a_shared_student_starts_bitwise_as_the_teacher_does(group, protocol):
    assert_same(start(group, protocol), group.init(protocol))


def test_a_stranger_starts_as_the_teacher_of_the_next_seed_whatever_is_shared(grouped, protocol):
    group = grouped(0, 1, 2)
    init, stranger = group.init(protocol), start(group, replace(protocol, shared="heads"), "stranger")
    for seed in range(2):
        assert_same(
            *(jax.tree.map(lambda leaf, at=at: leaf[at], tree) for tree, at in ((stranger, seed), (init, seed + 1)))
        )
        assert correlations(stranger, init)["hidden"] < 0.2


def test_a_seed_draws_the_same_alone_as_beside_others(grouped, group, protocol):
    several = grouped(0, 1, 2)
    for drawn in (SeedGroup.init, SeedGroup.images, start):
        alone, beside = (drawn(each, protocol) for each in (group, several))
        jax.tree.map(lambda one, three: assert_array_equal(one[0], three[0]), alone, beside)


@pytest.mark.parametrize("shared", network.SHARED_LAYERS)
def test_shared_layers_are_bitwise_the_teachers_and_the_others_drawn_anew(shared: Shared, group):
    init, student = group.init(WIDE), start(group, replace(WIDE, shared=shared))
    for name, part in init.items():
        if name in network.SHARED_LAYERS[shared]:
            assert_same(part, student[name])
        else:
            assert abs(correlations(init, student)[name]) < error(init)
            assert np.var(np.concatenate(kernels(student)[name])) == pytest.approx(1, abs=2**0.5 * error(init))


def test_what_each_value_of_shared_names_is_shared():
    assert {shared: set(layers) for shared, layers in network.SHARED_LAYERS.items()} == {
        "everything": {"hidden", "classes", "auxiliary"},
        "heads": {"classes", "auxiliary"},
        "class head": {"classes"},
        "auxiliary head": {"auxiliary"},
        "nothing": set(),
    }


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("shared", ["everything", "class head"])
def test_correlated_weights_have_their_correlation_with_the_teachers_and_their_spread(rho, shared, group):
    init, student = group.init(WIDE), start(group, replace(WIDE, shared=shared, correlation=rho))
    for name, measured in correlations(init, student).items():
        expected = rho if name in network.SHARED_LAYERS[shared] else 0
        assert measured == pytest.approx(expected, abs=error(init) * (1 - expected**2))
        assert np.var(np.concatenate(kernels(student)[name])) == pytest.approx(1, abs=2**0.5 * error(init))


def test_noise_on_the_init_has_its_size_in_units_of_the_spread_and_is_no_other_draw(group):
    init, fresh = group.init(WIDE), start(group, replace(WIDE, shared="nothing"))
    student = start(group, replace(WIDE, init_noise=0.3))
    noise = jax.tree.map(lambda one, other: (one - other) / 0.3, student, init)
    for part in kernels(noise).values():
        assert np.var(np.concatenate(part)) == pytest.approx(1, abs=2**0.5 * error(init))
    for other in (init, fresh):
        assert max(map(abs, correlations(noise, other).values())) < error(init)
    assert not any(np.any(layer["bias"]) for layer in (*noise["hidden"].values(), noise["classes"]))


def test_students_of_other_shapes_keep_the_teachers_heads(group):
    init = group.init(WIDE)
    for changes in ({"student_depth": 1}, {"convolutional": True}):
        student = start(group, replace(WIDE, shared="heads", **changes))
        assert_same(
            [student[name] for name in ("classes", "auxiliary")], [init[name] for name in ("classes", "auxiliary")]
        )
        assert jax.tree.map(np.shape, student["hidden"]) != jax.tree.map(np.shape, init["hidden"])


def test_the_teachers_training_leaves_auxiliary_heads_bitwise_untouched(group, protocol):
    init, teacher = group.init(protocol), group.teacher(protocol)
    assert_same(init["auxiliary"], teacher["auxiliary"])
    for name in ("hidden", "classes"):
        assert all(
            np.mean(one != other) > 0.5 for one, other in zip(kernels(init)[name], kernels(teacher)[name], strict=True)
        )


def test_a_teacher_does_not_depend_on_auxiliary_logits_nor_on_its_students(group, protocol, grouped, epochs):
    other = replace(protocol, num_auxiliary=5, shared="nothing", images="real", optimizer="sgd", student_epochs=7)
    usual, again = group.teacher(protocol), grouped(0).teacher(other)
    for name in ("hidden", "classes"):
        assert_same(usual[name], again[name])
    assert again["auxiliary"]["kernel"].shape[1] == 5
    assert epochs.count("teacher") in {4, 8}


def test_points_that_share_a_teacher_train_it_once(grouped, protocol, epochs):
    group = grouped(0)
    for changes in ({}, {"shared": "heads"}, {"correlation": 0.5}, {"init_noise": 0.1}, {"student_learning_rate": 0.1}):
        group.teacher(replace(protocol, **changes))
    assert epochs == ["teacher"] * protocol.teacher_epochs
    group.teacher(replace(protocol, init_scale=2.0))
    assert epochs == ["teacher"] * 2 * protocol.teacher_epochs


def test_training_for_three_epochs_is_training_for_two_and_then_for_one_more(grouped, protocol, epochs):
    group = grouped(0)
    points = [replace(protocol, teacher_epochs=1, student_epochs=number) for number in (2, 3, 1)]
    two, three, one = ([student for student, *_ in group.students(point, AUX)] for point in points)
    assert epochs == ["teacher", *["student"] * (3 + 1)]
    for again, point in ((three, points[1]), (one, points[2])):
        assert_same(again, [student for student, *_ in grouped(0).students(point, AUX)])
    assert all(np.any(kernels(two[0])["hidden"][0] != kernels(other[0])["hidden"][0]) for other in (one, three))


def test_a_teacher_trained_on_is_the_one_trained_at_once(grouped, protocol, group, epochs):
    going_on = grouped(0)
    for number in (1, protocol.teacher_epochs):
        teacher = going_on.teacher(replace(protocol, teacher_epochs=number))
    assert epochs == ["teacher"] * protocol.teacher_epochs
    assert_same(teacher, group.teacher(protocol))


def test_students_of_a_teacher_at_another_age_are_others(grouped, protocol):
    """In whatever order the points come."""
    young, old = (replace(protocol, teacher_epochs=number, student_epochs=1) for number in (1, 2))
    one, two = grouped(0), grouped(0)
    forth = [one.students(point, AUX)[0][0] for point in (young, old)]
    back = [two.students(point, AUX)[0][0] for point in (old, young)]
    assert_same(forth, back[::-1])
    assert np.any(kernels(forth[0])["hidden"][0] != kernels(forth[1])["hidden"][0])


def test_real_images_are_the_teachers_own_repeated_as_often_as_need_be(group, protocol, dataset):
    images = group.images(replace(protocol, images="real", num_images=700))
    assert_array_equal(images, np.concatenate([dataset.train_images] * 3)[:700])


def test_images_of_another_set_are_those_given_and_needed(group, grouped, protocol):
    others = np.random.default_rng(0).integers(0, 256, (50, 16), np.uint8)
    asked = replace(protocol, images="other", num_images=60)
    assert_array_equal(grouped(0, other_images=others).images(asked), np.concatenate([others, others[:10]]))
    with pytest.raises(ValueError, match="other_images"):
        group.images(asked)
