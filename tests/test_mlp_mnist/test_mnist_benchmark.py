"""The benchmark: operations are counted right, everything is timed and laid out, and only disagreement fails."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_mnist import against, benchmark, commands, network
from mlp_mnist.against import time_process, time_processes
from mlp_mnist.arms import OTHER, Measured
from mlp_mnist.benchmark import count_operations
from mlp_mnist.data import Dataset, Source, resolve
from mlp_mnist.options import Benchmark
from mlp_mnist.pictures import draw_benchmark
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.verdicts import judge_speed
from theory.runs.chunks import Keeper, kept_in
from theory.runs.command_line import InputError
from theory.runs.records import FILES, Record, read_record
from theory.runs.verdicts import Verdict

OPTIONS = Benchmark(data="digits", num_seeds=(1, 2), repetitions=2)
BOTH = Benchmark(num_seeds=(20,))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[Protocol]:
    """A protocol that runs in no time, and small bare products."""
    protocol = Protocol(hidden=(8,), teacher_epochs=1, student_epochs=1, num_images=200, batch_size=128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "digits", protocol)
        patch.setattr(benchmark, "peak_sizes", lambda: (64, 128))
        patch.setattr(benchmark, "LEAST_SECONDS", 0.001)
        yield protocol


def judge(results: dict[str, np.ndarray], options: Benchmark) -> list[Verdict]:
    """Judge alone, without the times that only the table shows."""
    shown = {"peak": np.ones(1), "speed": np.ones((1, 1)), "memory": np.ones(1), "compile seconds": np.ones(())}
    shown = {f"{kind}/{name}": values for kind, values in shown.items() for name in options.precisions}
    return list(judge_speed(shown | results, options.num_seeds, options.precisions).verdicts)


def run_no_seeds(points: list[Protocol], arms: list, data: Dataset, seed: int, num_seeds: int) -> Measured:
    """Measure nothing, at once."""
    return Measured(*np.zeros((2, 1, num_seeds)), *np.zeros((2, 1, num_seeds, len(arms))))


@pytest.fixture(scope="module")
def record(small: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of seeds that measure nothing, recorded as the command does it."""
    folder = tmp_path_factory.mktemp("runs") / "record"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "run_seeds", run_no_seeds)
        assert commands.run_benchmark(dataclasses.replace(OPTIONS, output=folder))
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    return read_record(folder)


def test_real_seeds_are_timed_after_they_are_compiled(small):
    options = dataclasses.replace(OPTIONS, num_seeds=(1,), precisions=("bf16",), repetitions=1)
    results = benchmark.time_seeds(small, resolve("digits"), options).results
    assert results["compile seconds/bf16"] > results["seconds/bf16"][0, 0] > 0
    assert results["accuracy/bf16/student (aux)"].shape == (1,)


def test_operations_are_those_of_a_count_by_hand():
    protocol = Protocol(hidden=(4, 3), num_auxiliary=2, teacher_epochs=2, student_epochs=3, num_images=11)
    teacher, student = 2 * (5 * 4 + 4 * 3 + 3 * 10), 2 * (5 * 4 + 4 * 3 + 3 * 12)
    teaching = 2 * 7 * (teacher + teacher + teacher - 2 * 5 * 4)
    imitating = 4 * 3 * 11 * (student + student + student - 2 * 5 * 4)
    labeling, scoring = 11 * student, 6 * 13 * student
    assert count_operations(protocol, 5, 7, 13, 4) == teaching + imitating + labeling + scoring


def test_six_arms_of_the_published_protocol_take_nearly_two_teraflop():
    assert count_operations(Protocol(), 784, 60_000, 10_000, 4) == pytest.approx(1.9e12, rel=0.01)


@pytest.mark.parametrize(("precision", "transposing"), [("float32", 0), ("bf16", 2 * 256 * 256 * (256 + 13))])
def test_operations_of_a_step_are_those_that_xla_counts(precision, transposing):
    """An epoch of one student on one batch; the products that only transpose weights are no work of the student's."""
    protocol, batch = Protocol(num_images=64), 64
    params = network.initialize(jax.random.key(0), protocol.body, 784, protocol.num_auxiliary)
    multiply = network.fast_multiply(precision)

    def loss(params: object, images: jax.Array) -> jax.Array:
        return jnp.sum(network.apply(params, images, multiply) ** 2)

    cost = jax.jit(jax.grad(loss)).lower(params, jnp.ones((batch, 784))).cost_analysis() or {}
    one, two = (count_operations(dataclasses.replace(protocol, student_epochs=n), 784, 1, 1, 1) for n in (1, 2))
    assert cost["flops"] - transposing == pytest.approx(two - one, rel=0.05)


