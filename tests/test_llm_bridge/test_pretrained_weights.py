"""Weights written and read back, in one file and in several, on one device and spread, and refused where damaged."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file

from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.names import TENSORS
from llm_bridge.pretrained.weights import filling, read_params, sharding_of_part
from llm_bridge.pretrained.writing import write_checkpoint
from theory.problem import Params
from theory.runs.command_line import InputError

CONFIG = Config(
    vocabulary=24, width=12, num_layers=3, num_heads=4, num_key_heads=2, head_size=4, hidden=20, biases=True
)
TIED = replace(CONFIG, tied=True)
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> None:
    """Single precision here."""


def random_params(config: Config, dtype: Any = jnp.float32) -> Params:
    random = np.random.default_rng(0)
    like = jax.eval_shape(lambda: initialize(config, jax.random.key(0)))
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), dtype), like)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path, CONFIG, random_params(CONFIG), longest=60)
    return tmp_path


def assert_same(params: Params, others: Params) -> None:
    assert jax.tree.structure(params) == jax.tree.structure(others)
    for leaf, other in zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True):
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(leaf, other)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    path = folder / "model.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in change(load_file(path)).items()}, path)


def refusal(folder: Path, config: Config = CONFIG) -> str:
    with pytest.raises(InputError) as caught:
        read_params(folder, config)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("config", [CONFIG, TIED, replace(CONFIG, head_norms=True, biases=False)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_weights_come_back_bit_by_bit(tmp_path, config, dtype):
    params = random_params(config, dtype)
    described = replace(config, biases=False) if config.head_norms else config
    write_checkpoint(tmp_path, described, params, longest=60)
    assert_same(read_params(tmp_path, config, dtype=dtype), params)


def test_several_files_hold_the_same_as_one(folder, tmp_path):
    params, several = random_params(CONFIG), tmp_path / "several"
    write_checkpoint(several, CONFIG, params, longest=60, largest=1000)
    sizes = [path.stat().st_size for path in several.glob("model-*-of-*.safetensors")]
    assert len(sizes) > 10
    assert sum(sizes) > 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    assert not (several / "model.safetensors").exists()
    assert_same(read_params(several, CONFIG, dtype=jnp.float32), params)


def test_weights_are_rounded_to_the_type_asked_for(folder):
    params = read_params(folder, CONFIG)
    assert_same(params, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_params(CONFIG)))


def test_the_same_weights_are_written_as_the_same_bytes(folder, tmp_path):
    write_checkpoint(tmp_path / "again", CONFIG, random_params(CONFIG), longest=60)
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_files_about_the_language_are_kept(folder, tmp_path):
    names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
    for name in names:
        (folder / name).write_text(name)
    described = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 7, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(described))
    tuned = tmp_path / "tuned"
    write_checkpoint(tuned, CONFIG, random_params(CONFIG, jnp.bfloat16), longest=9, base=folder)
    assert all((tuned / name).read_text() == name for name in names)
    kept = json.loads((tuned / "config.json").read_text())
    assert (kept["eos_token_id"], kept["max_position_embeddings"], kept["torch_dtype"]) == (7, 60, "bfloat16")
    assert "dtype" not in kept


def test_only_one_tensor_at_a_time_is_in_the_hosts_memory(tmp_path):
    config = replace(CONFIG, vocabulary=300, width=300, num_layers=8, hidden=300, biases=False, tied=True)
    write_checkpoint(tmp_path, config, random_params(config), longest=60)
    read_params(tmp_path, config, dtype=jnp.float32)
    tracemalloc.start()
    read_params(tmp_path, config, dtype=jnp.float32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    largest = 4 * 300 * 300
    assert largest < peak < 4 * largest < (tmp_path / "model.safetensors").stat().st_size / 5


def test_a_stacked_parameter_is_filled_in_place():
    whole = jnp.zeros((3, 4, 5))
    place = whole.unsafe_buffer_pointer()
    filled = filling(None)(whole, jnp.ones((5, 4)), 1, transposed=True)
    assert filled.unsafe_buffer_pointer() == place
    assert np.asarray(filled).sum(axis=(1, 2)).tolist() == [0, 20, 0]


SPREAD = """
import sys
from pathlib import Path
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from llm_bridge.files.checkpoints import named_leaves
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.weights import read_params
folder = Path(sys.argv[1])
config = shape_from(read_description(folder), 60)
specs = {
    "layers.query.kernel": (None, "data", "tensor"), "layers.query.bias": (None, "tensor"),
    "head": (None, "tensor"), "embedding": ("tensor",), "norm": ("data",),
}
alone = named_leaves(read_params(folder, config))
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2, 2), ("data", "tensor"), (kind, kind))
    spread = lambda leaf: NamedSharding(mesh, PartitionSpec(*specs.get(leaf, ())))
    params = named_leaves(read_params(folder, config, sharding=spread))
    for name, leaf in params.items():
        assert leaf.sharding.is_equivalent_to(spread(name), leaf.ndim), (name, leaf.sharding)
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(alone[name]))
    assert params["layers.query.kernel"].addressable_shards[0].data.shape == (3, 6, 8)
