"""What a `config.json` says of a model, and what is refused in it."""

import json
import math
import os
from typing import Any

import pytest

from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.pretrained.families import describe, read_description, shape_from
from theory.runs.command_line import InputError

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
OPTIONAL = {"hidden_act", "num_key_value_heads", "max_position_embeddings"}
SHAPE = Config(
    vocabulary=96, width=32, num_layers=2, num_heads=4, num_key_heads=2, head_size=8, hidden=48, norm_floor=1e-5
)
OLD_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "rope_theta": 1000000.0,
    "sliding_window": 100,
    "use_sliding_window": False,
}
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "head_dim": 16,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}
MISTRAL = {"architectures": ["MistralForCausalLM"], "head_dim": None, "sliding_window": 100}
GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "head_dim": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 24,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "sliding_window": 40,
    "num_hidden_layers": 3,
}
GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "rope_theta": 1e6,
    "rope_local_base_freq": 10_000,
    "rope_scaling": None,
    "sliding_window": 40,
    "sliding_window_pattern": 6,
}
OLMO2 = {"architectures": ["Olmo2ForCausalLM"], "rope_theta": 500_000, "rope_scaling": None, "attention_bias": False}
BLOCKS: dict[str, Any] = {
    "gate": "gelu", "norms": "both", "norm_offset": 1.0, "scaled_embedding": True, "tied": True, "head_size": 16,
}  # fmt: skip
LINEAR = {"rope_scaling": {"type": "linear", "factor": 2.0}}
KINDS = ["sliding_attention", "sliding_attention", "full_attention"]
BOTH_WAVES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
}


def shape(description: dict[str, Any], longest: int = 60) -> Config:
    return shape_from(SIZES | description, longest)


def refusal(description: dict[str, Any], longest: int = 60) -> str:
    with pytest.raises(InputError) as caught:
        shape(description, longest)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(**changes: Any) -> Config:
    return Config(**vars(SHAPE) | changes)


def test_each_family_is_read_as_it_was_published():
    assert shape(QWEN2) == changed(biases=True, rotary_base=1e6)
    assert shape(QWEN3) == changed(head_norms=True, head_size=16, rotary_base=1e6)
    assert shape(MISTRAL) == SHAPE
    scaling = RotaryScaling(factor=32.0, original_context=8192)
    assert shape(OLD_LLAMA) == changed(rotary_base=5e5, rotary_scaling=scaling, tied=True)


def test_gemma_and_olmo_are_read_as_they_were_published():
    capped = {"score_size": 24, "score_cap": 50.0, "logit_cap": 30.0, "num_layers": 3}
    assert shape(GEMMA2) == changed(**BLOCKS, **capped, window=40, full_every=2)
    assert shape(GEMMA2, longest=40) == changed(**BLOCKS, **capped)
    both = BLOCKS | {"head_norms": True, "rotary_base": 1e6, "local_base": 1e4, "full_every": 6}
    assert shape(GEMMA3) == changed(**both, window=40)
    assert shape(GEMMA3, longest=40) == changed(**both)
    new = {key: value for key, value in GEMMA3.items() if not key.startswith("rope")}
    new |= {"rope_parameters": BOTH_WAVES, "layer_types": KINDS, "num_hidden_layers": 3}
    assert shape(new) == changed(**both | {"full_every": 3, "num_layers": 3}, window=40, rotary_stretch=8.0)
    assert shape(GEMMA3 | {"layer_types": ["full_attention"] * 2}) == changed(
        **BLOCKS, head_norms=True, rotary_base=1e6
    )
    assert shape(OLMO2) == changed(norms="after", norm_offset=0.0, joint_norms=True, rotary_base=5e5)


def test_of_a_gemma_that_sees_images_the_text_model_is_read(tmp_path):
    """Its file leaves out what transformers fills in."""
    text: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "sliding_window": 40}
    text["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    whole = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text, "vision_config": {"a": 1}}
    (tmp_path / "config.json").write_text(json.dumps(whole | {"eos_token_id": [1, 106]}))
    description = read_description(tmp_path)
    assert description["eos_token_id"] == [1, 106]
    images: dict[str, Any] = BLOCKS | {"head_size": 256}
    assert shape_from(description, 60) == Config(
        vocabulary=262_208, width=64, num_layers=7, num_heads=8, num_key_heads=4, hidden=96,
        head_norms=True, rotary_base=1e6, local_base=1e4, rotary_stretch=8.0, window=40, full_every=6,
        **images,
    )  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(whole | {"text_config": 5}))
    assert "ConditionalGeneration is not supported" in refusal(read_description(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0, which is not supported in this family"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention=true"),
        ({"hidden_activation": "gelu"}, "hidden_activation=gelu, which is not supported"),
        ({"hidden_activation": None}, "hidden_activation=None"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types in no regular order"),
        ({"layer_types": ["sliding_attention"]}, "layer_types in no regular order"),
        ({"layer_types": ["sliding_attention"], "num_hidden_layers": 10**9}, "layer_types in no regular order"),
        ({"layer_types": ["sliding_attention", "chunked_attention"]}, "layers with chunked_attention"),
        ({"sliding_window": 0}, "window must be a whole number"),
        ({"sliding_window": "many"}, "describes no Gemma3ForCausalLM"),
        ({"sliding_window_pattern": 2.5}, "full_every must be a whole number"),
        ({"sliding_window_pattern": 0}, "full_every must be a whole number"),
        ({"query_pre_attn_scalar": -1}, "score_size must be a finite number above 0"),
        ({"query_pre_attn_scalar": None}, "describes no Gemma3ForCausalLM"),
        ({"final_logit_softcapping": math.inf}, "logit_cap must be a finite number above 0"),
        ({"rope_local_base_freq": 0}, "local_base must be a finite number above 0"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "rotary_stretch must be a finite number above 0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "lacks factor"),
        ({"rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_type": "yarn"}}}, "of type yarn"),
        ({"rope_parameters": {"full_attention": 5}}, "describes no Gemma3ForCausalLM"),
    ],
    ids=str,
)
def test_what_gemma_cannot_say_is_refused_by_name(change, said):
    assert said in refusal(GEMMA3 | change)


