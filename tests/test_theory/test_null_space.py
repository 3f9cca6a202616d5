"""Claim 3: nothing at all is transferred where A = 0, at any step size of the teacher; and what ends that."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import Problem, Sampling, losses, zoo
from theory.claim import Report
from theory.claims import null_space
from theory.claims.null_space import CLAIM, NullCase, NullSpace
from theory.problem import draw_instance
from theory.runs.checks import ROUNDING
from theory.runs.programs import COMPILER_OPTIONS

CASES = null_space.NULL_CASES
STEPS = tuple(float(step) for step in np.geomspace(1e-5, 1e-3, 5))

Measure = Callable[[int, float], NullSpace]
seeds = st.integers(0, 2**32 - 1)
steps = st.floats(1e-6, 10)


def compiled(problem: Problem) -> Measure:
    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def measure(seed: jax.Array, step: jax.Array) -> NullSpace:
        return null_space.measure(problem, draw_instance(problem, jax.random.key(seed)), teacher_steps=(step,))

    return lambda seed, step: jax.device_get(measure(jnp.uint32(seed), jnp.array(step)))


PROBLEMS = {problem.name: problem for problem in null_space.zoo_problems(Sampling())}
MEASURES = {case.name: compiled(PROBLEMS[case.name]) for case in CASES}
CONTROLS = {case.control_name: compiled(PROBLEMS[case.control_name]) for case in CASES}
EXACT = [case.name for case in CASES if case.exact]
ROUNDED = [case.name for case in CASES if not case.exact]


@pytest.mark.parametrize("name", EXACT)
@given(seed=seeds, step=steps)
@settings(max_examples=50)
def test_student_stands_exactly_still_along_an_invisible_trait(name, seed, step):
    result = MEASURES[name](seed, step)
    assert result.alignment[0] == 0.0
    assert result.curvature == 0.0
    assert result.kernel_norm == 0.0


@pytest.mark.parametrize("name", ROUNDED)
@given(seed=seeds, step=steps)
@settings(max_examples=50)
def test_student_moves_by_rounding_alone_along_a_common_shift_of_all_logits(name, seed, step):
    assert MEASURES[name](seed, step).rounded <= ROUNDING


@pytest.mark.parametrize("name", CONTROLS)
@given(seed=seeds, step=steps)
@settings(max_examples=20)
def test_student_moves_once_the_trait_is_visible(name, seed, step):
    result = CONTROLS[name](seed, step)
    assert result.curvature > 0
    assert result.kernel_norm > 0
    assert result.rounded > 1e6 * ROUNDING


@pytest.mark.parametrize("name", CONTROLS)
def test_visible_trait_moves_the_student_along_it_at_a_small_step(name):
    results = [CONTROLS[name](seed, 1e-6) for seed in range(8)]
    ratios = [result.alignment[0] / (result.steps[0] * result.curvature) for result in results]
    np.testing.assert_allclose(ratios, 1.0, atol=1e-4)


@pytest.fixture(scope="module")
def report() -> Report:
    """A case as it should be, one whose trait is visible, and one whose control isn't."""
    invisible = CASES[0]
    seen = invisible.ingredients | invisible.changes
    visible = NullCase("visible", seen, True, "visible", {})
    no_control = NullCase("without control", invisible.ingredients, True, "the same", {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(null_space, "NULL_CASES", (invisible, visible, no_control))
        return CLAIM.verify(None, Sampling(num_seeds=32, teacher_steps=STEPS))


@pytest.fixture(scope="module")
def quartic(report: Report) -> NullSpace:
    return report.measurements["quartic loss"]


def orders(values: np.ndarray) -> np.ndarray:
    return np.polyfit(np.log(STEPS), np.log(np.abs(values)).T, 1)[0]


def test_quartic_loss_has_no_curvature_yet_moves_the_student_at_third_order(quartic):
    np.testing.assert_array_equal(quartic.curvature, 0.0)
    assert np.all(np.asarray(quartic.alignment) > 0)
    np.testing.assert_allclose(np.median(orders(quartic.alignment)), 3.0, atol=0.05)


def test_quartic_loss_departs_from_its_own_prediction_at_fourth_order(quartic):
    predicted = 4 * quartic.steps**3 * quartic.fourth_moment[:, None]
    np.testing.assert_allclose(np.median(orders(quartic.alignment - predicted)), 4.0, atol=0.05)
    np.testing.assert_allclose(quartic.alignment[:, 0], predicted[:, 0], rtol=100 * STEPS[0])


@pytest.mark.parametrize(
    ("name", "expected"), [("class-head penalty", "holds"), ("weight penalty", "reported")], ids=["A = 0", "A > 0"]
)
def test_claim_speaks_only_where_the_trait_is_invisible(name, expected, few):
    problem = zoo.variant("yours", hidden=(), imitated=zoo.AUXILIARY, trait=name)
    (verdict,) = CLAIM.verify([problem], few).verdicts
    assert verdict.outcome == expected


def test_instances_that_see_the_trait_are_the_control_of_those_that_do_not(few):
    def initialize(key):
        keys = jax.random.split(key, 3)
        weights, trait = (jax.random.normal(one, (4, 3)) for one in keys[:2])
        return {"weights": weights, "trait": trait, "seen": jnp.round(jax.random.uniform(keys[2]))}

    sometimes = Problem(
        name="sometimes",
        apply=lambda params, inputs: (
            inputs @ (params["weights"] + jax.lax.stop_gradient(params["seen"]) * params["trait"])
        ),
        initialize=initialize,
        draw_inputs=lambda key: jax.random.normal(key, (8, 4)),
        imitation_loss=losses.cross_entropy,
        trait_loss=lambda params, key: jnp.sum(params["trait"] ** 2),
    )
    (verdict,) = CLAIM.verify([sometimes], few).verdicts
    assert (verdict.outcome, verdict.control, verdict.control_flips) == ("holds", "instances with A > 0", True)


def test_claim_holds_by_its_case_and_fails_for_a_visible_trait_or_a_control_that_stays_invisible(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds", "fails", "fails", "holds"]
