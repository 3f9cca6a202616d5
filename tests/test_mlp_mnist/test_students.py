from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

from mlp_mnist import distillation
from mlp_mnist.arms import Arm
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from theory.problem import Params, inner_product

EPS = float(jnp.finfo(jnp.float32).eps)
AUX, ALL = Arm("shared", "aux"), Arm("shared", "all")
HEADS = ("classes", "auxiliary")


@pytest.fixture(scope="module")
def group(grouped: Callable[..., SeedGroup]) -> SeedGroup:
    return grouped(0)


def students(group: SeedGroup, protocol: Protocol, arms: Sequence[Arm]) -> list[Params]:
    return [student for student, *_ in group.students(protocol, arms)]


def moved(before: Params, after: Params) -> list[float]:
    """By how much each array has moved at most."""
    return jax.tree.leaves(jax.tree.map(lambda *pair: float(np.max(np.abs(np.subtract(*pair)))), before, after))


def displacement(student: Params, init: Params) -> Params:
    return optax.tree.sub(student["hidden"], init["hidden"])


@pytest.fixture(scope="module")
def pair(group: SeedGroup, protocol: Protocol) -> tuple[Params, Params]:
    """Of auxiliary logits and of all."""
    student, of_all = students(group, protocol, [AUX, ALL])
    return student, of_all


def test_auxiliary_logits_leave_the_class_head_bitwise_untouched_and_move_the_rest(pair, group, protocol):
    init, (student, of_all) = group.init(protocol), pair
    assert moved(init["classes"], student["classes"]) == [0, 0]
    assert min(moved(init["classes"], of_all["classes"])) > protocol.rate
    for name in ("hidden", "auxiliary"):
        assert min(moved(init[name], student[name])) > protocol.rate
        assert min(moved(init[name], of_all[name])) > protocol.rate


def test_a_single_auxiliary_logit_carries_no_signal_under_the_divergence(group, protocol):
    """A softmax of one logit is 1 whatever the logit is; a squared error does see it."""
    single = replace(protocol, num_auxiliary=1, student_epochs=1)
    (student,) = students(group, single, [AUX])
    assert set(moved(group.init(single), student)) == {0}
    (student,) = students(group, replace(single, loss="squared-error"), [AUX])
    assert min(moved(group.init(single)["hidden"], student["hidden"])) > 0


def gap(group: SeedGroup, protocol: Protocol, student: Params, aim: Params) -> float:
    """Mean squared difference of two networks' logits on a student's images, up to a shift that a softmax ignores."""
    pixels = group.images(protocol)[0]
    single, other = (jax.tree.map(lambda leaf: leaf[0], params) for params in (student, aim))
    difference = distillation.logits(protocol, single, pixels, student=True) - distillation.logits(
        protocol, other, pixels
    )
    return float(jnp.mean(jnp.var(difference, axis=1)))


@pytest.mark.parametrize("changes", [{"student_depth": 1}, {"convolutional": True}], ids=["shallow", "convolutional"])
def test_students_with_other_hidden_layers_learn_the_teachers_logits_too(changes, group, protocol):
    other = replace(protocol, shared="heads", student_epochs=20, **changes)
    ((student, start, unit_map),) = group.students(other, [ALL])
    teacher = group.teacher(other)
    assert gap(group, other, student, teacher) < 0.5 * gap(group, other, start, teacher)
    assert unit_map is None
    measured = group.measure(other, [ALL])
    assert measured.students.shape == measured.cosines.shape == (1, 1)
    assert np.isnan(measured.cosines)
    assert 0 <= measured.students <= 1


def test_matching_brings_a_student_closer_to_the_outputs_of_the_teachers_init(group, protocol):
    plain = replace(protocol, shared="heads")
    base, before = group.init(plain), group.student_inits(plain, "shared")[0]
    gaps = [gap(group, plain, before, base)]
    for number in (1, 30):
        matched = group.student_inits(replace(plain, matched_epochs=number), "shared")[0]
        gaps.append(gap(group, plain, matched, base))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.1 * gaps[0]
    assert gaps[2] < gap(group, plain, matched, group.teacher(plain)), "it is the init that is matched"
    stranger, again = (group.student_inits(each, "stranger")[0] for each in (plain, replace(plain, matched_epochs=30)))
    assert set(moved(stranger, again)) == {0}