def test_rotary_waves_are_the_same_in_old_and_new_files():
    new = {"rope_theta": None, "rope_scaling": None} | OLD_LLAMA
    new["rope_parameters"] = OLD_LLAMA["rope_scaling"] | {"rope_theta": OLD_LLAMA["rope_theta"]}
    del new["rope_theta"], new["rope_scaling"]
    assert shape(new) == shape(OLD_LLAMA)


def test_a_window_is_refused_only_where_it_would_matter():
    assert shape(MISTRAL, longest=100) == SHAPE
    assert "sliding_window=100: ask for texts of at most as many tokens, not 101" in refusal(MISTRAL, 101)
    assert "sliding_window=4096" in refusal(
        {"architectures": ["MistralForCausalLM"], "max_position_embeddings": 9999}, 5000
    )
    assert shape(MISTRAL | {"sliding_window": None}, longest=101) == SHAPE
    assert shape(QWEN2, longest=101)
    assert "sliding_window=100" in refusal(QWEN2 | {"use_sliding_window": True}, 101)
    assert "max_position_embeddings=4096" in refusal(QWEN2, 5000)


def test_other_architectures_are_named_with_those_that_are_supported():
    for architectures in (["GemmaForCausalLM"], [], None, ["LlamaForCausalLM", "Other"], {}):
        message = refusal({"architectures": architectures})
        assert message.endswith("MistralForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, Olmo2ForCausalLM")
    for name in ("GemmaForCausalLM", "Gemma3nForConditionalGeneration", "Gemma3nForCausalLM"):
        assert f"{name} is not supported" in refusal({"architectures": [name]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_bias": True}, "attention_bias=true"),
        ({"mlp_bias": True}, "mlp_bias=true"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0, which is not supported in this family"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu"),
        ({"quantization_config": {"quant_method": "gptq"}}, "is quantized"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "of type dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "of type yarn"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "on 50% of a head"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers with linear_attention"),
    ],
)
def test_options_that_we_lack_are_refused_by_name(change, said):
    assert said in refusal(OLD_LLAMA | change)


@pytest.mark.parametrize("name", sorted(SIZES.keys() - OPTIONAL))
def test_missing_and_nonsensical_numbers_are_refused(name):
    description = SIZES | OLD_LLAMA
    with pytest.raises(InputError, match=f"lacks {name}"):
        shape_from({key: value for key, value in description.items() if key != name}, 60)
    if name != "rms_norm_eps":
        for value in (0, "many", -3, [4]):
            with pytest.raises(InputError, match="describes no LlamaForCausalLM"):
                shape_from(description | {name: value}, 60)


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**30},
        {"hidden_size": 32.0},
        {"rope_theta": math.inf},
        {"rope_theta": -1.0},
        {"rms_norm_eps": math.nan},
        {"rms_norm_eps": -1e-5},
        {"rope_scaling": OLD_LLAMA["rope_scaling"] | {"factor": math.inf}},
        {"rope_scaling": OLD_LLAMA["rope_scaling"] | {"low_freq_factor": "1"}},
    ],
    ids=str,
)
def test_numbers_that_no_model_has_are_refused(change):
    assert "describes no LlamaForCausalLM" in refusal(OLD_LLAMA | change)


def test_what_a_family_implies_is_not_taken_for_granted_in_another():
    assert shape(OLD_LLAMA | {"num_key_value_heads": None}).num_key_heads == 4
    assert "lacks num_key_value_heads" in refusal(QWEN2 | {"num_key_value_heads": None})
    assert "lacks head_dim" in refusal(QWEN3 | {"head_dim": None})


def test_what_we_describe_is_read_as_the_same_shape():
    for description in (QWEN2, QWEN3, OLD_LLAMA, MISTRAL, GEMMA2, GEMMA3, OLMO2, OLD_LLAMA | LINEAR):
        assert shape_from(describe(shape(description), 60, "bfloat16"), 60) == shape(description)
    for lost in ({"score_cap": 5.0}, {"norms": "both"}, {"window": 5, "full_every": 2}):
        with pytest.raises(ValueError, match="that of a published family"):
            describe(changed(**lost), 60, "bfloat16")
    with pytest.raises(ValueError, match="that of a published family, in biases, head_norms"):
        describe(changed(biases=True, head_norms=True), 60, "bfloat16")


def test_a_folder_without_a_readable_description_is_refused(tmp_path):
    for content, said in (
        (None, "has no config.json"),
        ("{", "can't be read"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "nested too deep"),
    ):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match=said):
            read_description(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    assert read_description(tmp_path) == SIZES


@pytest.mark.parametrize("change", [{"hidden_act": []}, {"layer_types": 5}, {"layer_types": [[1]]}])
def test_options_of_a_strange_type_are_refused(change):
    assert "describes no LlamaForCausalLM" in refusal(OLD_LLAMA | change)


def test_a_pipe_is_no_description(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InputError, match="is no file"):
        read_description(tmp_path)