"""


def test_weights_spread_over_devices_are_the_same(folder):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SPREAD, folder], env=os.environ | flags, check=True)


def test_a_tensor_is_spread_as_the_parameter_that_it_becomes_a_part_of():
    mesh = jax.make_mesh((1, 1), ("data", "tensor"))

    def part(*spec: str | None, axes: int, stacked: bool, transposed: bool) -> PartitionSpec:
        whole = NamedSharding(mesh, PartitionSpec(*spec))
        own = sharding_of_part(whole, axes, stacked=stacked, transposed=transposed)
        assert isinstance(own, NamedSharding)
        return own.spec

    assert part(None, None, "tensor", axes=3, stacked=True, transposed=True) == PartitionSpec("tensor", None)
    assert part(None, "tensor", axes=3, stacked=True, transposed=True) == PartitionSpec(None, "tensor")
    assert part(None, "tensor", axes=2, stacked=True, transposed=False) == PartitionSpec("tensor")
    assert part("tensor", axes=2, stacked=False, transposed=False) == PartitionSpec("tensor", None)
    assert part("data", "tensor", axes=2, stacked=False, transposed=True) == PartitionSpec("tensor", "data")
    assert sharding_of_part(None, 3, stacked=True, transposed=True) is None


def test_missing_and_extra_tensors_and_other_shapes_are_named(folder):
    original = load_file(folder / "model.safetensors")
    rewrite(folder, lambda tensors: {name: array for name, array in tensors.items() if name != QUERY})
    assert f"it lacks {QUERY};" in refusal(folder)
    rewrite(folder, lambda _: original | {"model.layers.3.mlp.up_proj.weight": np.zeros((20, 12), np.float32)})
    assert "it has also model.layers.3.mlp.up_proj.weight;" in refusal(folder)
    rewrite(folder, lambda _: original | {QUERY: original[QUERY].T[:, :11]})
    assert f"{QUERY} has shape (12, 11), not (16, 12);" in refusal(folder)
    assert "it has also lm_head.weight" not in refusal(folder, replace(CONFIG, num_layers=2))


def test_rotary_waves_of_old_checkpoints_are_left_out(folder):
    waves = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32) for layer in range(3)}
    rewrite(folder, lambda tensors: tensors | waves)
    assert_same(read_params(folder, CONFIG, dtype=jnp.float32), random_params(CONFIG))


def test_a_tied_head_may_be_there_if_it_is_the_embedding(tmp_path):
    params = random_params(TIED)
    write_checkpoint(tmp_path, TIED, params, longest=60)
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors[TENSORS["embedding"]]})
    assert_same(read_params(tmp_path, TIED, dtype=jnp.float32), params)
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors["lm_head.weight"] + 1})
    assert "lm_head.weight that differs from the embedding" in refusal(tmp_path, TIED)


def test_an_untied_model_without_a_head_is_refused(tmp_path):
    write_checkpoint(tmp_path, TIED, random_params(TIED), longest=60)
    assert "it lacks lm_head.weight" in refusal(tmp_path)


def test_quantized_tensors_are_refused(folder):
    rewrite(folder, lambda tensors: tensors | {QUERY: tensors[QUERY].astype(np.int8)})
    assert f"holds quantized tensors, as {QUERY}" in refusal(folder)


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    assert "which may hold programs, are not read" in refusal(tmp_path)


def test_damaged_and_missing_files_are_refused(folder, tmp_path):
    several = tmp_path / "several"
    write_checkpoint(several, CONFIG, random_params(CONFIG), longest=60, largest=1000)
    first = min(several.glob("model-*-of-*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1])
    assert f"{first} can't be read" in refusal(several)
    first.unlink()
    assert f"has no {first.name}" in refusal(several)
    first.mkdir()
    assert f"{first} is no file" in refusal(several)
    for content, said in (("{", "can't be read"), ("[]", "no JSON object"), ('{"a":' * 100_000, "nested too deep")):
        (several / "model.safetensors.index.json").write_text(content)
        assert said in refusal(several)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors is no file" in refusal(folder)


@pytest.mark.parametrize(
    "named", [None, 7, {}, {"a": 1}, {"a": None}, {"a": ""}, {"a": "../model.safetensors"}, {"a": "/model.safetensors"}]
)
def test_an_index_names_files_of_its_folder(folder, named):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    assert "for weights: fetch the checkpoint anew" in refusal(folder)


def test_a_writer_leaves_no_weights_of_another_checkpoint_behind(tmp_path):
    """Nor does it touch what it wouldn't have written."""
    (tmp_path / "model-of-mine.safetensors").write_bytes(b"mine")
    params = random_params(CONFIG)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, params)
    for whole, largest in ((params, 1000), (doubled, 10**9), (params, 2000), (doubled, 1000)):
        write_checkpoint(tmp_path, CONFIG, whole, longest=60, largest=largest)
        assert_same(read_params(tmp_path, CONFIG, dtype=jnp.float32), whole)
        files = {path.name for path in tmp_path.glob("model*")} - {"model-of-mine.safetensors"}
        index = tmp_path / "model.safetensors.index.json"
        expected = {*json.loads(index.read_text())["weight_map"].values(), index.name} if index.exists() else set()
        assert files == (expected or {"model.safetensors"})


def test_of_two_sets_of_weights_that_is_read_which_transformers_reads(tmp_path):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    described = transformers.LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(described).save_pretrained(tmp_path, max_shard_size="2KB")
    transformers.LlamaForCausalLM(described).save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors.index.json").exists()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).get_input_embeddings().weight
    config = shape_from(read_description(tmp_path), 60)
    ours = read_params(tmp_path, config, dtype=jnp.float32)["embedding"]
    np.testing.assert_array_equal(ours, theirs.detach().numpy())


def test_a_pipe_is_no_weights(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    assert "is no file" in refusal(tmp_path)