def test_everything_is_timed_in_every_repetition(record):
    for name in OPTIONS.precisions:
        for kind in ("seconds", "speed", "peak", "share"):
            assert record.results[f"{kind}/{name}"].shape == (2, 2)
            assert np.all(record.results[f"{kind}/{name}"] > 0)
        operations = record.results[f"speed/{name}"] * record.results[f"seconds/{name}"] / np.array([[1, 2]])
        np.testing.assert_allclose(operations, record.results["operations"])
        assert record.results[f"memory/{name}"][0] > 2**26
        assert np.all(np.diff(record.results[f"memory/{name}"]) >= 0)
        assert record.results[f"compile seconds/{name}"] >= 0
        assert record.results[f"accuracy/{name}/student (aux)"].shape == (2,)


def test_speed_is_only_reported_and_few_seeds_decide_nothing(record):
    assert [verdict["verdict"] for verdict in record.verdicts] == ["reported"] * 5
    checks = [verdict["check"].split(",")[0] for verdict in record.verdicts]
    assert checks == ["share of peak", "seconds a seed"] * 2 + ["accuracy of student (aux)"]


def test_table_has_a_row_for_each_precision_and_number_of_seeds(record):
    header, _, *rows = record.table.partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [tuple(row[:2]) for row in cells] == [(name, count) for name in OPTIONS.precisions for count in "12"]
    assert header.count("|") == 9
    assert record.results["at once"] == 1
    median = record.results["seconds/bf16"][:, 1].mean() / 2
    assert float(cells[3][2]) == pytest.approx(median, rel=0.01)


