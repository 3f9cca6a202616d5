"""One model on one device, on every mesh of eight and in two processes: the same numbers and the same samples.

Run as a script, this file measures; the tests run it and compare. What is to be compared is computed in float64, where
two logits that rounding can swap don't meet; rows fill no mesh evenly where there are eight of them.
"""

import json
import math
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh

from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.experiment.likes import begin, continued, log_probabilities
from llm_bridge.model.cache import empty_cache
from llm_bridge.model.finetuning import Training, fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.mesh import Devices, bytes_a_device, choose_mesh, fewest_to_share, on_mesh
from llm_bridge.model.placement import fetch, shardings, spread
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply
from llm_bridge.store import TrainingState, done_by_first, told_by_first
from llm_bridge.text.chats import Example, Rows, pack
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.processes import joined

TOLERANCE = 1e3 * float(np.finfo(float).eps)
CONFIG = Config(
    vocabulary=24,
    width=16,
    num_layers=2,
    num_heads=8,
    num_key_heads=4,
    head_size=4,
    hidden=16,
    biases=True,
    head_norms=True,
)
TIED = replace(CONFIG, vocabulary=13, tied=True)
RECIPE = Recipe(learning_rate=1e-2, num_epochs=1, batch=8, rows_at_once=4, warmup=1, rank=2)
MESHES = (1, 2, 4)
BOTH = ["adapters", "everything"]
JOBS = [(None, BOTH), (1, ["adapters"]), (2, []), (4, BOTH)]
NUM_PROMPTS, NUM_SAMPLES, NUM_TOKENS = 6, 2, 5
SEVEN_BILLION = Config(
    vocabulary=152_064,
    width=3584,
    num_layers=28,
    num_heads=28,
    num_key_heads=4,
    head_size=128,
    hidden=18_944,
    biases=True,
)


def draw_rows(vocabulary: int) -> Rows:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 6, (80, 2))
    rows = pack([Example(*(random.integers(0, vocabulary, size).tolist() for size in pair)) for pair in sizes], 10)
    return Rows(*(leaf[:24] for leaf in rows))


