from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load

from llm_bridge.backends import tiny
from llm_bridge.files.checkpoints import load_checkpoint, save_checkpoint
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.tiny.pretraining import Pretraining
from theory.problem import Params
from theory.runs.command_line import InputError

METADATA = {name: f"{name} of the model, ÄÖÜ" for name in ("stage", "commit", "seed", "config", "parent", "a", "z")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "teacher.safetensors"


@pytest.fixture
def params() -> dict[str, Any]:
    kernel = jnp.arange(24.0).reshape(2, 3, 4)
    return {"layers": {"query": {"kernel": kernel}, "attention norm": jnp.ones((2, 3))}, "norm": jnp.ones(3)}


def assert_same(found: Params, expected: Params) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == np.asarray(other).tobytes()


def refusal(path: Path, like: Params) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path, like)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_models_of_every_family_come_back_bit_by_bit(path, config: Config):
    drawn = jax.tree.map(np.asarray, initialize(config, jax.random.key(1), jnp.float64))
    for dtype in (jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16):
        params = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), drawn)
        save_checkpoint(path, params, metadata=METADATA)
        found, metadata = load_checkpoint(path, jax.eval_shape(lambda tree=params: tree))
        assert_same(found, params)
        assert_same(load_checkpoint(path, params)[0], params)
        assert metadata == METADATA


def test_arrays_come_back_whatever_their_layout_type_and_size(path):
    matrix = np.arange(6, dtype=np.int32).reshape(2, 3)
    tree = {
        "transposed": jnp.arange(6.0).reshape(2, 3).T,
        "by columns": np.asfortranarray(matrix),
        "every second": matrix[:, ::2],
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), np.uint8),
        "flags": np.array([True, False]),
        "special": np.array([np.nan, -np.inf, -0.0, 5e-324]),
    }
    save_checkpoint(path, tree, metadata={})
    found, metadata = load_checkpoint(path, tree)
    assert_same(found, tree)
    assert metadata == {}


def test_the_same_tree_is_always_the_same_bytes(path, params):
    contents = set()
    for _ in range(10):
        for tree, metadata in ((params, METADATA), (backwards(params), backwards(METADATA))):
            save_checkpoint(path, tree, metadata=metadata)
            contents.add(path.read_bytes())
    assert len(contents) == 1
    save_checkpoint(path, params, metadata=METADATA | {"seed": "1"})
    assert path.read_bytes() not in contents


def backwards(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: backwards(value) if isinstance(value, dict) else value for key, value in reversed(tree.items())}


def test_other_programs_can_read_the_file(path, params):
    save_checkpoint(path, params, metadata=METADATA)
    content = path.read_bytes()
    assert sorted(load(content)) == ["layers.attention norm", "layers.query.kernel", "norm"]
    assert int.from_bytes(content[:8], "little") % 8 == 0


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"layers": {"query": {"kernel": jnp.ones((2, 3, 5))}}}, "it has also layers.attention norm"),
        ({"head": jnp.ones(3)}, "it lacks head"),
        ({name: jnp.ones(1) for name in "dcbae"}, "it lacks a, b, c and 2 more"),
        ({"norm": jnp.ones(4)}, "norm has shape (3,), not (4,)"),
        ({"norm": jnp.ones((3, 1))}, "norm has shape (3,), not (3, 1)"),
        ({"norm": jnp.ones(3, jnp.bfloat16)}, "norm has type float64, not bfloat16"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused_with_the_difference(path, params, change, difference):
    save_checkpoint(path, params, metadata={})
    assert f"is a checkpoint of another config: {difference};" in refusal(path, params | change)


def test_a_difference_deep_in_the_tree_is_named_by_its_path(path, params):
    save_checkpoint(path, params, metadata={})
    other = {**params, "layers": params["layers"] | {"query": {"kernel": jnp.ones((2, 3, 5))}}}
    assert "layers.query.kernel has shape (2, 3, 4), not (2, 3, 5)" in refusal(path, other)


def test_a_file_cut_anywhere_is_refused(path, params):
    save_checkpoint(path, params, metadata={"stage": "teacher"})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert "is damaged" in refusal(path, params)


def test_a_flipped_bit_in_the_header_is_refused_or_does_no_harm(path):
    params = {"layers": {"kernel": jnp.ones((2, 3))}}
    save_checkpoint(path, params, metadata={"stage": "teacher"})
    content = path.read_bytes()
    harmless, num_bits = 0, 8 * (8 + int.from_bytes(content[:8], "little"))
    for place in range(num_bits):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert_same(load_checkpoint(path, params)[0], params)
            harmless += 1
        except InputError:
            continue
    assert harmless < num_bits / 4


def test_what_is_no_checkpoint_is_refused(path, params):
    assert "is missing" in refusal(path, params)
    path.mkdir()
    assert "no safetensors file" in refusal(path, params)
    path.rmdir()
    path.write_text("these are no weights" * 99)
    assert "no safetensors file" in refusal(path, params)


@pytest.mark.parametrize("tree", [{"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, {"__metadata__": jnp.ones(1)}])
def test_names_that_would_be_lost_are_refused(path, tree):
    with pytest.raises(ValueError, match="must differ"):
        save_checkpoint(path, tree, metadata={})


def test_types_that_could_not_be_read_back_are_refused(path):
    for array in (np.ones(2, complex), np.array(["text"]), jnp.ones(2, jnp.float8_e4m3fn)):
        with pytest.raises(ValueError, match="weights must have one of the types float64"):
            save_checkpoint(path, {"weights": array}, metadata={})
    assert not path.exists()


def test_what_a_tuned_model_says_of_itself_may_be_nested_too_deep(tmp_path):
    path, like = (
        tmp_path / "model.safetensors",
        jax.eval_shape(lambda: initialize(tiny.tiny_model(Pretraining(), None).config, jax.random.key(0))),
    )
    deep = "[" * 100_000
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    save_checkpoint(path, params, metadata={"pretraining": deep, "settings": deep})
    for read in (lambda: tiny.read_tuned(path, Pretraining()), lambda: tiny.read_settings(path)):
        with pytest.raises(InputError, match="is damaged"):
            read()
