"""Claim 8: single labels against dense algebra, data sets against literal draws, and what takes the law away."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, losses, zoo
from theory.claim import Report
from theory.claims.sampled_labels import CLAIM, measure
from theory.data_sets import NUM_LABELS, REPETITIONS, LabelSource, SampledLabels, draw_data_sets
from theory.labels import label_alignments, softmax_labels
from theory.problem import Params, draw_instance, inner_product, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
LABELS = (0, 1, 2, 3, 4, 5)
SAMPLING = Sampling(num_seeds=48, teacher_steps=(1e-5, 1e-4, 3e-4, 1e-3, 1e-2))

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def measure_with_slopes(seed: jax.Array, step: jax.Array) -> tuple[tuple[SampledLabels, LabelSource], ...]:
    """The measurement at one natural step size, with its first two derivatives in it."""

    instance = draw_instance(REFERENCE, jax.random.key(seed))

    def at(step: Any) -> tuple[SampledLabels, LabelSource]:
        return measure(REFERENCE, instance, labels=LABELS, teacher_steps=(step,))

    def slope(step: jax.Array) -> tuple[SampledLabels, LabelSource]:
        return jax.jvp(lambda step: jax.tree.map(lambda leaf: leaf.astype(float), at(step)), (step,), (1.0,))[1]

    return at(step), *jax.jvp(slope, (step,), (1.0,))


def measured(seed: int, step: float) -> list[Any]:
    values = jax.device_get(measure_with_slopes(jnp.uint32(seed), jnp.array(step)))
    return [sampled for sampled, _ in values]


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def step_on_literal_labels(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inner product of the student's gradient step on 1,000 drawn labels, and the mean of their single steps'."""
    instance = draw_instance(REFERENCE, key)
    direction = trait_descent(REFERENCE, instance.teacher, instance.trait_data)
    teacher = optax.tree.add_scale(instance.teacher, 0.1, direction)
    inputs_key, labels_key = jax.random.split(key)
    chosen = jax.random.randint(inputs_key, (1000,), 0, len(instance.inputs))
    inputs = instance.inputs[chosen]
    labels = jax.random.categorical(labels_key, REFERENCE.apply(teacher, inputs))

    def loss(student: Params) -> jax.Array:
        logits = REFERENCE.apply(student, inputs)
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    single = label_alignments(REFERENCE, LABELS, instance.student, instance.inputs, direction)
    return -inner_product(jax.grad(loss)(instance.student), direction), jnp.mean(single[chosen, labels])


def test_step_on_literally_drawn_labels_is_the_mean_of_their_single_steps():
    literal, mean = step_on_literal_labels(jax.random.key(0))
    np.testing.assert_allclose(mean, literal, rtol=1e-10)


def two_inputs() -> Any:
    """Two inputs with three labels each, 2,000 times over."""
    random = np.random.default_rng(0)
    parts: Any = (
        np.broadcast_to(np.log(random.dirichlet(np.ones(3), size=2)), (2000, 1, 2, 3)),
        np.broadcast_to(random.normal(size=(2, 3)), (2000, 2, 3)),
        np.arange(4000).reshape(2000, 2),
    )
    return LabelSource(*parts)


def drawn(source: LabelSource) -> np.ndarray:
    alignment, _ = draw_data_sets(source)
    return alignment


def test_data_sets_are_drawn_like_single_labels():
    source, random = two_inputs(), np.random.default_rng(1)
    probabilities, alignments = np.exp(source.log_probabilities[0, 0]), source.alignments[0]
    inputs = random.integers(2, size=(16000, 10))
    labels = (random.random((16000, 10, 1)) > np.cumsum(probabilities, axis=1)[inputs][..., :2]).sum(axis=-1)
    literal = alignments[inputs, labels].mean(axis=1)
    ten = drawn(source)[:, 0, NUM_LABELS.index(10)].ravel()
    np.testing.assert_allclose(ten.mean(), literal.mean(), atol=5 * literal.std() * np.sqrt(2 / 16000))
    np.testing.assert_allclose(ten.var(), literal.var(), rtol=5 * np.sqrt(2 * 2 / 16000))


def test_a_data_set_of_one_label_holds_one_of_them():
    source = two_inputs()
    np.testing.assert_allclose(np.unique(drawn(source)[:, 0, 0]), np.unique(source.alignments[0]), rtol=1e-12)


def test_data_sets_of_an_instance_do_not_depend_on_how_many_there_are():
    source = two_inputs()
    np.testing.assert_array_equal(drawn(LabelSource(*(part[:3] for part in source))), drawn(source)[:3])


