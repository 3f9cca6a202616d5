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
    for description in (QWEN2, QWEN3, OLD_LLAMA, MISTRAL):
        assert shape_from(describe(shape(description), 60, "bfloat16"), 60) == shape(description)
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