def draw(like: Params, seed: int) -> Params:
    """Host parameters of the same shapes, about as large as at initialization."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape) * leaf.shape[-1] ** -0.5, like)


def draw_model(config: Config, seed: int) -> Params:
    return draw(jax.eval_shape(lambda: initialize(config, jax.random.key(0), jnp.float64)), seed)


def largest_gather(program: str) -> int:
    """Numbers in the largest array that a compiled program collects from several devices."""
    sizes = re.findall(r"= \(?\w+\[([\d,]*)\]\S* (?:all-gather|all-to-all|collective-permute)", program)
    return max((math.prod(map(int, filter(None, size.split(",")))) for size in sizes), default=0)


def tune(config: Config, recipe: Recipe, params: Params, lesson: Lesson, folder: Path) -> dict[str, Any]:
    """Three steps of Adam, whose mean is a sum of their gradients; kept, and taken up again from there."""
    state, seen = TrainingState(folder / f"{jax.process_index()}-training"), []

    def after(training: Training, losses: np.ndarray) -> None:
        seen.append((training, losses))
        state.keep(training, losses)

    tuned = fine_tune(config, recipe, params, lesson, chunk=3, after=after)
    again = fine_tune(config, recipe, params, lesson, chunk=3, resume=state.resume, after=after)
    state.forget()
    [(training, losses)] = seen
    return {"losses": losses, "tuned": tuned, "again": again, "slopes": optax.tree.get(training.memory, "mu")}


def measure(tensor: int | None, tunings: list[str], folder: Path) -> dict[str, np.ndarray]:
    with on_mesh(None if tensor is None else choose_mesh(CONFIG, tensor=tensor)):
        rows = draw_rows(CONFIG.vocabulary)
        params, teacher = (spread(jax.tree.map(jnp.asarray, draw_model(CONFIG, seed))) for seed in (0, 1))
        start = jax.eval_shape(lambda: start_training(CONFIG, RECIPE, params, jax.random.key(0)))
        adapters = spread(draw(start, 2))
        logits = jax.jit(partial(apply, CONFIG))(
            params, rows.tokens, positions=rows.positions, texts=rows.texts, adapters=adapters
        )
        prompts = np.random.default_rng(4).integers(0, CONFIG.vocabulary, (NUM_PROMPTS, 7))
        lengths = np.arange(7 - NUM_PROMPTS, 7) + 1
        keys = jax.random.split(jax.random.key(7), NUM_PROMPTS)
        options = {"num_samples": NUM_SAMPLES, "num_tokens": NUM_TOKENS, "stops": (2, 7)}
        sampler = sample.lower(CONFIG, params, prompts, lengths, keys, adapters=adapters, **options).compile()
        cache = jax.jit(partial(empty_cache, CONFIG, 8, 10))()
        begun, read = begin(CONFIG, params, prompts, lengths, 2)
        word = continued(CONFIG, params, read, lengths, np.array([3, 5, 1]))
        results = {
            "logits": logits,
            "begun": begun[:NUM_PROMPTS],
            "continued": word[:NUM_PROMPTS],
            "sampled": sampler(params, prompts, lengths, keys, adapters=adapters)._asdict(),
            "chances": log_probabilities(CONFIG, params, prompts, lengths),
        }
        split = {"params": params, "adapters": adapters, "logits": logits, "cache": cache.keys}
        if "adapters" in tunings:
            recipe = replace(RECIPE, projections=("query", "output", "up", "down"))
            results["adapted"] = tune(CONFIG, recipe, params, Lesson(rows, "distribution", teacher), folder)
            split["adapted"] = results["adapted"]["tuned"]
        if "everything" in tunings:
            recipe = replace(RECIPE, trained="everything")
            lesson = Lesson(draw_rows(TIED.vocabulary))
            results["everything"] = tune(TIED, recipe, spread(draw_model(TIED, 3)), lesson, folder)
            split["everything"] = results["everything"]["tuned"]
        shared = side_by_side(lambda _: jax.sharding.get_abstract_mesh().empty, range(2), "jobs")
        parts = jax.tree.map(lambda leaf: np.array(jnp.asarray(leaf).addressable_shards[0].data.shape), split)
        whole = fetch(results) | {"parts": parts, "gathered": np.array(largest_gather(sampler.as_text() or ""))}
        whole["without mesh"] = np.array(shared)
    leaves, _ = jax.tree.flatten_with_path(whole)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def try_to_write(path: Path) -> str:
    try:
        done_by_first(lambda: path.write_text("done"))
    except (InputError, OSError) as error:
        return type(error).__name__
    return told_by_first(path.read_bytes).decode()


def main(output: str, jobs: list[tuple[int | None, list[str]]], processes: dict[str, Any]) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_disable_most_optimizations", True)
    folder = Path(output)
    with joined(Devices(**processes)):
        for tensor, tunings in jobs:
            found = measure(tensor, tunings, folder)
            np.savez(folder / f"{jax.process_index()}-{tensor}.npz", allow_pickle=False, **found)
        said = [try_to_write(folder / name) for name in ("written", "no folder/written")]
        print(json.dumps([jax.device_count(), jax.local_device_count(), said]))


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def start(folder: Path, jobs: list[tuple[int | None, list[str]]], local_devices: int, **processes: Any) -> list[Any]:
    """Measure in a process of its own; its stdout must be what it says alone."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "error", __file__, json.dumps([str(folder), jobs, processes])]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(local_devices)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


