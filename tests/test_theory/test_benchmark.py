"""The benchmark: every way gives the same numbers, operations are counted right, and speed fails nobody."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import zoo
from theory.benchmark import command, growth, torch_steps
from theory.benchmark import implementations as ways
from theory.benchmark.command import LOOP, OURS, PLAIN, Benchmark, Times
from theory.benchmark.growth import ALONE, Way, growth_table, judge_growth, run_way, time_sweeps, ways_of
from theory.benchmark.picture import draw_benchmark
from theory.runs.command_line import InputError
from theory.runs.programs import CHUNK_SIZE
from theory.runs.records import Outcome, Record

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

OPTIONS = Benchmark(num_seeds=(3,), num_steps=3, repetitions=2)


WAYS = ("1 device", "2 devices", "4 devices", "8 devices", "2 processes of 1 device")


def pretend(way: Way, settings: dict) -> list[dict]:
    """Each process takes a second a seed, those of several less; the last has more memory."""
    shape = (settings["repetitions"], 1)
    seconds = np.tile(np.array(settings["num_seeds"], float), shape) / (way.devices * way.processes)
    memory = [100] * len(settings["num_seeds"])
    each = [{"seconds": (seconds - 0.1 * part).tolist(), "memory": memory, "at_once": 64} for part in range(2)]
    each[1]["memory"] = [200] * len(memory)
    return each[: way.processes]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "run_way", pretend)
        return command.benchmark(OPTIONS)


def test_all_ways_agree_and_speed_is_only_reported(outcome):
    others = [PLAIN, LOOP] + [command.TORCH] * torch_steps.is_installed()
    verdicts = [verdict.outcome for verdict in outcome.verdicts]
    assert verdicts == ["reported"] * len(others) + ["holds"] + ["reported"] * (len(WAYS) - 1)
    assert outcome.verdicts[len(others)].instances == len(others)


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


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_torch_gives_the_same_numbers_where_outputs_are_small_too(scale):
    pytest.importorskip("torch")
    problem, steps = zoo.build(zoo.REFERENCE), OPTIONS.teacher_steps
    drawn = problem.initialize
    problem = replace(problem, initialize=lambda key: jax.tree.map(lambda leaf: scale * leaf, drawn(key)))
    ours, torch = ways.run_in_chunks(problem, 5, steps)(3), ways.run_in_torch(problem, 5, steps, 3)(3)
    assert command.disagreement(torch, ours) < 1e-11


def test_every_way_to_grow_is_timed_and_the_slowest_and_largest_process_counts(outcome):
    names = [name for name in outcome.results if name.startswith("growth/") and name.endswith("seconds")]
    assert names == [f"growth/{name}/seconds" for name in WAYS]
    np.testing.assert_array_equal(outcome.results["growth/2 processes of 1 device/seconds"], [[1.5], [1.5]])
    np.testing.assert_array_equal(outcome.results["growth/2 processes of 1 device/memory"], [200])
    assert outcome.results["growth/at once"] == 64


def test_a_sweep_is_the_same_in_each_way_that_is_named_twice():
    assert ways_of((1, 2, 2), (1, 3)) == [ALONE, Way(2), Way(1, 3)]
    assert [way.name for way in ways_of((), ())] == ["1 device"]
    assert Way(2, 3).name == "3 processes of 2 devices"


def test_growth_is_one_where_time_is_linear_and_memory_flat():
    results = {"growth/1 device/seconds": np.array([[1.0, 10.0, 100.0]] * 3), "growth/cores": np.array(2)}
    results |= {"growth/1 device/memory": np.array([5, 5, 5]), "growth/2 devices/memory": np.array([5, 5, 10])}
    results["growth/2 devices/seconds"] = results["growth/1 device/seconds"] / np.array([[1], [2], [4]])
    verdicts = judge_growth(results, (1, 10, 100))
    assert [tuple(verdict.measured) for verdict in verdicts] == [(1, 1, 1), (1, 1, 1), (2, 1, 4)]
    assert [verdict.outcome for verdict in verdicts] == ["reported"] * 3
    assert "| 2 devices                 | 0.5 s, 4.66e-09 GiB | 5 s, 4.66e-09 GiB" in growth_table(
        results, (1, 10, 100)
    )


def test_a_sweep_is_timed_at_every_number_of_seeds_in_a_memory_that_only_grows(monkeypatch):
    sizes = []
    monkeypatch.setattr(growth, "run_share", lambda program, count: sizes.append(count))
    monkeypatch.setattr(growth, "gather_shares", lambda shares, count: shares)
    measured = time_sweeps(0, (1, 3), OPTIONS.teacher_steps, 2)
    assert sizes == [1, 3] * 3
    assert np.shape(measured["seconds"]) == (2, 2)
    assert 2**26 < measured["memory"][0] <= measured["memory"][1]
    assert measured["at_once"] == CHUNK_SIZE["cpu"]


def test_two_processes_of_two_devices_time_the_same_seeds():
    settings = {"seed": 0, "num_seeds": (1, 70), "teacher_steps": OPTIONS.teacher_steps, "repetitions": 1}
    one, other = run_way(Way(2, 2), settings)
    assert one["at_once"] == other["at_once"] == 128
    assert np.all(np.array([one["seconds"], other["seconds"]]) > 0)


def test_a_way_that_fails_says_why_in_a_line():
    with pytest.raises(InputError, match=r"the sweep on 1 device failed: TypeError: .*'astrology'$"):
        run_way(ALONE, {"astrology": 1})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seeds": ()}, "num_seeds must be"),
        ({"num_seeds": (10, 1)}, "num_seeds must be"),
        ({"num_seeds": (0, 10)}, "num_seeds must be"),
        ({"num_steps": 0}, "num_steps must be from 1 to 10000"),
        ({"num_steps": 2**32}, "num_steps must be from 1 to 10000"),
        ({"repetitions": 0}, "repetitions must be"),
        ({"devices": (1, 0)}, "devices must be from 1 to 64"),
        ({"processes": (65,)}, "processes must be from 1 to 64"),
        ({"seed": -1}, "seed must be"),
    ],
    ids=str,
)
def test_benchmark_refuses_what_can_not_be_timed(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **fields)
