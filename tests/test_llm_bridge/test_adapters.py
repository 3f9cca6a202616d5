"""Adapters joined and added to weights are the same function, to rounding; with anything else in their place not."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.model.adapters import even_out, fold, join
from llm_bridge.model.recipes import Recipe, merge
from llm_bridge.model.shapes import PROJECTIONS, Config, initialize
from llm_bridge.model.transformer import apply
from theory.problem import Params

CONFIG = Config(vocabulary=11, width=8, num_layers=2, num_heads=2, num_key_heads=1, head_size=4, hidden=6)
SCALE = 0.7
RANKS = {name: 1 + place % 3 for place, name in enumerate(PROJECTIONS)}
SOME = {"query": 3, "down": 2, "gate": 1}
TOKENS = jax.random.randint(jax.random.key(7), (3, 6), 0, CONFIG.vocabulary)


def draw(seed: int, ranks: dict[str, int]) -> Params:
    """Random adapters of these ranks, so large that a wrong one is seen in every logit."""
    random = np.random.default_rng(seed)
    return {
        name: {
            "into": 0.3 * random.normal(size=(CONFIG.num_layers, CONFIG.sizes()[name][0], rank)),
            "out": 0.3 * random.normal(size=(CONFIG.num_layers, rank, CONFIG.sizes()[name][1])),
        }
        for name, rank in ranks.items()
    }


def swap_layers(adapters: Params) -> Params:
    """One factor of each product in the other layer's place."""
    return {name: {"into": each["into"][::-1], "out": each["out"]} for name, each in adapters.items()}


@pytest.fixture
def params() -> Params:
    return initialize(CONFIG, jax.random.key(0), jnp.float64)


@jax.jit
def logits(params: Params, adapters: Params | None = None, scale: float = 1.0) -> jax.Array:
    return apply(CONFIG, params, TOKENS, adapters=adapters, adapter_scale=scale)


def gap(one: Any, other: Any) -> float:
    return float(jnp.max(jnp.abs(one - other)))


@pytest.mark.parametrize(
    ("before", "trained"), [(RANKS, SOME), (SOME, RANKS), (SOME, {"key": 2, "query": 1}), ({}, SOME)]
)
def test_adapters_that_a_model_has_and_those_in_training_are_both_added_to_its_weights(params, before, trained):
    first, second = draw(1, before), draw(2, trained)
    both = logits(params | {"adapters": first}, second, SCALE)
    assert gap(both, logits(fold(fold(params, first), second, SCALE))) <= 1e-13
    for wrong in (
        fold(fold(params, first), second, 2 * SCALE),
        fold(fold(params, first), swap_layers(second), SCALE),
        fold(fold(params, swap_layers(first) if first else second), second, SCALE),
        fold(params, second, SCALE) if first else params,
    ):
        assert gap(both, logits(wrong)) > 1e-3


@pytest.mark.parametrize(("one", "other"), [(RANKS, SOME), (SOME, RANKS), ({"up": 1}, {"value": 2})])
def test_joined_adapters_add_both_and_scale_the_others_alone(params, one, other):
    first, second = draw(1, one), draw(2, other)
    joined = join(first, second, SCALE)
    ranks = {name: each["into"].shape[-1] for name, each in joined.items()}
    assert ranks == {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}
    expected = fold(fold(params, first), second, SCALE)["layers"]
    for wrong, scale in (
        (joined, 1.0),
        (join(first, second, 1.0), 1.0),
        (join(second, first, SCALE), 1.0),
        (joined, SCALE),
    ):
        found = fold(params, wrong, scale)["layers"]
        distance = max(gap(found[name]["kernel"], expected[name]["kernel"]) for name in PROJECTIONS)
        assert distance <= 1e-14 if wrong is joined and scale == 1 else distance > 1e-2


def test_a_student_of_a_model_with_adapters_keeps_the_weights_and_has_the_joined_ones(params):
    first, second, recipe = draw(1, RANKS), draw(2, SOME), Recipe(rank=2, alpha=3.0)
    student = merge(recipe, params | {"adapters": first}, second)
    assert student["layers"] is params["layers"]
    trained = logits(params | {"adapters": first}, second, recipe.adapter_scale)
    assert gap(logits(student), trained) <= 1e-13
    assert gap(logits(merge(replace(recipe, alpha=1.0), params | {"adapters": first}, second)), trained) > 1e-3


def test_adapters_of_one_rank_are_the_same_function(params):
    adapters = draw(1, RANKS)
    even = even_out(adapters)
    assert {each["into"].shape[-1] for each in even.values()} == {max(RANKS.values())}
    assert {each["out"].shape[-2] for each in even.values()} == {max(RANKS.values())}
    expected = logits(params, adapters, SCALE)
    assert gap(logits(params, even, SCALE), expected) <= 1e-13
    assert gap(logits(params, even_out(swap_layers(adapters)), SCALE), expected) > 1e-3
    assert even_out({}) == {}
