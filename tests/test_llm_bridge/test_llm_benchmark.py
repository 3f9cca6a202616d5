"""The benchmark: everything is timed and recorded, limits are those of the costs, too little memory is one line."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.benchmark import against, command, device, measuring
from llm_bridge.benchmark.command import Benchmark, with_defaults
from llm_bridge.benchmark.plots import draw_benchmark
from llm_bridge.benchmark.report import report
from llm_bridge.model import costs
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained import catalog
from theory.problem import Params
from theory.runs.command_line import run_commands
from theory.runs.memory import fitting
from theory.runs.records import FILES, Record, read_record

SHAPE = Config(vocabulary=40, width=16, num_layers=1, num_heads=4, num_key_heads=2, head_size=4, hidden=24, biases=True)
SIZES: dict[str, Any] = {"batch_sizes": (2, 3), "prompt": 5, "tokens": 4, "row": 20, "rows": 4, "rows_at_once": 2}
OPTIONS = Benchmark(config="small", repetitions=2, **SIZES)


@jax.jit
def draw_model(key: jax.Array) -> Params:
    return initialize(SHAPE, key)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """A shape that runs in no time, and a device whose peak is found in no time, in single precision."""
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False):
        patch.setitem(catalog.SHAPES, "small", SHAPE)
        patch.setattr(device, "product_size", lambda: 64)
        patch.setattr(device, "stream_size", lambda: 2**12)
        yield


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("runs") / "record"
    words = ["--config", "small", "--random-weights", "--repetitions", "2", "--output", str(folder)]
    for name, value in SIZES.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    commands = {Benchmark: ("benchmark", command.run), Recipe: ("other", lambda recipe: False)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["llm_bridge", "benchmark", *words])
        with pytest.raises(SystemExit) as ended:
            run_commands("llm_bridge", commands)
    assert ended.value.code == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    return read_record(folder)


def test_everything_is_timed_and_reported(record):
    for name in ("sampling/seconds", "sampling/reading seconds"):
        assert record.results[name].shape == (2, 2)
        assert np.all(record.results[name] > 0)
    assert {verdict["verdict"] for verdict in record.verdicts} == {"reported"}
    assert record.results["training/learned"] == pytest.approx(2 * 4 / 20)
    assert record.results["training/chats"] == 2
    ratio = record.results["comparison/measured"] / record.results["comparison/first order"]
    assert ratio == pytest.approx(1, abs=0.2)
    assert "not counted here" in record.table
    assert np.all(record.results["pretraining/seconds"] > 0)
    assert draw_benchmark(record).axes[0].get_legend() is not None


def test_speeds_are_sizes_over_seconds_and_whole_stages_are_multiples(record):
    results = {name: record.results[name] for name in record.results if name.split("/")[0] != "device"}
    results |= {"device/peak": np.array(1e9), "device/bandwidth": np.array(1e6)}
    results |= {"sampling/seconds": np.array([[2.0, 6.0]]), "sampling/reading seconds": np.array([[0.5, 3.0]])}
    results |= {"training/seconds": np.array([8.0]), "pretraining/seconds": np.array([16.0])}
    results |= {"audit/seconds": np.array([4.0])}
    size = command.size_of(with_defaults(OPTIONS, on_cpu=True))
    found = report(SHAPE, size, "float32", results).results
    np.testing.assert_allclose(found["sampling/completions a second"], [[1, 0.5]])
    np.testing.assert_allclose(found["sampling/tokens a second"], [[4, 2]])
    np.testing.assert_allclose(found["sampling/read tokens a second"], [[20, 5]])
    np.testing.assert_allclose(found["sampling/step seconds"], [[0.5, 1.0]])
    np.testing.assert_allclose(found["sampling/hours of 30000 completions"], [[30_000 / 3600, 60_000 / 3600]])
    np.testing.assert_allclose(found["training/tokens a second"], [10])
    np.testing.assert_allclose(found["training/hours of 10000 chats"], [3 * 10_000 / 8 * 8 / 3600])
    operations = costs.training_operations(SHAPE, 20, learned=0.4)
    np.testing.assert_allclose(found["training/utilization"], [10 * operations / 1e9])
    everything = costs.training_operations(SHAPE, 20, "everything", learned=0.4)
    np.testing.assert_allclose(found["pretraining/utilization"], [5 * everything / 1e9])
    scored = costs.training_operations(SHAPE, 32, learned=4 / 32) + 4 * costs.count_adapters(SHAPE, 2 * 8)
    np.testing.assert_allclose(found["audit/utilization"], [1024 * scored / 4e9])
    np.testing.assert_allclose(found["audit/texts a second"], [32 / 4])
    moved = [costs.sampling_step(SHAPE, "float32", batch, 8).moved for batch in (2, 3)]
    np.testing.assert_allclose(found["sampling/limit of a step"], np.array(moved) / 1e6)


def test_sizes_are_those_of_the_device_unless_they_are_given():
    chosen = [with_defaults(Benchmark(prompt=7), on_cpu=on_cpu) for on_cpu in (True, False)]
    assert [options.prompt for options in chosen] == [7, 7]
    assert [options.dtype for options in chosen] == ["float32", "bfloat16"]
    assert [options.recompute for options in chosen] == ["nothing", "elementwise"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Benchmark(prompt=60), "--row must be more than the prompt's 60 tokens, not 60"),
        (Benchmark(rows_at_once=10**9), "--rows must be a multiple of --rows-at-once 1000000000, not 64"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(options, said, refusal):
    assert refusal(with_defaults, options, on_cpu=True) == said


@pytest.mark.parametrize(
    ("function", "knob"),
    [("sample", "--batch-sizes"), ("run_steps", "--rows-at-once"), ("summed_loss", "--recompute layers")],
)
def test_too_little_memory_is_one_line_that_names_the_knob(function, knob, refusal, monkeypatch):
    def exhaust(*arguments: object, **options: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")

    monkeypatch.setattr(measuring, function, exhaust)
    params, size = draw_model(jax.random.key(0)), command.size_of(with_defaults(OPTIONS, on_cpu=True))
    timer = {"sample": measuring.time_sampling, "run_steps": measuring.time_training}
    assert knob in refusal(timer.get(function, measuring.time_comparison), SHAPE, params, size, 1)


def test_another_error_is_not_taken_for_one_of_memory():
    with pytest.raises(RuntimeError, match="another"), fitting("sampling", "take less"):
        raise RuntimeError("another")


def test_without_torch_the_yardstick_is_refused_before_anything_is_timed(refusal, monkeypatch):
    monkeypatch.setattr(against, "find_spec", lambda name: None if name == "peft" else name)
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("timed"))
    message = refusal(command.run, replace(OPTIONS, against="transformers"))
    assert "needs peft" in message


@pytest.fixture
def torch() -> Any:
    for module in against.NEEDED:
        pytest.importorskip(module, reason="the yardstick needs it, .ci/run installs it")
    return pytest.importorskip("torch")


def test_weights_come_to_torch_bit_by_bit(torch):
    array = np.asarray(jnp.linspace(-3, 3, 7).astype(jnp.bfloat16)).reshape(7, 1)
    tensor = against.to_torch(array)
    assert tensor.dtype == torch.bfloat16
    np.testing.assert_array_equal(tensor.float().numpy(), array.astype(np.float32))


def test_the_yardstick_has_our_weights_and_learns_our_rows(torch):
    """Its loss is ours; that of other weights differs by more."""
    size = command.size_of(with_defaults(OPTIONS, on_cpu=True))
    ours, other = (draw_model(jax.random.key(seed)) for seed in (0, 1))
    loss = float(measuring.time_training(SHAPE, ours, size, 1)["training/loss"])
    results = against.time_transformers(SHAPE, jax.tree.map(np.asarray, ours), size, 1)
    assert results["transformers/sampling/seconds"].shape == (1, 2)
    assert float(results["transformers/training/loss"]) == pytest.approx(loss, abs=1e-5)
    assert abs(float(measuring.time_training(SHAPE, other, size, 1)["training/loss"]) - loss) > 1e-3


def test_all_draws_are_the_same_for_both(record):
    size = command.size_of(with_defaults(OPTIONS, on_cpu=True))
    draws: list[Callable[[], Any]] = [
        partial(measuring.draw_rows, SHAPE, size),
        partial(measuring.draw_prompts, SHAPE, size, 3),
    ]
    for draw in draws:
        jax.tree.map(np.testing.assert_array_equal, draw(), draw())
    assert int(jnp.max(jnp.asarray(draws[1]()))) < SHAPE.vocabulary
