"""Claim 5.2: the table sums to the form, is what the steps do, and is zero where it has to be."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Problem, Sampling, zoo
from theory.claims import channels
from theory.claims.channels import GROUPS, IMITATED, INITS, Forms
from theory.experiments import experiment
from theory.predictions import Channels, group_names, split_by_group, transfer_channels, transfer_form
from theory.problem import Params, draw_instance, trait_descent
from theory.runs.checks import Evidence
from theory.runs.programs import COMPILER_OPTIONS
from theory.runs.sweeps import sweep

REFERENCE = zoo.build(zoo.REFERENCE)
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))
NUM_SEEDS = 32
SAMPLING = Sampling(num_seeds=NUM_SEEDS, teacher_steps=STEPS, cases="few")
SHARED, DIFFERENT = range(len(INITS))
ALL, DISJOINT, TRAIT = range(len(IMITATED))

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def forms() -> Forms:
    return sweep(
        experiment(REFERENCE, channels.measure, shared=False, teacher_steps=STEPS), 0, NUM_SEEDS, chunk_size=NUM_SEEDS
    )


@pytest.fixture(scope="module")
def judge(forms: Forms) -> Any:
    """Judge changed measurements without another simulation."""

    def verdicts(**changes: np.ndarray) -> list[str]:
        evidence = Evidence({"forms: tanh": forms._replace(**changes)}, SAMPLING)
        return [verdict.outcome for verdict in channels.CLAIM.judge(evidence)][:4]

    return verdicts


def split(problem: Problem, seed: int, shared: bool) -> tuple[Channels, jax.Array]:
    instance = draw_instance(problem, jax.random.key(seed), shared=shared)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    own = trait_descent(problem, instance.student, instance.trait_data)
    return transfer_channels(problem, instance, own, direction), transfer_form(problem, instance, own, direction)


split_reference = jax.jit(partial(split, REFERENCE, shared=False), compiler_options=COMPILER_OPTIONS)


@given(seed=seeds)
def test_channels_sum_to_the_form_for_every_seed(seed):
    table, form = split_reference(jnp.uint32(seed))
    assert abs(table.forms.sum() - form) <= 100 * np.finfo(float).eps * table.sizes.sum()
    assert np.all(np.abs(table.forms) <= table.sizes)


def test_channels_sum_to_the_form_for_convolutions():
    convolution = zoo.variant("convolution", network="convolution")
    table, form = jax.jit(partial(split, convolution, shared=False), compiler_options=COMPILER_OPTIONS)(jnp.uint32(0))
    assert abs(table.forms.sum() - form) <= 100 * np.finfo(float).eps * table.sizes.sum()
    assert table.forms.shape == (3, 3)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense_parts() -> tuple[Any, ...]:
    """Everything that a table is made of, with explicit Jacobians of a network with one hidden layer."""
    problem = zoo.variant("one hidden layer of four", hidden=(4,))
    instance = draw_instance(problem, jax.random.key(1), shared=False)
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    own = trait_descent(problem, instance.student, instance.trait_data)
    jacobian = jax.jacobian(lambda params: problem.apply(params, instance.inputs))
    p = jax.nn.softmax(problem.apply(instance.teacher, instance.inputs))
    table = transfer_channels(problem, instance, own, direction).forms
    return table, p, (jacobian(instance.student), own), (jacobian(instance.teacher), direction)


def test_channels_are_dense_jacobians_and_m_cut_into_blocks():
    table, p, student, teacher = jax.device_get(dense_parts())

    def moved(jacobian: Params, along: Params) -> list[np.ndarray]:
        layers = [(jacobian["head"], along["head"]), (jacobian["hidden"][0], along["hidden"][0])]
        return [
            np.tensordot(one["kernel"], layer["kernel"], axes=2) + np.tensordot(one["bias"], layer["bias"], axes=1)
            for one, layer in layers
        ]

    responses = [p * (change - np.sum(p * change, axis=1, keepdims=True)) for change in moved(*teacher)]
    expected = [[np.mean(np.sum(left * right, axis=1)) for right in responses] for left in moved(*student)]
    np.testing.assert_allclose(table, expected, rtol=1e-10, atol=1e-14)


def test_groups_are_layers_and_arrays_at_the_top():
    assert tuple(group_names(REFERENCE.initialize(jax.random.key(0)))) == GROUPS
    assert group_names({"scale": jnp.ones(2), "layers": [(jnp.ones(1), jnp.ones(1)), jnp.ones(3)]}) == [
        "layers.0",
        "layers",
        "scale",
    ]
    assert len(group_names(jnp.ones(3))) == 1


def test_parts_of_a_direction_sum_to_it_and_do_not_overlap():
    params = REFERENCE.initialize(jax.random.key(0))
    parts = split_by_group(params)
    jax.tree.map(lambda part, whole: np.testing.assert_array_equal(part.sum(axis=0), whole), parts, params)
    owners = jax.tree.map(lambda part: int(np.max(np.sum(part != 0, axis=0))), parts)
    assert max(jax.tree.leaves(owners)) == 1


def test_every_channel_departs_from_its_prediction_at_second_order(forms):
    remainder = np.log(np.abs(channels.simulated(forms).remainder)).reshape(-1, len(STEPS))
    orders = np.polyfit(np.log(STEPS), remainder.T, 1)[0].reshape(NUM_SEEDS, len(GROUPS), len(GROUPS))
    np.testing.assert_allclose(np.median(orders, axis=0), 2.0, atol=0.05)


def test_channels_are_tight_at_a_small_step(forms):
    np.testing.assert_allclose(np.median(channels.simulated(forms).ratio, axis=0), 1.0, rtol=100 * STEPS[0])


def test_nothing_goes_through_either_head_if_outputs_are_disjoint(forms):
    assert np.all(forms.channels[:, DISJOINT, :, 0, :] == 0)
    assert np.all(forms.channels[:, DISJOINT, :, :, 0] == 0)
    assert np.all(forms.channels[:, [ALL, TRAIT], :, 0, 0] != 0)


def test_every_group_transfers_by_itself_with_a_shared_init(forms):
    table = forms.channels[:, :, SHARED]
    np.testing.assert_allclose(table, np.swapaxes(table, -1, -2), rtol=1e-9, atol=1e-14)
    assert np.all(np.diagonal(table, axis1=-2, axis2=-1) >= 0)
    assert np.any(np.diagonal(forms.channels[:, DISJOINT, DIFFERENT], axis1=-2, axis2=-1) < 0)


def test_cosine_is_positive_with_a_shared_init_and_never_beyond_one(forms):
    assert np.all(forms.cosine[:, :, SHARED] > 0)
    assert np.all(np.abs(forms.cosine) <= 1)
    assert np.any(forms.cosine[:, DISJOINT, DIFFERENT] < 0)


def test_claim_holds(judge):
    assert judge() == ["holds"] * 4


def test_claim_fails_for_a_wrong_factor(judge, forms):
    assert judge(steps=1.1 * forms.steps) == ["fails", "holds", "holds", "holds"]


def test_claim_fails_if_anything_goes_through_a_head(judge, forms):
    wrong = forms.channels.copy()
    wrong[:, DISJOINT, DIFFERENT, 0, 1] = 1e-300
    assert judge(channels=wrong) == ["holds", "fails", "holds", "holds"]


def test_claim_fails_for_the_wrong_sign(judge, forms):
    negated = {name: -getattr(forms, name) for name in ("channels", "cosine", "simulated")}
    assert judge(**negated) == ["holds", "holds", "fails", "fails"]


def test_claim_fails_if_the_inits_are_exchanged(judge, forms):
    exchanged = {"channels": forms.channels[:, :, ::-1], "cosine": forms.cosine[:, :, ::-1]}
    assert judge(**exchanged) == ["fails", "holds", "fails", "fails"]