def test_a_teacher_that_diverged_has_no_data_sets():
    source = two_inputs()
    log_probabilities = np.array(source.log_probabilities)
    log_probabilities[0, 0, 0] = np.nan
    missing = np.isnan(drawn(source._replace(log_probabilities=log_probabilities)))
    assert missing[0].all()
    assert not missing[1:].any()


@given(seed=seeds)
def test_moments_of_a_base_label_are_those_of_the_closed_form(seed):
    base, _, _ = measured(seed, 0.0)
    assert base.variance[0] == pytest.approx(base.curvature, rel=1e-10)
    assert abs(base.mean[0]) <= 100 * np.finfo(float).eps * np.sqrt(base.curvature)
    assert abs(base.information[0]) <= 100 * np.finfo(float).eps ** 2


@given(seed=seeds)
def test_drifts_are_derivatives_of_the_exact_moments(seed):
    _, slope, bend = measured(seed, 0.0)
    unit = slope.steps[0]
    base, _, _ = measured(seed, 1.0)
    assert base.steps[0] == pytest.approx(unit, rel=1e-12)
    assert slope.mean[0] == pytest.approx(unit * base.curvature, rel=1e-9)
    assert slope.variance[0] == pytest.approx(unit * base.variance_drift, rel=1e-8, abs=1e-9 * unit * base.curvature)
    assert bend.mean[0] == pytest.approx(2 * unit**2 * base.mean_drift, rel=1e-8, abs=1e-9 * unit**2 * base.curvature)
    assert bend.information[0] == pytest.approx(unit**2 * base.curvature, rel=1e-9)


@given(seed=seeds, step=st.floats(1e-6, 1e-4))
def test_a_teacher_that_moved_is_worth_half_its_squared_signal_in_nats(seed, step):
    moved, _, _ = measured(seed, step)
    signal = moved.mean[0] / np.sqrt(moved.variance[0])
    assert moved.information[0] > 0
    assert moved.information[0] == pytest.approx(signal**2 / 2, rel=100 * step)


def test_nats_are_the_divergence_of_the_teacher_from_the_base_model():
    (sampled, source), *_ = jax.device_get(measure_with_slopes(jnp.uint32(0), jnp.array(0.0)))
    base, teacher = source.log_probabilities[0], source.log_probabilities[-1]
    nats, other = (np.sum(np.exp(one) * (one - two), axis=-1).mean() for one, two in [(teacher, base), (base, teacher)])
    assert sampled.label_information[-1] == pytest.approx(nats, rel=1e-9)
    assert sampled.label_information[-1] != pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        (REFERENCE, LABELS),
        (zoo.variant("auxiliary outputs", imitated=zoo.AUXILIARY), zoo.AUXILIARY),
        (zoo.variant("squared error", loss="squared error"), ()),
        (zoo.variant("one logit", imitated=(0,)), ()),
    ],
)
def test_only_the_imitated_outputs_of_a_softmax_are_labels(problem, labels):
    assert softmax_labels(problem) == labels


@pytest.mark.parametrize("loss", [losses.stretched(losses.cross_entropy), lambda z, y: losses.cross_entropy(z, y)])
def test_a_loss_that_does_not_say_that_it_is_a_cross_entropy_is_not_sampled(loss):
    assert softmax_labels(replace(REFERENCE, imitation_loss=loss)) == ()


def test_outputs_chosen_among_chosen_ones_are_labels():
    loss = losses.on_outputs(losses.on_outputs(losses.cross_entropy, (-1, 0)), (1, 3, 4))
    assert softmax_labels(replace(REFERENCE, imitation_loss=loss)) == (1, 4)


def test_claim_holds_for_the_reference(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 7 + ["reported"]


def test_claim_says_nothing_of_other_losses():
    verdicts = CLAIM.verify([zoo.variant("squared error", loss="squared error")], SAMPLING).verdicts
    assert [verdict.outcome for verdict in verdicts] == ["reported"]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda case: {"curvature": 1.3 * case.curvature}, [0, 1, 2, 3, 4]),
        (lambda case: {"curvature": 2 * case.curvature}, [0, 1, 2, 3, 4, 5]),
        (lambda case: {"variance_drift": -case.variance_drift}, [0, 2]),
        (lambda case: {"mean_drift": case.mean_drift / 2}, [2]),
        (lambda case: {"information": case.information / 2}, [1, 2]),
        (lambda case: {"label_information": case.label_information / 2}, [6]),
        (lambda case: {"average": -case.average, "positive": REPETITIONS - case.positive}, [3, 5, 6]),
    ],
)
def test_claim_fails_for_a_wrong_factor_in_its_formula(change, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
