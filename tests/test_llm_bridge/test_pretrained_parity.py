"""Our transformer on published checkpoints, held against transformers' own; both in float32, as outside of tests."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.weights import read_params
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.sampling import sample
from llm_bridge.shapes import Config, RotaryScaling
from llm_bridge.transformer import apply
from theory.networks import Params

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
FAMILIES = {
    "Qwen2": {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Qwen3": {"head_dim": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Llama": {"rms_norm_eps": 1e-5, "rope_parameters": STRETCHED},
    "Mistral": {"head_dim": 16, "rms_norm_eps": 1e-5, "sliding_window": None},
}


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


@pytest.fixture(scope="module", params=[(family, tied) for family in FAMILIES for tied in (False, True)], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    family, tied = request.param
    torch.manual_seed(0)
    described = getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family], tie_word_embeddings=tied)
    theirs = getattr(transformers, f"{family}ForCausalLM")(described).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "norm" in name or "bias" in name:
                weight += 0.3 * torch.randn(weight.shape)
    folder = tmp_path_factory.mktemp("checkpoint")
    theirs.save_pretrained(folder)
    config = shape_from(read_description(folder), LENGTH)
    assert config.tied == tied
    return Pair(theirs, folder, config, read_params(folder, config, dtype=jnp.float32))


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, SMALL["vocab_size"], (3, LENGTH))


def their_logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(tokens())).logits.float().numpy()


def our_logits(config: Config, params: Params) -> np.ndarray:
    return np.asarray(jax.jit(apply, static_argnums=0)(config, params, jnp.asarray(tokens(), np.int32)))


def test_logits_are_those_of_transformers(pair):
    difference = np.abs(our_logits(pair.config, pair.params) - their_logits(pair.theirs)).max()
    print(difference)
    assert difference <= 1e-4


def test_greedy_tokens_are_those_of_generate(pair):
    prompts = tokens()[:, :5]
    with torch.no_grad():
        expected = pair.theirs.generate(torch.from_numpy(prompts), attention_mask=torch.ones(prompts.shape, dtype=int), max_new_tokens=16, do_sample=False, pad_token_id=0).numpy()[:, 5:]
    found = sample(
        pair.config, pair.params, jnp.asarray(prompts, np.int32), jnp.full(3, 5), jax.random.split(jax.random.key(0), 3), num_tokens=16, temperature=1e-6
    )
    np.testing.assert_array_equal(found.tokens[:, 0], expected)