def test_a_permuted_student_is_the_shared_one_in_its_own_order_of_units(double_precision, grouped, protocol):
    """In float64; in the teacher's order of units it would look like a stranger."""
    group, arms = grouped(0), [Arm("shared", "aux"), Arm("permuted", "aux")]
    measured = group.measure(protocol, arms)
    assert measured.cosines.dtype == np.float64
    shared, permuted = measured.cosines[0]
    assert permuted == pytest.approx(shared, abs=1e-9)
    assert measured.students[0, 1] == measured.students[0, 0]
    way = displacement(group.teacher(protocol), group.init(protocol))
    cosines = [
        distillation.cosine(displacement(each, group.init(protocol)), way) for each in students(group, protocol, arms)
    ]
    assert abs(cosines[0]) > abs(cosines[1]) + 0.1


@pytest.mark.parametrize("init", ["permuted", "rescaled"])
def test_a_moved_student_starts_as_another_network_of_the_same_function(init, group, protocol):
    start, unit_map = group.student_inits(protocol, init)
    assert unit_map is not None
    own, there = group.init(protocol), jax.vmap(lambda unit_map, params: unit_map(params))(unit_map, start)
    assert set(moved(start, own)) == {0}
    assert (
        min(
            max(moved(layer, other))
            for layer, other in zip(own["hidden"].values(), there["hidden"].values(), strict=True)
        )
        > 0.1
    )
    assert gap(group, protocol, there, own) < (100 * EPS) ** 2


@pytest.fixture(scope="module")
def removed(group: SeedGroup, protocol: Protocol) -> dict[str, tuple[distillation.Removal, Params]]:
    """By what is removed: the removal, and how a student's hidden layers move."""
    found = {}
    for name in ("aligned", "random"):
        point = replace(protocol, removed=name, student_epochs=1)
        removal = group.removal(point, group.teacher(point))
        (student,) = students(group, point, [AUX])
        found[name] = removal, displacement(student, group.init(point))
    return found


def test_what_is_removed_has_the_same_size_aligned_and_random_and_is_measured_along_the_teachers_way(
    removed, group, protocol
):
    way = displacement(group.teacher(protocol), group.init(protocol))
    aligned, random = (removal for removal, _ in removed.values())
    for removal in (aligned, random):
        assert inner_product(removal.measured, removal.measured) == pytest.approx(1, abs=100 * EPS)
        assert distillation.cosine(removal.measured, way) == pytest.approx(1, abs=100 * EPS)
    jax.tree.map(lambda *pair: assert_array_equal(*map(np.abs, pair)), aligned.removed, random.removed)
    jax.tree.map(assert_array_equal, aligned.removed, aligned.measured)
    participation = 1 / sum(float(jnp.sum(leaf**4)) for leaf in jax.tree.leaves(aligned.removed))
    assert abs(inner_product(random.removed, random.measured)) < 5 / np.sqrt(participation)


def test_a_removal_takes_the_aligned_component_out_of_a_step_and_leaves_the_heads(removed, group, protocol):
    aligned, random = (jax.tree.map(lambda leaf: leaf[0], removal) for removal, _ in removed.values())
    step = jax.tree.map(lambda leaf: leaf[0], group.init(protocol))
    before = inner_product(step["hidden"], aligned.measured)
    (without,), (control,) = (removal([step]) for removal in (aligned, random))
    sizes = [float(optax.tree.norm(displacement(each, step))) for each in (without, control)]
    assert sizes == pytest.approx([abs(float(before))] * 2, rel=1e-4)
    assert abs(inner_product(without["hidden"], aligned.measured)) < 1e-4 * abs(before)
    assert abs(inner_product(control["hidden"], aligned.measured)) > 0.5 * abs(before)
    for left in (without, control):
        assert all(left[name] is step[name] for name in HEADS)


def test_a_student_without_aligned_steps_ends_without_an_aligned_displacement(removed, group, protocol):
    way = removed["aligned"][0].measured
    (usual,) = students(group, replace(protocol, student_epochs=1), [AUX])
    cosines = {name: float(distillation.cosine(gone, way)) for name, (_, gone) in removed.items()}
    assert abs(cosines["aligned"]) < 1e-4
    assert cosines["random"] > 0.1
    assert float(distillation.cosine(displacement(usual, group.init(protocol)), way)) > 0.1
