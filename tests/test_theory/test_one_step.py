"""One step of both, simulated fast: held against the plain simulation, one student at a time; and swept once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import Problem, Sampling, one_step, zoo
from theory.claim import measure_claims
from theory.claims import alignment, trait_loss
from theory.one_step import ANOTHER_INIT, STRETCHED_LOSS, OneStep
from theory.predictions import natural_units, transfer_form
from theory.problem import Instance, draw_instance, inner_product, student_displacement, trait_descent
from theory.runs.checks import CONTROL
from theory.runs.programs import COMPILER_OPTIONS

STEPS, RATES = (1e-4, 1e-2, 1.0), (0.3, 3.0)
EPSILON = np.finfo(float).eps
PROBLEMS = [zoo.build(zoo.REFERENCE), zoo.variant("auxiliary ReLU", activation="relu", imitated=zoo.AUXILIARY)]
MEASURE = partial(one_step.measure, teacher_steps=STEPS, learning_rates=RATES)


def measure_plainly(problem: Problem, instance: Instance) -> OneStep:
    """Simulate every pair of step sizes from the start, without any thought of speed."""
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    units = natural_units(problem, instance, direction)
    steps, rates = jnp.array(STEPS) * units.teacher_step, jnp.array(RATES) * units.learning_rate

    def simulate(step: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        displacement = student_displacement(problem, instance, direction, step)
        after = optax.tree.add_scale(instance.student, rate, displacement)
        change = problem.trait_loss(after, instance.trait_data) - problem.trait_loss(
            instance.student, instance.trait_data
        )
        return inner_product(displacement, direction), change

    inner, change = jax.vmap(jax.vmap(simulate, in_axes=(None, 0)), in_axes=(0, None))(steps, rates)
    curvature = transfer_form(problem, instance._replace(student=instance.teacher), direction, direction)
    return OneStep(curvature, steps, rates, units.visible, inner[:, 0], change)


def compile_measure(
    measure: Callable[..., OneStep], problem: Problem, *, shared: bool = True, **options: Any
) -> Callable[[int], OneStep]:
    @partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    def compiled(seed: jax.Array) -> OneStep:
        return measure(problem, draw_instance(problem, jax.random.key(seed), shared=shared), **options)

    return lambda seed: compiled(jnp.uint32(seed))


def assert_same(fast: OneStep, plain: OneStep) -> None:
    for one, other in zip(fast[:5], plain[:5], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=100 * EPSILON * np.max(np.abs(plain.alignment)))
    np.testing.assert_allclose(fast.change, plain.change, rtol=1e-11, atol=100 * EPSILON)


@pytest.fixture(scope="module", params=[(PROBLEMS[0], True), (PROBLEMS[1], False)], ids=["shared", "stranger"])
def both(request: pytest.FixtureRequest) -> tuple[Callable[[int], OneStep], Callable[[int], OneStep]]:
    problem, shared = request.param
    return compile_measure(MEASURE, problem, shared=shared), compile_measure(measure_plainly, problem, shared=shared)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_fast_simulation_equals_the_plain_one(both, seed):
    fast, plain = both
    assert_same(fast(seed), plain(seed))


def test_steps_side_by_side_are_the_same_as_one_after_another():
    together, alone = compile_measure(MEASURE, PROBLEMS[0], steps_at_once=2), compile_measure(MEASURE, PROBLEMS[0])
    assert_same(together(5), alone(5))


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The cases of every sweep; each gives two instances of ones."""
    asked: list[list[str]] = []

    def sweep_all(self: Sampling, measures: Any, description: str) -> dict[str, OneStep]:
        asked.append(list(measures))
        steps, rates = np.tile(self.teacher_steps, (2, 1)), np.ones((2, len(self.learning_rates)))
        visible = np.ones(2, bool)
        return dict.fromkeys(
            measures,
            OneStep(
                *map(jnp.asarray, (np.ones(2), steps, rates, visible, steps, steps[..., None] * rates[:, None])),
                alignment_rounding=np.zeros(2),
                change_rounding=np.zeros_like(rates),
            ),
        )

    monkeypatch.setattr(Sampling, "sweep_all", sweep_all)
    return asked


CLAIMS = (alignment.CLAIM, trait_loss.CLAIM)


def test_both_claims_look_at_one_sweep(sweeps):
    for evidence in measure_claims(CLAIMS, PROBLEMS, Sampling()):
        assert list(evidence.cases) == sweeps[0]
    controls = [f"{CONTROL}{name}" for name in (ANOTHER_INIT, STRETCHED_LOSS)]
    assert sweeps == [[*(problem.name for problem in PROBLEMS), *controls]]


def test_both_claims_look_at_one_sweep_of_the_zoo(sweeps):
    assert len(list(measure_claims(CLAIMS, None, Sampling(cases="few")))) == 2
    assert len(sweeps) == 1


def test_no_two_claims_record_what_was_measured(sweeps):
    first, second = (evidence.first for evidence in measure_claims(CLAIMS, PROBLEMS, Sampling()))
    assert first._fields == ("predicted", "steps", "measured", "visible", "rounding")
    assert second._fields == ("predicted", "steps", "measured", "visible", "rounding")
    assert sweeps
