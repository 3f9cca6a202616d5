"""Claim 12: the matrix of traits against real steps, its symmetry and sign, and what takes them away."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims import trait_matrix
from theory.claims.trait_matrix import NUM_TRAITS, TraitMatrix, several_kinds
from theory.predictions import natural_units, transfer_form
from theory.problem import draw_instance, inner_product, student_displacement, trait_key
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.build(zoo.REFERENCE)
SEVERAL = several_kinds(REFERENCE)
STEPS = (1e-5, 1e-4, 1e-3)
SAMPLING = Sampling(num_seeds=32, teacher_steps=STEPS)
HOLDS = ["holds", "holds", "holds", "holds", "reported"]

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def predict(key: jax.Array) -> jax.Array:
    """The matrix in the losses' own units, entry by entry and by the definition."""
    instance = draw_instance(REFERENCE, key)
    data = SEVERAL.draw_data(jax.random.split(trait_key(key), NUM_TRAITS))
    directions = optax.tree.scale(-1.0, jax.jacrev(SEVERAL.losses)(instance.teacher, data))
    row = jax.vmap(partial(transfer_form, REFERENCE, instance), (0, None))
    return jax.vmap(row, (None, 0))(directions, directions)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def teach_first_and_look_at_fourth(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fall of trait 4 in the student, from another init, of a teacher of trait 1; and of trait 1 behind one of 4."""
    instance = draw_instance(REFERENCE, key, shared=False)
    data = SEVERAL.draw_data(jax.random.split(trait_key(key), NUM_TRAITS))
    directions = optax.tree.scale(-1.0, jax.jacrev(SEVERAL.losses)(instance.teacher, data))
    same = instance._replace(student=instance.teacher)
    scales = jax.vmap(lambda one: natural_units(REFERENCE, instance, one).teacher_step)(directions)
    norms = jax.vmap(inner_product)(directions, directions)
    forms = jax.vmap(lambda one: transfer_form(REFERENCE, same, one, one))(directions)
    rate = (scales**2 @ norms) / (scales**2 @ forms)

    def fall(teacher: int, trait: int) -> jax.Array:
        direction = jax.tree.map(lambda leaves: scales[teacher] * leaves[teacher], directions)
        moved = student_displacement(REFERENCE, instance, direction, jnp.array(STEPS[-1]))
        after = optax.tree.add_scale(instance.student, rate, moved)
        before, after = SEVERAL.losses(instance.student, data), SEVERAL.losses(after, data)
        return scales[trait] * (before - after)[trait] / rate

    return fall(0, 3), fall(3, 0)


@pytest.fixture(scope="module")
def measured() -> Mapping[str, TraitMatrix]:
    """What is measured, before most of it is dropped."""
    return SAMPLING.sweep_all(trait_matrix.CLAIM.cases([SEVERAL], SAMPLING), "")


@pytest.fixture(scope="module")
def reference(measured: Mapping[str, TraitMatrix]) -> TraitMatrix:
    return measured["reference"]


@pytest.fixture(scope="module")
def stranger(measured: Mapping[str, TraitMatrix]) -> TraitMatrix:
    return measured[trait_matrix.STRANGER]


@pytest.fixture(scope="module")
def judge(measured: Mapping[str, TraitMatrix], judge_again: Any) -> Callable[..., list[str]]:
    """Judge what is kept of other measurements."""

    def judge(change: Callable[[TraitMatrix], TraitMatrix]) -> list[str]:
        report = Report([], measured)
        return judge_again(trait_matrix.CLAIM, SAMPLING, report, lambda one: trait_matrix.keep(change(one)))

    return judge


def orders(values: np.ndarray) -> np.ndarray:
    flat = np.log(np.abs(values)).reshape(-1, len(STEPS))
    return np.polyfit(np.log(STEPS), flat.T, 1)[0].reshape(values.shape[:-1])


def test_every_teachers_effect_on_every_trait_departs_from_the_matrix_at_second_order(reference):
    remainder = reference.changes[:, :NUM_TRAITS] - reference.predicted[..., None] * np.array(STEPS)
    np.testing.assert_allclose(np.median(orders(remainder), axis=0), 2.0, atol=0.05)


def test_prediction_is_the_form_of_every_pair_of_traits(reference):
    root = jax.random.key(SAMPLING.seed)
    expected = [predict(jax.random.fold_in(root, index)) for index in range(4)]
    np.testing.assert_allclose(reference.own_units[:4], np.array(expected), atol=1e-14)
    scale = np.sqrt(
        np.diagonal(reference.predicted, axis1=1, axis2=2) / np.diagonal(reference.own_units, axis1=1, axis2=2)
    )
    np.testing.assert_allclose(
        reference.predicted, reference.own_units * scale[:, :, None] * scale[:, None, :], rtol=1e-9
    )


@given(seed=seeds)
def test_matrix_is_symmetric_and_positive_and_no_pair_exceeds_its_own_two(seed):
    matrix = np.asarray(predict(jax.random.key(seed)))
    own = np.sqrt(np.diagonal(matrix))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * np.max(matrix))
    assert np.linalg.eigvalsh(matrix)[0] >= -1e-13 * np.max(matrix)
    assert np.all(np.abs(matrix) <= np.outer(own, own) * (1 + 1e-12))


def test_the_bound_is_tight_for_two_teachers_of_one_trait():
    matrix = np.asarray(predict(jax.random.key(0)))
    twice = np.array([1.0, 0, 0, 0, 0, 0]), np.array([2.0, 0, 0, 0, 0, 0])
    gram = np.array([[left @ matrix @ right for right in twice] for left in twice])
    assert gram[0, 1] == pytest.approx(np.sqrt(gram[0, 0] * gram[1, 1]))


def test_another_trait_may_gain_the_most_but_never_once_each_has_its_own_unit(reference):
    leading = np.argmax(reference.own_units, axis=2) == np.arange(NUM_TRAITS)
    assert 0.5 < np.mean(leading) < 1
    own = np.sqrt(np.diagonal(reference.predicted, axis1=1, axis2=2))
    relative = reference.predicted / (own[:, :, None] * own[:, None, :])
    assert np.all(relative <= 1 + 1e-12)


def test_preferences_for_different_outputs_work_against_each_other(reference):
    assert np.mean(reference.predicted[:, 0, 1] < 0) > 0.9


def test_rows_are_teachers_and_columns_are_traits(stranger):
    key = jax.random.fold_in(jax.random.key(SAMPLING.seed), 0)
    fourth, first = map(float, teach_first_and_look_at_fourth(key))
    assert stranger.changes[0, 0, 3, -1] == pytest.approx(fourth, rel=1e-8)
    assert stranger.changes[0, 3, 0, -1] == pytest.approx(first, rel=1e-8)
    assert fourth != pytest.approx(first, rel=1e-3)


def test_stranger_breaks_the_symmetry_at_first_order(stranger):
    pure = trait_matrix.change(stranger)[:, :NUM_TRAITS]
    upper = (pure - pure.swapaxes(1, 2))[:, *np.triu_indices(NUM_TRAITS, 1)]
    np.testing.assert_allclose(np.median(orders(upper), axis=0), 1.0, atol=0.05)


def test_claim_holds_for_traits_of_several_kinds(judge):
    assert judge(lambda one: one) == HOLDS


def test_claim_holds_for_one_trait_on_different_data():
    report = trait_matrix.CLAIM.verify([zoo.variant("one hidden layer", hidden=(16,))], SAMPLING)
    assert [verdict.outcome for verdict in report.verdicts] == HOLDS


def wrong_factor(result: TraitMatrix) -> TraitMatrix:
    """As if every effect had been predicted ten percent too large."""
    return result._replace(predicted=1.1 * result.predicted)


def lopsided(result: TraitMatrix) -> TraitMatrix:
    """As if one trait had gained more than it gave."""
    changes = result.changes.copy()
    changes[:, 0] *= 1.1
    return result._replace(changes=changes)


def mixed_wrongly(result: TraitMatrix) -> TraitMatrix:
    """As if teachers of several traits had taught them ten percent less."""
    changes = result.changes.copy()
    changes[:, NUM_TRAITS] *= 0.9
    return result._replace(changes=changes)


def negated(result: TraitMatrix) -> TraitMatrix:
    """As if imitation had worked the other way."""
    return result._replace(changes=-result.changes, drift=-result.drift)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (wrong_factor, ["fails", "holds", "holds", "holds", "reported"]),
        (lopsided, ["fails", "fails", "fails", "holds", "reported"]),
        (mixed_wrongly, ["fails", "holds", "fails", "holds", "reported"]),
        (negated, ["fails", "holds", "holds", "fails", "reported"]),
    ],
)
def test_claim_fails_for_a_wrong_formula(wrong, expected, judge):
    assert judge(wrong) == expected


def test_claim_says_nothing_of_what_imitation_can_not_see(judge):
    def invisible(result: TraitMatrix) -> TraitMatrix:
        return result._replace(visible=np.zeros(SAMPLING.num_seeds, bool))

    assert set(judge(invisible)) == {"reported"}
