"""Shapes of published models by short names, so that what they cost can be told, and timed, without their weights."""

from typing import Any

from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.pretrained.families import FAMILIES, GEMMA
from llm_bridge.tiny.pretraining import Pretraining, shape_of
from theory.runs.command_line import InputError

TINY = "tiny"
"""The short name of the tiny model."""

SIZES = ("width", "num_layers", "num_heads", "num_key_heads", "head_size", "hidden")
"""Fields of `Config`, in the order in which `SHAPES` has their numbers."""

QWEN2: dict[str, Any] = {"rotary_base": 1e6, "biases": True}
QWEN3: dict[str, Any] = {"vocabulary": 151_936, "rotary_base": 1e6, "head_norms": True}
LLAMA3: dict[str, Any] = {"vocabulary": 128_256, "rotary_base": 5e5, "norm_floor": 1e-5}
GEMMA2: dict[str, Any] = GEMMA | {
    "gate": "gelu",
    "tied": True,
    "window": 4096,
    "full_every": 2,
    "score_cap": 50.0,
    "logit_cap": 30.0,
}
GEMMA3: dict[str, Any] = GEMMA | {
    "gate": "gelu",
    "tied": True,
    "window": 512,
    "full_every": 6,
    "rotary_base": 1e6,
    "local_base": 1e4,
}
OLMO2: dict[str, Any] = FAMILIES["Olmo2ForCausalLM"].shape | {"vocabulary": 100_352, "rotary_base": 5e5}
"""What the sizes of one family have in common; the large ones of Qwen2.5 have a vocabulary that more devices divide,
and the small Gemma 3 know texts alone."""


def of_sizes(*sizes: int, **others: Any) -> Config:
    """Describe a shape by its `SIZES`, and by what else it has in common with others."""
    return Config(**dict(zip(SIZES, sizes, strict=True)), **others)


SHAPES: dict[str, Config] = {
    "smollm2-135m": of_sizes(576, 30, 9, 3, 64, 1536, vocabulary=49_152, rotary_base=1e5, norm_floor=1e-5, tied=True),
    "qwen2.5-0.5b": of_sizes(896, 24, 14, 2, 64, 4864, vocabulary=151_936, tied=True, **QWEN2),
    "qwen2.5-1.5b": of_sizes(1536, 28, 12, 2, 128, 8960, vocabulary=151_936, tied=True, **QWEN2),
    "qwen2.5-3b": of_sizes(2048, 36, 16, 2, 128, 11_008, vocabulary=151_936, tied=True, **QWEN2),
    "qwen2.5-7b": of_sizes(3584, 28, 28, 4, 128, 18_944, vocabulary=152_064, **QWEN2),
    "qwen2.5-14b": of_sizes(5120, 48, 40, 8, 128, 13_824, vocabulary=152_064, **QWEN2),
    "qwen3-0.6b": of_sizes(1024, 28, 16, 8, 128, 3072, tied=True, **QWEN3),
    "qwen3-4b": of_sizes(2560, 36, 32, 8, 128, 9728, tied=True, **QWEN3),
    "qwen3-8b": of_sizes(4096, 36, 32, 8, 128, 12_288, **QWEN3),
    "llama-3.2-1b": of_sizes(2048, 16, 32, 8, 64, 8192, rotary_scaling=RotaryScaling(factor=32), tied=True, **LLAMA3),
    "llama-3.2-3b": of_sizes(3072, 28, 24, 8, 128, 8192, rotary_scaling=RotaryScaling(factor=32), tied=True, **LLAMA3),
    "llama-3.1-8b": of_sizes(4096, 32, 32, 8, 128, 14_336, rotary_scaling=RotaryScaling(factor=8), **LLAMA3),
    "gemma-2-2b": of_sizes(2304, 26, 8, 4, 256, 9216, vocabulary=256_000, **GEMMA2),
    "gemma-2-9b": of_sizes(3584, 42, 16, 8, 256, 14_336, vocabulary=256_000, **GEMMA2),
    "gemma-3-270m": of_sizes(640, 18, 4, 1, 256, 2048, vocabulary=262_144, head_norms=True, **GEMMA3),
    "gemma-3-1b": of_sizes(1152, 26, 4, 1, 256, 6912, vocabulary=262_144, head_norms=True, **GEMMA3),
    "olmo-2-1b": of_sizes(2048, 16, 16, 16, 128, 8192, **OLMO2),
    "olmo-2-7b": of_sizes(4096, 32, 32, 32, 128, 11_008, **OLMO2),
    "mistral-7b": of_sizes(4096, 32, 32, 8, 128, 14_336, vocabulary=32_768, rotary_base=1e6, norm_floor=1e-5),
}
"""What their `config.json` says; Mistral 7B is version 0.3."""


def find_shape(name: str) -> Config:
    """Look up a shape by `tiny` or a short name of `SHAPES`."""
    if name == TINY:
        return shape_of(Pretraining())
    if name not in SHAPES:
        raise InputError(f"there is no shape {name}: say {TINY}, {', '.join(SHAPES)}")
    return SHAPES[name]
