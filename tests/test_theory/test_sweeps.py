"""Sweeps: an instance's numbers are its own; and which samplings are refused."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claims import null_space
from theory.claims.null_space import NullSpace
from theory.experiments import experiment
from theory.runs.command_line import InputError
from theory.runs.programs import ChunkProgram, compile_chunks
from theory.runs.sweeps import sweep

SMALL = zoo.variant("small", hidden=())
MEASURE = experiment(SMALL, null_space.measure, teacher_steps=(1e-4, 1e-3, 1e-2))


class Draw(NamedTuple):
    value: jax.Array


def draw(key: jax.Array) -> Draw:
    return Draw(jax.random.normal(key, (3,)))


@pytest.fixture(scope="module")
def eight() -> NullSpace:
    return sweep(MEASURE, 7, 8, chunk_size=8)


def test_an_instance_is_the_same_to_the_bit_however_many_run_beside_it(eight):
    twenty = sweep(MEASURE, 7, 20, chunk_size=8)
    assert len(twenty.alignment) == 20
    for one, other in zip(eight, twenty, strict=True):
        np.testing.assert_array_equal(one, other[:8])


def test_an_instance_is_the_same_to_rounding_in_chunks_of_another_size(eight):
    for one, other in zip(eight, sweep(MEASURE, 7, 8, chunk_size=3), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_an_instance_is_drawn_from_its_own_key():
    expected = [jax.random.normal(jax.random.fold_in(jax.random.key(3), index), (3,)) for index in range(5)]
    np.testing.assert_allclose(sweep(draw, 3, 5, chunk_size=2).value, expected, rtol=1e-13)


def test_another_root_gives_other_instances():
    assert not np.any(sweep(draw, 0, 5).value == sweep(draw, 1, 5).value)


@pytest.mark.parametrize(("planted", "different"), [(lambda index: index * 0, 1), (lambda index: index // 2, 3)])
def test_instances_that_are_one_and_the_same_end_a_sweep(planted, different, monkeypatch):
    fold_in = jax.random.fold_in
    monkeypatch.setattr(jax.random, "fold_in", lambda root, index: fold_in(root, planted(index)))
    with pytest.raises(RuntimeError, match=f"5 instances were drawn from {different} keys"):
        Sampling(num_seeds=5).sweep_all({"one": draw}, "test")


@pytest.mark.parametrize(("num_seeds", "chunk_size"), [(0, 8), (-1, 8), (8, 0)])
def test_a_sweep_over_nothing_is_refused(num_seeds, chunk_size):
    with pytest.raises(ValueError, match="num_seeds and chunk_size must be at least 1"):
        sweep(draw, 0, num_seeds, chunk_size=chunk_size)


def draw_large(key: jax.Array) -> Draw:
    return Draw(jax.random.normal(key, (10**5, 10**5)) @ jax.random.normal(key, (10**5, 3)))


def test_memory_stays_flat_however_many_instances_there_are():
    few, many = (compile_chunks(MEASURE, 0, num_seeds, None) for num_seeds in (10, 10**7))
    assert few.chunk_size == many.chunk_size
    assert few.working_size == many.working_size > few.result_size


def test_results_that_would_not_fit_are_refused_with_their_size():
    with pytest.raises(InputError, match=r"10000000000000 instances .* fewer: 2.98e\+05 GiB needed, .* GiB available"):
        sweep(draw, 0, 10**13)


def test_an_instance_that_would_not_fit_is_refused_with_its_size():
    with pytest.raises(InputError, match=r"single instance does not fit .* smaller network: .* GiB needed"):
        sweep(draw_large, 0, 2)


def test_a_chunk_that_would_not_fit_is_halved_until_it_does(monkeypatch):
    whole = ChunkProgram(MEASURE, 0, 64)
    monkeypatch.setattr("theory.runs.programs.free_memory", lambda: 20.5 * whole.working_size)
    assert compile_chunks(MEASURE, 0, 64, None).chunk_size == 8


def test_cases_are_swept_side_by_side_under_their_names():
    sampling = Sampling(seed=5, num_seeds=3)
    results = sampling.sweep_all({"one": draw, "two": draw}, "test")
    assert list(results) == ["one", "two"]
    for result in results.values():
        np.testing.assert_array_equal(result.value, sweep(draw, 5, 3).value)


def test_only_small_steps_enter_a_fitted_order():
    sampling = Sampling(teacher_steps=(1e-5, 1e-4, 1e-3, 1.0))
    steps = np.array(sampling.teacher_steps)
    assert sampling.num_fitted == 3
    assert sampling.orders(np.where(steps < 0.1, steps**2, 1e9)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"num_seeds": -3}, "num_seeds must be at least 1"),
        ({"learning_rates": ()}, "learning_rates must be"),
        ({"learning_rates": (0.0,)}, "learning_rates must be"),
        ({"largest_fitted_step": float("nan")}, "largest_fitted_step must be"),
        ({"largest_fitted_step": 1e-9}, "teacher_steps must be at least three different values"),
        ({"teacher_steps": (1e-5, 1e-4)}, "teacher_steps must be at least three different values"),
        ({"teacher_steps": (1e-4, 1e-4, 1e-4)}, "teacher_steps must be at least three different values"),
        ({"teacher_steps": (1e-3, 1e-4, 1e-5)}, "teacher_steps must be in increasing order"),
    ],
    ids=str,
)
def test_sampling_refuses_what_can_not_be_sampled(fields: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        Sampling(**fields)


bad = st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0]) | st.floats(max_value=-1e-300)


@given(value=bad, place=st.integers(0, 3))
def test_sampling_refuses_any_step_that_is_no_finite_number_above_zero(value, place):
    steps = [1e-5, 1e-4, 1e-3, 1.0]
    steps[place] = value
    with pytest.raises(ValueError, match="teacher_steps must be finite numbers above zero"):
        Sampling(teacher_steps=tuple(steps))
    with pytest.raises(ValueError, match="learning_rates must be finite numbers above zero"):
        Sampling(learning_rates=tuple(steps))
