"""Natural units and fitted orders at any scale of the outputs, and from parameters in float32."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Problem, losses, verify
from theory.claim import Claim, measure_claims
from theory.claims import alignment, trait_loss
from theory.predictions import natural_units
from theory.problem import Params, draw_instance, in_double_precision, inner_product, trait_descent
from theory.runs.checks import CONTROL, Evidence
from theory.runs.verdicts import Verdict

SCALES = (1e-8, 1e-4, 1.0, 1e4)


def apply(params: Params, inputs: jax.Array) -> jax.Array:
    """The network of the README."""
    return jnp.tanh(inputs @ params["in"]) @ params["out"]


def initialize(key: jax.Array) -> Params:
    into, out = jax.random.split(key)
    return {"in": jax.random.normal(into, (8, 16)) / 8**0.5, "out": jax.random.normal(out, (16, 4)) / 4}


def in_single(draw: Callable[[jax.Array], Params]) -> Callable[[jax.Array], Params]:
    return lambda key: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), draw(key))


def yours(scale: float, **changes: Any) -> Problem:
    def scaled(params: Params, inputs: jax.Array) -> jax.Array:
        return scale * apply(params, inputs)

    parts: dict[str, Any] = {
        "name": f"outputs × {scale:g}",
        "apply": scaled,
        "initialize": initialize,
        "draw_inputs": lambda key: jax.random.uniform(key, (32, 8)),
        "imitation_loss": losses.squared_error,
        "trait_loss": lambda params, key: -scaled(params, jnp.ones((1, 8)))[0, 0],
    }
    return Problem(**parts | changes)


FLOAT32 = yours(
    1.0,
    name="float32",
    initialize=in_single(initialize),
    draw_inputs=in_single(lambda key: jax.random.uniform(key, (32, 8))),
)
PROBLEMS = (*map(yours, SCALES), in_double_precision(FLOAT32))
CLAIMS = (alignment.CLAIM, trait_loss.CLAIM)

Results = dict[Any, Mapping[str, Any]]


@pytest.fixture(scope="module")
def results(few) -> Results:
    """What both claims measured of every problem, from one sweep."""
    return {
        claim: evidence.cases for claim, evidence in zip(CLAIMS, measure_claims(CLAIMS, PROBLEMS, few), strict=True)
    }


def outcomes(verdicts: list[Verdict]) -> list[str]:
    return [verdict.outcome for verdict in verdicts]


def judge(claim: Claim, case: str, results: Results, few: Any, **changes: Any) -> list[Verdict]:
    """Judge one problem alone, some of its numbers changed."""
    chosen = {name: one for name, one in results[claim].items() if name == case or name.startswith(CONTROL)}
    return claim.judge(Evidence(chosen | {case: chosen[case]._replace(**changes)}, few))


@pytest.mark.parametrize("claim", CLAIMS, ids=["alignment", "trait-loss"])
@pytest.mark.parametrize("case", [problem.name for problem in PROBLEMS])
def test_both_claims_hold_at_every_scale_and_a_wrong_prediction_holds_at_none(case, claim, results, few):
    assert outcomes(judge(claim, case, results, few)) == ["holds", "holds"]
    predicted = results[claim][case].predicted
    assert outcomes(judge(claim, case, results, few, predicted=1.01 * predicted)) == ["fails", "holds"]
    assert outcomes(judge(claim, case, results, few, predicted=-predicted)) == ["fails", "fails"]


@pytest.mark.parametrize("claim", CLAIMS, ids=["alignment", "trait-loss"])
def test_what_is_all_rounding_has_no_order_and_says_so(claim, results, few):
    case = PROBLEMS[0].name
    measured = results[claim][case]
    rounding = np.abs(measured.measured).max(axis=-1)
    verdicts = judge(claim, case, results, few, rounding=rounding)
    assert sorted(outcomes(verdicts)) == ["holds", "reported"]
    (reported,) = (verdict for verdict in verdicts if verdict.outcome == "reported")
    assert reported.reason == "fewer than three step sizes above rounding"
    wrong = judge(claim, case, results, few, rounding=rounding, predicted=1.5 * measured.predicted)
    assert sorted(outcomes(wrong)) == ["fails", "reported"]


def test_a_network_that_computes_in_float32_is_not_judged_by_an_order(few):
    def single(params: Params, inputs: jax.Array) -> jax.Array:
        return apply(*jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, inputs))).astype(float)

    outcome = verify(yours(1.0, apply=single), claims=["alignment"], sampling=few)
    orders = [verdict for verdict in outcome.verdicts if "order" in verdict.check]
    assert [verdict.outcome for verdict in orders] == ["reported"]


def test_float32_parameters_and_inputs_are_verified_in_float64(few):
    outcome = verify(FLOAT32, claims=["alignment"], sampling=few)
    assert {verdict.outcome for verdict in outcome.verdicts if verdict.claim == "alignment"} == {"holds"}


@pytest.mark.parametrize("loss", [losses.squared_error, losses.cross_entropy])
@pytest.mark.parametrize("scale", [0.0, *SCALES])
def test_no_unit_step_moves_outputs_or_parameters_beyond_four_times_their_size(loss, scale):
    problem = yours(scale, imitation_loss=loss, trait_loss=yours(1.0).trait_loss)
    instance = draw_instance(problem, jax.random.key(0))
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    step = natural_units(problem, instance, direction).teacher_step
    outputs, change = jax.jvp(lambda params: problem.apply(params, instance.inputs), (instance.teacher,), (direction,))
    moved, rms = jnp.sqrt(jnp.mean((step * change) ** 2)), jnp.sqrt(jnp.mean(outputs**2))
    weights = inner_product(instance.teacher, instance.teacher)
    assert moved <= 4 * rms * (1 + 1e-12)
    assert step**2 * inner_product(direction, direction) <= 16 * weights * (1 + 1e-12)
    if scale == 1e4:
        assert moved == pytest.approx(rms if loss is losses.squared_error else 1.0)
