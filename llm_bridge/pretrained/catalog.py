"""Shapes of published models by short names, so that what they cost can be told, and timed, without their weights."""

from typing import Any

from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.tiny.pretraining import Pretraining, shape_of
from theory.runs.command_line import InputError

TINY = "tiny"
"""The short name of the tiny model."""


def qwen2(width: int, num_layers: int, num_heads: int, num_key_heads: int, head_size: int, hidden: int) -> Config:
    """Describe a Qwen2.5; the large ones have a head of their own, and a vocabulary that more devices divide."""
    tied = width < 3000
    return Config(
        vocabulary=151_936 if tied else 152_064,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_heads=num_key_heads,
        head_size=head_size,
        hidden=hidden,
        rotary_base=1e6,
        biases=True,
        tied=tied,
    )


def qwen3(width: int, num_layers: int, num_heads: int, hidden: int, *, tied: bool) -> Config:
    """Describe a Qwen3."""
    return Config(
        vocabulary=151_936,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_heads=8,
        head_size=128,
        hidden=hidden,
        rotary_base=1e6,
        head_norms=True,
        tied=tied,
    )


def llama3(
    width: int, num_layers: int, num_heads: int, head_size: int, hidden: int, *, stretch: float, tied: bool
) -> Config:
    """Describe a Llama 3.1 or 3.2, whose rotary waves are stretched."""
    return Config(
        vocabulary=128_256,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_heads=8,
        head_size=head_size,
        hidden=hidden,
        rotary_base=5e5,
        rotary_scaling=RotaryScaling(factor=stretch),
        norm_floor=1e-5,
        tied=tied,
    )


def gemma(width: int, num_layers: int, num_heads: int, num_key_heads: int, hidden: int, **others: Any) -> Config:
    """Describe what Gemma 2 and 3 have in common."""
    return Config(
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_heads=num_key_heads,
        head_size=256,
        hidden=hidden,
        gate="gelu",
        norm_offset=1.0,
        norms="both",
        scaled_embedding=True,
        tied=True,
        **others,
    )


GEMMA2 = {"vocabulary": 256_000, "window": 4096, "full_every": 2, "score_cap": 50.0, "logit_cap": 30.0}
GEMMA3 = {
    "vocabulary": 262_144,
    "window": 512,
    "full_every": 6,
    "rotary_base": 1e6,
    "local_base": 1e4,
    "head_norms": True,
}
"""What each of both has besides; the small Gemma 3 that know texts alone."""


def olmo2(width: int, num_layers: int, num_heads: int, hidden: int) -> Config:
    """Describe an OLMo 2."""
    return Config(
        vocabulary=100_352,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_heads=num_heads,
        head_size=128,
        hidden=hidden,
        rotary_base=5e5,
        norm_offset=0.0,
        norms="after",
        joint_norms=True,
    )


SHAPES: dict[str, Config] = {
    "smollm2-135m": Config(
        vocabulary=49_152,
        width=576,
        num_layers=30,
        num_heads=9,
        num_key_heads=3,
        head_size=64,
        hidden=1536,
        rotary_base=1e5,
        norm_floor=1e-5,
        tied=True,
    ),
    "qwen2.5-0.5b": qwen2(896, 24, 14, 2, 64, 4864),
    "qwen2.5-1.5b": qwen2(1536, 28, 12, 2, 128, 8960),
    "qwen2.5-3b": qwen2(2048, 36, 16, 2, 128, 11_008),
    "qwen2.5-7b": qwen2(3584, 28, 28, 4, 128, 18_944),
    "qwen2.5-14b": qwen2(5120, 48, 40, 8, 128, 13_824),
    "qwen3-0.6b": qwen3(1024, 28, 16, 3072, tied=True),
    "qwen3-4b": qwen3(2560, 36, 32, 9728, tied=True),
    "qwen3-8b": qwen3(4096, 36, 32, 12_288, tied=False),
    "llama-3.2-1b": llama3(2048, 16, 32, 64, 8192, stretch=32, tied=True),
    "llama-3.2-3b": llama3(3072, 28, 24, 128, 8192, stretch=32, tied=True),
    "llama-3.1-8b": llama3(4096, 32, 32, 128, 14_336, stretch=8, tied=False),
    "gemma-2-2b": gemma(2304, 26, 8, 4, 9216, **GEMMA2),
    "gemma-2-9b": gemma(3584, 42, 16, 8, 14_336, **GEMMA2),
    "gemma-3-270m": gemma(640, 18, 4, 1, 2048, **GEMMA3),
    "gemma-3-1b": gemma(1152, 26, 4, 1, 6912, **GEMMA3),
    "olmo-2-1b": olmo2(2048, 16, 16, 8192),
    "olmo-2-7b": olmo2(4096, 32, 32, 11_008),
    "mistral-7b": Config(
        vocabulary=32_768,
        width=4096,
        num_layers=32,
        num_heads=32,
        num_key_heads=8,
        head_size=128,
        hidden=14_336,
        rotary_base=1e6,
        norm_floor=1e-5,
    ),
}
"""What their `config.json` says; Mistral 7B is version 0.3."""


def find_shape(name: str) -> Config:
    """Look up a shape by `tiny` or a short name of `SHAPES`."""
    if name == TINY:
        return shape_of(Pretraining())
    if name not in SHAPES:
        raise InputError(f"there is no shape {name}: say {TINY}, {', '.join(SHAPES)}")
    return SHAPES[name]
