"""The class of imitation losses, checked on a problem's own inputs: inside it holds, outside nothing ever does."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from theory import Problem, Sampling, losses, outside_losses, verify
from theory.claims.conditions import CLAIM
from theory.predictions import natural_units
from theory.problem import Params, draw_instance, trait_descent


def apply(params: Params, inputs: jax.Array) -> jax.Array:
    return jnp.tanh(inputs @ params["in"]) @ params["out"]


def initialize(key: jax.Array) -> Params:
    into, out = jax.random.split(key)
    return {"in": jax.random.normal(into, (8, 16)) / 8**0.5, "out": jax.random.normal(out, (16, 4)) / 4}


README = Problem(
    apply=apply,
    initialize=initialize,
    draw_inputs=lambda key: jax.random.uniform(key, (32, 8)),
    imitation_loss=losses.squared_error,
    trait_loss=lambda params, key: -apply(params, jnp.ones((1, 8)))[0, 0],
)

REVERSED = replace(README, imitation_loss=lambda student, teacher: -jnp.sum((student - teacher) ** 2))
SADDLE = replace(README, imitation_loss=losses.weighted_squared_error(jnp.array([1.0, 1.0, 1.0, -0.3])))
ONE_SEED = Sampling(num_seeds=2)


@pytest.mark.parametrize(
    "loss", [losses.squared_error, losses.cross_entropy, losses.cosine_distance, losses.on_outputs(losses.huber, [1])]
)
def test_losses_of_the_class_hold_and_their_reverse_does_not(loss):
    report = CLAIM.verify([replace(README, imitation_loss=loss)], ONE_SEED)
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "holds"]
    assert [verdict.control_flips for verdict in report.verdicts] == [True, True]


OUTSIDE = {
    "stretched": (losses.stretched(losses.squared_error), "condition 1"),
    "negative inner product": (outside_losses.negative_inner_product, "condition 1"),
    "reversed": (REVERSED.imitation_loss, "condition 2: M is not positive"),
    "saddle": (SADDLE.imitation_loss, "condition 2: M is not positive"),
    "quartic": (losses.quartic, "condition 3"),
}
"""Losses outside the class by name, and the condition that each breaks."""


def test_losses_outside_the_class_are_reported_with_the_condition_they_break():
    problems = [replace(README, name=name, imitation_loss=loss) for name, (loss, _) in OUTSIDE.items()]
    outcome = verify(*problems, claims=["conditions"], sampling=ONE_SEED)
    assert {verdict.outcome for verdict in outcome.verdicts} == {"reported"}
    for verdict in outcome.verdicts:
        for name, (_, condition) in OUTSIDE.items():
            assert f"{name}: imitation loss breaks {condition}" in verdict.reason


def test_a_reversed_theorem_never_holds(few):
    problems = [replace(problem, name=name) for name, problem in (("reversed", REVERSED), ("saddle", SADDLE))]
    outcome = verify(*problems, claims=["alignment", "trait-loss"], sampling=few)
    assert {verdict.outcome for verdict in outcome.verdicts} == {"reported"}
    for problem in problems:
        assert f"{problem.name}: imitation loss breaks condition 2" in outcome.table


@pytest.mark.parametrize("problem", [README, REVERSED])
def test_the_student_never_walks_uphill(problem):
    instance = draw_instance(problem, jax.random.key(0))
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    assert natural_units(problem, instance, direction).learning_rate > 0


def test_six_traits_that_are_one_are_reported_as_such(few):
    outcome = verify(README, claims=["trait-matrix"], sampling=few)
    assert not [verdict for verdict in outcome.verdicts if verdict.outcome == "fails"]
    assert "the trait ignores its key, so that six traits are one" in outcome.table
