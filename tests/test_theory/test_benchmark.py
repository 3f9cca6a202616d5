"""The benchmark: every way gives the same numbers, operations are counted right, and speed fails nobody."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import zoo
from theory.benchmark import command, torch_steps
from theory.benchmark import implementations as ways
from theory.benchmark.command import LOOP, OURS, PLAIN, Benchmark, Times
from theory.benchmark.picture import draw_benchmark
from theory.runs.records import Outcome, Record

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

OPTIONS = Benchmark(num_seeds=(3,), num_steps=3, repetitions=2)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return command.benchmark(OPTIONS)


def test_all_ways_agree_and_speed_is_only_reported(outcome):
    others = [PLAIN, LOOP] + [command.TORCH] * torch_steps.is_installed()
    assert [verdict.outcome for verdict in outcome.verdicts] == ["reported"] * len(others) + ["holds"]
    assert outcome.verdicts[-1].instances == len(others)


def test_every_way_is_timed_in_every_repetition(outcome):
    rates = {name: array for name, array in outcome.results.items() if name.startswith("rate/")}
    assert {f"rate/{name}" for name in (OURS, PLAIN, LOOP)} <= set(rates)
    for array in rates.values():
        assert array.shape == (2, 1)
        assert np.all(array > 0)


def test_more_is_counted_by_xla_than_matrix_products(outcome):
    counted, by_formula = (outcome.results[f"operations/{name}"] for name in ("counted by XLA", "matrix products"))
    assert by_formula < counted < 3 * by_formula


def test_record_can_be_drawn(outcome):
    record = Record(Path(), OPTIONS.config(), dict(outcome.results), [], outcome.table, {})
    legend = draw_benchmark(record).axes[0].get_legend()
    assert legend is not None
    assert OURS in legend.get_texts()[0].get_text()


def test_operations_are_those_of_the_matrix_products():
    """A pass forward and a pull-back, counted by XLA on a linear network, where nothing else is to be done."""
    problem = zoo.variant("deep linear model", activation="identity")
    params = problem.initialize(jax.random.key(0))
    inputs, slopes = jnp.ones((zoo.BATCH, zoo.NUM_FEATURES)), jnp.ones((zoo.BATCH, zoo.NUM_OUTPUTS))

    def both(params: object) -> object:
        outputs, pull_back = jax.vjp(lambda params: problem.apply(params, inputs), params)
        return outputs, pull_back(slopes)

    cost = jax.jit(both).lower(params).cost_analysis() or {}
    forward = 2 * zoo.BATCH * (8 * 16 + 16 * 16 + 16 * 6)
    pull_back = forward + 2 * zoo.BATCH * (16 * 16 + 16 * 6)
    assert cost["flops"] == pytest.approx(forward + pull_back, rel=0.05)
    assert command.count_operations(2) == pytest.approx(2 * forward + pull_back + (4 * forward + pull_back) / 2)


@pytest.mark.parametrize(("error", "expected"), [(1e-15, "holds"), (1e-6, "fails"), (float("nan"), "fails")])
def test_ways_that_differ_fail_the_run(error, expected):
    one = np.ones((2, 3))
    times = Times({OURS: one[:1, :1], PLAIN: one[:1, :1]}, one[0, :1], {OURS: (one, one), PLAIN: (one, one + error)})
    assert command.judge(times, 1)[-1].outcome == expected


def test_torch_gives_the_same_numbers():
    pytest.importorskip("torch")
    problem, steps = zoo.build(zoo.REFERENCE), OPTIONS.teacher_steps
    ours, torch = ways.run_in_chunks(problem, 5, steps)(3), ways.run_in_torch(problem, 5, steps, 3)(3)
    assert command.disagreement(torch, ours) < 1e-11


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seeds": ()}, "num_seeds must be"),
        ({"num_seeds": (10, 1)}, "num_seeds must be"),
        ({"num_seeds": (0, 10)}, "num_seeds must be"),
        ({"num_steps": 0}, "num_steps must be from 1 to 10000"),
        ({"num_steps": 2**32}, "num_steps must be from 1 to 10000"),
        ({"repetitions": 0}, "repetitions must be"),
        ({"seed": -1}, "seed must be"),
    ],
    ids=str,
)
def test_benchmark_refuses_what_can_not_be_timed(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **fields)
