"""Our transformer on published checkpoints, held against transformers' own; both in float32, as outside of tests."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config, RotaryScaling, initialize
from llm_bridge.model.steering import steer
from llm_bridge.model.transformer import apply
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.weights import read_params
from llm_bridge.pretrained.writing import write_checkpoint
from theory.problem import Params

torch: Any = pytest.importorskip("torch", reason="parity needs torch, which .ci/run installs")
transformers: Any = pytest.importorskip("transformers", reason="parity needs transformers, which .ci/run installs")

LENGTH = 24
SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
WINDOW = 7
GEMMA = {"head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": WINDOW, "sliding_window_pattern": 2}
BOTH_WAVES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
}
FAMILIES = {
    "Qwen2": {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Qwen3": {"head_dim": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Llama": {"rms_norm_eps": 1e-5, "rope_parameters": STRETCHED},
    "Mistral": {"head_dim": 16, "rms_norm_eps": 1e-5, "sliding_window": None},
    "Gemma2": GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},
    "Gemma3": GEMMA | {"rope_parameters": BOTH_WAVES, "num_hidden_layers": 3},
    "Olmo2": {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
}
BLOCKS: dict[str, Any] = {
    "gate": "gelu", "norms": "both", "norm_offset": 1.0, "scaled_embedding": True, "tied": True,
    "window": WINDOW, "full_every": 2,
}  # fmt: skip
CONFIGS = {"Gemma3": "Gemma3TextConfig"}


class Pair(NamedTuple):
    """One checkpoint, read by transformers and by us."""

    theirs: Any
    folder: Path
    config: Config
    params: Params


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def make_pair(family: str, tied: bool, folder: Path) -> Pair:
    """A random checkpoint whose norms and biases matter, too."""
    torch.manual_seed(0)
    described = getattr(transformers, CONFIGS.get(family, f"{family}Config"))(
        **SMALL | FAMILIES[family], tie_word_embeddings=tied
    )
    theirs = getattr(transformers, f"{family}ForCausalLM")(described).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "norm" in name or "bias" in name:
                weight += 0.3 * torch.randn(weight.shape)
    theirs.save_pretrained(folder)
    config = shape_from(read_description(folder), LENGTH)
    assert config.tied == tied
    return Pair(theirs, folder, config, read_params(folder, config, dtype=jnp.float32))


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Pair]:
    return cache(lambda family, tied: make_pair(family, tied, tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(scope="module")
def chosen(pair_of: Callable[[str, bool], Pair]) -> Pair:
    """The pair in which most can go wrong."""
    return pair_of("Llama", False)


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, SMALL["vocab_size"], (3, LENGTH))


def their_logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(tokens())).logits.float().numpy()


def our_logits(config: Config, params: Params) -> np.ndarray:
    return np.asarray(jax.jit(apply, static_argnums=0)(config, params, jnp.asarray(tokens(), np.int32)))


def distance(logits: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(logits - others).max())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family, tied, pair_of):
    pair = pair_of(family, tied)
    logits = their_logits(pair.theirs)
    assert np.std(logits) > 1
    assert distance(our_logits(pair.config, pair.params), logits) <= 1e-4


@pytest.mark.parametrize("family", ["Qwen2", "Gemma2"])
def test_a_steered_model_is_theirs_with_a_hook_on_the_layer(family, pair_of):
    pair = pair_of(family, False)
    vector, direction = np.random.default_rng(1).normal(size=(2, SMALL["hidden_size"])).astype(np.float32)
    unit, added = (torch.from_numpy(each) for each in (direction / np.linalg.norm(direction), vector))

    def hook(layer: Any, read: Any, given: Any) -> Any:
        stream = given if isinstance(given, torch.Tensor) else given[0]
        steered = stream - (stream @ unit)[..., None] * unit + added
        return steered if isinstance(given, torch.Tensor) else (steered, *given[1:])

    hooked = pair.theirs.model.layers[0].register_forward_hook(hook)
    expected = their_logits(pair.theirs)
    hooked.remove()
    ours = our_logits(pair.config, steer(pair.config, pair.params, 1, added=vector, removed=direction))
    assert distance(ours, expected) <= 1e-4
    assert distance(their_logits(pair.theirs), expected) > 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"rotary_base": 4e5},
        {"rotary_scaling": None},
        {"rotary_scaling": RotaryScaling(factor=8.0, original_context=32)},
        {"norm_floor": 1e-3},
    ],
)
def test_a_shape_read_wrong_would_be_noticed(chosen, change):
    assert chosen.config.rotary_scaling == RotaryScaling(factor=8.0, original_context=16)
    wrong = our_logits(replace(chosen.config, **change), chosen.params)
    assert distance(wrong, their_logits(chosen.theirs)) > 1e-3


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("Gemma2", {"score_cap": None}),
        ("Gemma2", {"logit_cap": None}),
        ("Gemma2", {"score_size": None}),
        ("Gemma2", {"gate": "silu"}),
        ("Gemma2", {"norm_offset": 0.0}),
        ("Gemma2", {"scaled_embedding": False}),
        ("Gemma2", {"full_every": 1, "window": None}),
        ("Gemma2", {"full_every": 3}),
        ("Gemma2", {"window": WINDOW + 1}),
        ("Gemma3", {"window": WINDOW - 1}),
        ("Gemma3", {"local_base": None}),
        ("Gemma3", {"rotary_stretch": 1.0}),
    ],
    ids=str,
)
def test_what_tells_gemma_apart_would_be_missed(pair_of, family, change):
    pair = pair_of(family, True)
    assert pair.config.window == WINDOW < LENGTH
    wrong = our_logits(replace(pair.config, **change), pair.params)
    assert distance(wrong, their_logits(pair.theirs)) > 1e-2


def test_a_gemma_that_sees_images_reads_texts_as_in_transformers_and_is_written_without_its_eyes(tmp_path):
    torch.manual_seed(0)
    seen = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    described = transformers.Gemma3Config(
        text_config=SMALL | FAMILIES["Gemma3"], vision_config=seen | {"image_size": 8, "patch_size": 4}
    )
    theirs = transformers.Gemma3ForConditionalGeneration(described).eval()
    theirs.save_pretrained(tmp_path / "base")
    config = shape_from(read_description(tmp_path / "base"), LENGTH)
    params = read_params(tmp_path / "base", config, dtype=jnp.float32)
    expected = their_logits(theirs)
    assert np.std(expected) > 1
    assert distance(our_logits(config, params), expected) <= 1e-4
    write_checkpoint(tmp_path / "student", config, params, longest=64, base=tmp_path / "base")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    assert type(again).__name__ == "Gemma3ForCausalLM"
    assert distance(their_logits(again), expected) <= 1e-4


@pytest.mark.parametrize("family", ["Gemma2", "Gemma3", "Olmo2"])
def test_prompts_of_several_lengths_are_continued_as_each_alone_in_transformers(family, pair_of):
    """What fills a short prompt up takes slots, and must not count among those of a window."""
    pair, lengths, longest = pair_of(family, False), np.array([3, 9, 14]), 14
    prompts, settings = tokens()[:, :longest], {"max_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    expected = [
        pair.theirs.generate(torch.from_numpy(prompt[None, :length]), **settings)[0, length:].numpy()
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    keys, options = jax.random.split(jax.random.key(0), 3), {"num_tokens": 10, "temperature": 1e-6}
    read = jnp.asarray(prompts, np.int32)
    found = sample(pair.config, pair.params, read, jnp.asarray(lengths), keys, **options)
    np.testing.assert_array_equal(found.tokens[:, 0], expected)
    assert len(np.unique(expected)) > 4


def test_queries_taken_for_keys_would_be_noticed(pair_of):
    pair = pair_of("Qwen3", False)
    layers = pair.params["layers"]
    swapped = layers | {"query norm": layers["key norm"], "key norm": layers["query norm"]}
    wrong = our_logits(pair.config, pair.params | {"layers": swapped})
    assert distance(wrong, their_logits(pair.theirs)) > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_generate(family, pair_of):
    """Gemma's scaled embedding would say itself again if it were the head, too."""
    pair = pair_of(family, "Gemma" not in family)
    prompts, settings = tokens()[:, :5], {"max_new_tokens": 16, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones(prompts.shape, dtype=int)
    expected = pair.theirs.generate(torch.from_numpy(prompts), attention_mask=mask, **settings).numpy()[:, 5:]
    lengths, keys = jnp.full(3, 5), jax.random.split(jax.random.key(0), 3)
    found = sample(
        pair.config, pair.params, jnp.asarray(prompts, np.int32), lengths, keys, num_tokens=16, temperature=1e-6
    )
    np.testing.assert_array_equal(found.tokens[:, 0], expected)
    assert len(np.unique(expected)) > 8


def test_in_bfloat16_our_rounding_is_no_larger_than_theirs(chosen):
    exact = their_logits(chosen.theirs)
    rounded = transformers.AutoModelForCausalLM.from_pretrained(chosen.folder, dtype=torch.bfloat16)
    params = read_params(chosen.folder, chosen.config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    ours, theirs = (
        float(np.sqrt(np.mean((logits - exact) ** 2)))
        for logits in (our_logits(chosen.config, params), their_logits(rounded))
    )
    assert 0 < ours < 1.2 * theirs


OF_FAMILY: dict[str, dict[str, Any]] = {
    "Qwen2": {"biases": True},
    "Qwen3": {"head_norms": True},
    "Llama": {"rotary_scaling": RotaryScaling(original_context=16)},
    "Gemma2": BLOCKS | {"score_size": 20, "score_cap": 2.0, "logit_cap": 5.0},
    "Gemma3": BLOCKS | {"head_norms": True, "local_base": 1e4, "rotary_stretch": 8.0},
    "Olmo2": {"norms": "after", "norm_offset": 0.0, "joint_norms": True},
}


@pytest.mark.parametrize("family", OF_FAMILY)
def test_what_we_write_is_read_by_transformers(family, tmp_path):
    config = Config(
        vocabulary=96, width=32, num_layers=2, num_heads=4, num_key_heads=2, head_size=8 if family == "Olmo2" else 12,
        hidden=48, rotary_base=1e4 if family == "Gemma2" else 1e6, **OF_FAMILY[family],
    )  # fmt: skip
    random = np.random.default_rng(0)
    params = initialize(config, jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.2 * random.normal(size=leaf.shape).astype(np.float32), params)
    write_checkpoint(tmp_path, config, params, longest=64, largest=20_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == f"{family}ForCausalLM"
    assert distance(our_logits(config, params), their_logits(theirs)) <= 1e-4