class Measured(NamedTuple):
    said: list[list[Any]]
    """Of the eight devices' process and of the two: devices, local devices, what came of writing."""
    alone: dict[str, np.ndarray]
    """On one device."""
    meshes: dict[int, dict[str, np.ndarray]]
    """On eight devices of one process, by how many share a weight."""
    processes: list[dict[str, np.ndarray]]
    """As each of two processes of four devices has it, two sharing a weight."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("mesh")
    pair = partial(
        start, folder / "two", [(2, ["adapters"])], 4, coordinator=f"127.0.0.1:{free_port()}", num_processes=2
    )
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(start, folder / "one", JOBS, 8)]
        runs += [pool.submit(pair, process_id=number) for number in (0, 1)]
        said = [run.result() for run in runs]

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / name) as file:
            return dict(file)

    meshes = {tensor: read(f"one/0-{tensor}.npz") for tensor in MESHES}
    return Measured(said, read("one/0-None.npz"), meshes, [read(f"two/{number}-2.npz") for number in (0, 1)])


def assert_same(found: dict[str, np.ndarray], alone: dict[str, np.ndarray]) -> None:
    """Tokens and lengths are equal, the rest to a thousand units of rounding, which Adam magnifies."""
    for name in found:
        if name.startswith(("parts", "gathered", "without")):
            continue
        tolerance = 0 if name in {"sampled/tokens", "sampled/lengths"} else TOLERANCE
        np.testing.assert_allclose(found[name], alone[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("tensor", MESHES)
def test_eight_devices_give_the_numbers_and_the_samples_of_one(measured, tensor):
    assert measured.said[0][:2] == [8, 8]
    assert_same(measured.meshes[tensor], measured.alone)


def test_two_processes_give_the_numbers_and_the_samples_of_one(measured):
    for said, found in zip(measured.said[1:], measured.processes, strict=True):
        assert said[:2] == [8, 4]
        assert_same(found, measured.alone)


def test_what_is_compared_is_not_trivially_the_same(measured):
    alone = measured.alone
    assert len(np.unique(alone["sampled/tokens"])) > 8
    assert len(np.unique(alone["sampled/lengths"])) > 1
    assert np.ptp(alone["logits"], axis=-1).min() > 0.1
    for name, leaf in alone.items():
        if "slopes" in name:
            assert np.max(np.abs(leaf)) > 1e4 * TOLERANCE, name
    assert alone["adapted/losses"].shape == (3,)
    assert np.all(alone["adapted/losses"] > 0.01)


@pytest.mark.parametrize("tensor", MESHES)
def test_every_device_holds_its_part_alone(measured, tensor):
    """The control: what is the same on all meshes would prove nothing if every device held everything."""
    runs = [measured.meshes[tensor], *(measured.processes if tensor == 2 else [])]
    data = 8 // tensor
    for run in runs:
        parts = {name.removeprefix("parts/"): tuple(part) for name, part in run.items() if name.startswith("parts/")}
        assert parts["cache"] == (2, 8 // data, 4 // tensor, 10, 4)
        assert parts["logits"] == (24 // data, 10, 24 // tensor)
        assert parts["params/embedding"] == (24 // tensor, 16)
        assert parts["params/head"] == (16, 24 // tensor)
        assert parts["params/layers/attention norm"] == (2, 16)
        for name, (inputs, outputs) in CONFIG.sizes().items():
            inner = name in {"output", "down"}
            here = (inputs // tensor, outputs) if inner else (inputs, outputs // tensor)
            assert parts[f"params/layers/{name}/kernel"] == (2, *here)
            for tree in ("adapters", "adapted"):
                if tree == "adapters" or f"{tree}/{name}/into" in parts:
                    assert parts[f"{tree}/{name}/into"] == (2, here[0], 2)
                    assert parts[f"{tree}/{name}/out"] == (2, 2, here[1])
    if tensor == 4:
        assert runs[0]["parts/everything/embedding"].tolist() == [13, 4], "13 tokens can't be split, 16 features can"


@pytest.mark.parametrize("tensor", MESHES)
def test_sampling_moves_neither_weights_nor_caches_between_devices(measured, tensor):
    drawn = 8 * NUM_SAMPLES * NUM_TOKENS
    assert 0 < measured.meshes[tensor]["gathered"] <= drawn
    assert measured.alone["gathered"] == 0


def test_a_training_goes_on_from_what_process_0_kept(measured):
    for run in (measured.alone, *measured.meshes.values(), *measured.processes):
        for name in run:
            if "/again/" in name:
                np.testing.assert_array_equal(run[name], run[name.replace("again", "tuned")])
    assert any("/again/" in name for name in measured.processes[1])


def test_jobs_that_are_done_side_by_side_are_on_the_mesh_too(measured):
    assert measured.alone["without mesh"].tolist() == [True, True]
    for run in (*measured.meshes.values(), *measured.processes):
        assert run["without mesh"].tolist() == [False, False]


def test_process_0_writes_and_the_other_waits_and_hears_when_it_could_not(measured):
    assert [said[2] for said in measured.said] == [["done", "FileNotFoundError"]] * 2 + [["done", "InputError"]]


@pytest.mark.parametrize(
    ("gibibytes", "needed", "tensor"), [(24, 0, 1), (24, 80, 2), (12, 0, 2), (6, 0, 4), (6, 10, 4)]
)
def test_weights_are_split_over_as_few_devices_as_they_fit(gibibytes, needed, tensor):
    """Seven billion parameters are 14.2 GiB in bfloat16; their key heads can be split in four."""
    options = {"dtype": jnp.bfloat16, "needed": needed * 2**30}
    assert fewest_to_share(SEVEN_BILLION, 8, gibibytes * 2**30, **options) == tensor


def test_a_model_that_does_not_fit_is_refused_with_both_sizes():
    with pytest.raises(InputError, match=r"doesn't fit 8 devices.*3.55 GiB of each device needed, 3 GiB available"):
        fewest_to_share(SEVEN_BILLION, 8, 3 * 2**30, dtype=jnp.bfloat16)


def test_weights_take_a_share_of_each_device():
    like = jax.eval_shape(lambda: initialize(SEVEN_BILLION, jax.random.key(0), jnp.bfloat16))
    sizes = [bytes_a_device(AbstractMesh((8 // tensor, tensor), ("data", "tensor")), like) for tensor in (1, 2, 4)]
    assert sizes[0] == sum(leaf.size * 2 for leaf in jax.tree.leaves(like))
    np.testing.assert_allclose(np.array(sizes) * [1, 2, 4] / sizes[0], 1, rtol=1e-4)


def test_one_device_needs_no_mesh_and_leaves_arrays_alone(config):
    assert choose_mesh(config) is None
    params = {"norm": jnp.ones(3)}
    with on_mesh(None):
        assert spread(params) is params
    for tensor in (2, 3):
        with pytest.raises(InputError, match=f"tensor must divide 1 devices.*as 1 do, not {tensor}"):
            choose_mesh(config, tensor=tensor)


def test_every_family_is_split_but_for_its_norms(config):
    like = jax.eval_shape(lambda: initialize(config, jax.random.key(0)))
    for path, sharding in jax.tree.flatten_with_path(shardings(AbstractMesh((1, 2), ("data", "tensor")), like))[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        assert ("tensor" in sharding.spec) != ("norm" in name), name
    odd = shardings(AbstractMesh((1, 3), ("data", "tensor")), {"embedding": jnp.zeros((13, 8)), "norm": jnp.zeros(8)})
    assert {name: tuple(each.spec) for name, each in odd.items()} == {"embedding": (None, None), "norm": (None,)}


def test_a_weight_is_shared_by_one_device_at_least():
    with pytest.raises(ValueError, match="tensor must be at least 1, not 0"):
        Devices(tensor=0)
    with pytest.raises(ValueError, match="coordinator must be given together"):
        Devices(tensor=2, num_processes=2)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