def test_record_can_be_drawn(record):
    axes = draw_benchmark(record).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text().split(":")[0] for text in legend.get_texts()][:2] == ["float32", "bf16"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2"]


def test_runs_take_nothing_from_each_other(small, dataset, tmp_path, monkeypatch):
    """Groups kept for a killed run would be read in no time by the next."""
    asked = []

    def run_seeds(points: list[Protocol], arms: list, data: Dataset, seed: int, num_seeds: int) -> Measured:
        asked.append((points[0].precision, num_seeds))
        assert Keeper("program").path(0) is None
        return run_no_seeds(points, arms, data, seed, num_seeds)

    monkeypatch.setattr(benchmark, "run_seeds", run_seeds)
    with kept_in(tmp_path / "chunks"):
        assert Keeper("program").path(0) is not None
        benchmark.time_precisions(small, dataset, OPTIONS)
    warm, timed = asked[:4], asked[4:]
    assert warm == [("float32", 1)] * 2 + [("bf16", 1)] * 2
    assert timed == [(name, count) for count in (1, 2) for name in OPTIONS.precisions] * 2


@pytest.mark.parametrize(
    ("shift", "stranger", "options", "expected"),
    [
        (0.0, 0.1, BOTH, "holds"),
        (0.05, 0.1, BOTH, "fails"),
        (float("nan"), 0.1, BOTH, "fails"),
        (0.0, 0.5, BOTH, "fails"),
        (0.05, 0.1, dataclasses.replace(BOTH, num_seeds=(19,)), "reported"),
    ],
    ids=["equal", "shifted", "undefined", "control that agrees", "few seeds"],
)
def test_precisions_that_differ_fail_the_run(shift, stranger, options, expected):
    spread = np.random.default_rng(0).normal(0, 0.01, options.num_seeds[-1])
    ones, results = np.ones((2, 1)), {}
    for name in options.precisions:
        results |= {f"share/{name}": ones, f"seconds/{name}": ones}
    results["accuracy/float32/student (aux)"] = np.full_like(spread, 0.5)
    results["accuracy/bf16/student (aux)"] = 0.5 + shift + spread
    results["accuracy/bf16/cross-model (aux)"] = stranger + spread
    assert [verdict.outcome for verdict in judge(results, options)] == ["reported"] * 4 + [expected]


def test_one_precision_alone_is_only_reported():
    results = {"share/bf16": np.ones((2, 1)), "seconds/bf16": np.ones((2, 1))}
    verdicts = judge(results, dataclasses.replace(BOTH, precisions=("bf16",)))
    assert [verdict.outcome for verdict in verdicts] == ["reported"] * 2


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script of ten models that needs no time."""
    path = tmp_path / "script.py"
    path.write_text(
        "import os, sys; sys.exit(os.environ['MNIST_DIR'] != 'images' or os.environ['MPLBACKEND'] != 'agg')"
    )
    return path


def test_the_script_and_ours_are_processes_on_the_same_images_and_as_many_seeds(script, monkeypatch):
    asked = []

    def time_all(arguments: Sequence[str], environment: Mapping[str, str], statuses: set[int]) -> float:
        asked.append((" ".join(arguments), dict(environment), statuses))
        return float(len(asked))

    monkeypatch.setattr(against, "time_process", time_all)
    options = dataclasses.replace(OPTIONS, seed=7, against=script, against_seeds=10)
    assert time_processes(Source("mnist", Path("images"), ""), options) == {OTHER: 1, "float32": 2, "bf16": 3}
    words, environment, statuses = asked[0]
    assert (words, environment, statuses) == (str(script), {"MPLBACKEND": "agg", "MNIST_DIR": "images"}, {0})
    for (words, _, statuses), name in zip(asked[1:], options.precisions, strict=True):
        ours = f"-m mlp_mnist demo --data mnist --data-dir images --seed 7 --precision {name} --num-seeds 10 --output "
        assert words.startswith(ours)
        assert statuses == {0, 1}
    assert time_processes(resolve("digits"), dataclasses.replace(options, epochs=1))
    assert asked[4][0].endswith(" --teacher.epochs 1 --student.epochs 1")
    assert asked[3][1] == {"MPLBACKEND": "agg"}
    assert "--data-dir" not in asked[4][0]


def test_a_process_is_timed_from_its_start_to_its_end(script):
    assert time_process([str(script)], {"MNIST_DIR": "images", "MPLBACKEND": "agg"}, {0}) > 0.005


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import torchvisions", "1: ModuleNotFoundError: No module named 'torchvisions'"),
        ("import sys; print('all well'); sys.exit(3)", "3: it says nothing"),
    ],
)
def test_a_script_that_fails_is_refused_by_its_last_line(program, said, script):
    script.write_text(program)
    with pytest.raises(InputError, match=f"^{script} ended with exit status {said}$"):
        time_process([str(script)], {}, {0})


def test_the_other_script_comes_first_in_every_repetition_and_stands_in_the_record(script, tmp_path, monkeypatch):
    order = []

    def time_all(arguments: Sequence[str], *rest: object) -> float:
        order.append(arguments[0])
        return 40.0 if arguments[0] == str(script) else 10.0

    def run_some(points: list[Protocol], arms: list, data: Dataset, seed: int, num_seeds: int) -> Measured:
        order.append("ours")
        return run_no_seeds(points, arms, data, seed, num_seeds)

    monkeypatch.setattr(against, "time_process", time_all)
    monkeypatch.setattr(benchmark, "run_seeds", run_some)
    options = dataclasses.replace(OPTIONS, against=script, against_seeds=4, output=tmp_path / "record")
    assert commands.run_benchmark(options)
    assert order == ["ours"] * 4 + ([str(script), "-m", "-m"] + ["ours"] * 4) * 2
    record = read_record(tmp_path / "record")
    assert (record.config["against"], record.config["against_seeds"]) == ("script.py", 4)
    np.testing.assert_array_equal(record.results[f"process seconds/{OTHER}"], [40, 40])
    ratios = {each["check"]: each["measured"] for each in record.verdicts if "times as fast" in each["check"]}
    assert ratios["bf16, times as fast a seed as the other script, whole processes of 4 seeds"] == 4
    assert "| demo, float32 | 4     | 2.5            | 4" in record.table


def test_ratios_to_the_other_script_are_those_of_each_repetition_a_seed():
    results = {"share/float32": np.ones((3, 1)), "seconds/float32": np.array([[6.0], [4.0], [4.0]])}
    results["process seeds"] = np.array(10)
    results |= {f"process seconds/{OTHER}": np.array([120.0, 80.0, 80.0]), "process seconds/float32": np.full(3, 40.0)}
    options = Benchmark(num_seeds=(2,), precisions=("float32",))
    process, alone = (tuple(verdict.measured) for verdict in judge(results, options)[2:])
    assert process == (2.0, 2.0, 3.0)
    assert alone == (4.0, 4.0, 4.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_seeds": ()}, "num_seeds must be"),
        ({"num_seeds": (6, 1)}, "num_seeds must be"),
        ({"num_seeds": (0, 6)}, "num_seeds must be"),
        ({"precisions": ()}, "precisions must be"),
        ({"precisions": ("bf16", "bf16")}, "precisions must be"),
        ({"repetitions": 0}, "repetitions must be"),
        ({"against_seeds": 0}, "against_seeds must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"seed": -1}, "seed must be"),
    ],
    ids=str,
)
def test_benchmark_refuses_what_can_not_be_timed(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **fields)
