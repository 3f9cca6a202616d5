"""Claim 18: what outputs see of a step, layer by layer in NumPy, and powers of the width."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims import width
from theory.claims.width import AUXILIARY, CLASSES, HEAD, RULES, WIDTHS, Width, build
from theory.problem import Instance, draw_instance, trait_descent

SAMPLING = Sampling(num_seeds=32)
MEASURE = jax.jit(lambda seed: width.measure(jax.random.key(seed), teacher_steps=(1e-5,)))
seeds = st.integers(0, 2**32 - 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def curvature(logits: np.ndarray, change: np.ndarray) -> float:
    """Mean of uᵀ(diag(p) − ppᵀ)u."""
    probabilities = softmax(logits)
    return np.mean(np.sum(probabilities * change**2, axis=1) - np.sum(probabilities * change, axis=1) ** 2)


@partial(jax.jit, static_argnames=("rule", "units"))
def drawn(seed: jax.Array, rule: str, units: int) -> tuple[Instance, Any]:
    size = jnp.array(float(units))
    _, classes = build(size, size ** RULES[rule].scale, size ** RULES[rule].weights)
    instance = draw_instance(classes, jax.random.key(seed))
    return instance, trait_descent(classes, instance.teacher, instance.trait_data)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_seen_is_that_of_both_layers_by_hand(rule, place):
    units, scale = WIDTHS[place], WIDTHS[place] ** RULES[rule].scale
    instance, descent = jax.device_get(drawn(jnp.uint32(3), rule, units))
    if RULES[rule].signs:
        descent = jax.tree.map(np.sign, descent)
    hidden = np.tanh(instance.inputs @ instance.teacher["hidden"][:, :units])
    head, moved = instance.teacher["head"][:units], (1 - hidden**2) * (instance.inputs @ descent["hidden"][:, :units])
    logits, by_body, by_head = (
        scale * part for part in (hidden @ head, moved @ head, hidden @ descent["head"][:units])
    )
    classes, auxiliary = list(zoo.CLASSES), list(zoo.AUXILIARY)
    assert np.all(by_head[:, auxiliary] == 0)
    seen = MEASURE(3).predicted[list(RULES).index(rule), place]
    assert seen[AUXILIARY] == pytest.approx(curvature(logits[:, auxiliary], by_body[:, auxiliary]), rel=1e-9)
    assert seen[HEAD] == pytest.approx(curvature(logits[:, classes], by_head[:, classes]), rel=1e-9)
    assert seen[CLASSES] == pytest.approx(curvature(logits[:, classes], (by_body + by_head)[:, classes]), rel=1e-9)


@given(seed=seeds)
def test_units_that_are_switched_off_neither_start_nor_move(seed):
    instance, descent = jax.device_get(drawn(jnp.uint32(seed), "standard", WIDTHS[0]))
    for params in (instance.teacher, descent):
        assert not np.any(params["hidden"][:, WIDTHS[0] :])
        assert not np.any(params["head"][WIDTHS[0] :])
    assert np.all(instance.teacher["head"][: WIDTHS[0]])


@given(seed=seeds)
@settings(max_examples=10)
def test_tangent_kernel_sees_as_much_with_auxiliary_outputs_and_less_by_the_width_squared_with_classes(seed):
    """Both are the same function at first; only the head's gradient differs, by 1/n."""
    seen = MEASURE(seed).predicted
    standard, kernel = (seen[list(RULES).index(rule)] for rule in ("standard", "NTK"))
    np.testing.assert_allclose(kernel[:, AUXILIARY], standard[:, AUXILIARY], rtol=1e-9)
    np.testing.assert_allclose(kernel[:, HEAD] * np.array(WIDTHS) ** 2, standard[:, HEAD], rtol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_exponent_is_that_of_the_limit_where_slopes_miss_it_by_a_share_of_1_over_n(rule):
    widths, seen = np.array(WIDTHS), np.ones((1, len(RULES), len(WIDTHS), 3))
    seen[0, list(RULES).index(rule), :, AUXILIARY] = widths**-1.7 * np.exp(3 / widths)
    assert width.exponent(rule)(Width(*map(jnp.asarray, (seen, seen)))) == pytest.approx([-1.7])


@pytest.fixture(scope="module")
def report() -> Report:
    return width.CLAIM.verify(None, SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    judged = [verdict for verdict in report.verdicts if verdict.accepted is not None]
    assert [verdict.outcome for verdict in judged] == ["holds"] * 5
    assert all(verdict.control_flips for verdict in judged)


def test_power_that_is_off_by_a_half_is_noticed(report, judge_again):
    def wrong(one: Width) -> Width:
        seen = np.array(one.measured)
        seen[..., AUXILIARY] *= np.array(WIDTHS)[None, None] ** 0.5
        return one._replace(measured=seen, predicted=seen)

    assert judge_again(width.CLAIM, SAMPLING, report, wrong)[:5] == ["holds", *["fails"] * 4]
