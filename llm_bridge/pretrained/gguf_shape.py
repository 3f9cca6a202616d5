"""The shape of the model that a GGUF file holds."""

from dataclasses import replace
from typing import Any

import numpy as np

from llm_bridge.model.shapes import Config, RotaryScaling
from llm_bridge.model.transformer import frequencies
from llm_bridge.pretrained.families import FAMILIES
from llm_bridge.pretrained.gguf_file import REMEDY, Gguf, Tensor
from theory.runs.command_line import InputError

ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
}
"""The supported architectures as these files call them, Mistral's being llama, and as `FAMILIES` does."""

EMBEDDING, HEAD, STRETCH = "token_embd.weight", "output.weight", "rope_freqs.weight"
"""Other tensors; the head is left out where it is the embedding, the stretch where rotary waves are as usual."""

READ = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
    "attention.value_length", "rope.dimension_count", "rope.freq_base", "vocab_size",
)  # fmt: skip
"""What files say of an architecture that is read, or follows from their tensors."""

READ_OF_GEMMA = (
    "attention.sliding_window_pattern", "attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base_swa",
)  # fmt: skip
"""What is read of Gemma alone."""

LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}
"""Layers of the models whose scores are not divided by the root of the head's size, of which files say nothing else."""

SCALING = "rope.scaling."
"""How what files say of a stretch of rotary waves begins."""

ACCEPTED: dict[str, tuple[object, ...]] = {
    "attention.causal": (True,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    f"{SCALING}factor": (0.0, 1.0),
    f"{SCALING}type": ("none",),
}
"""What else files may say, as it changes nothing; nor does any of `SCALING` if its type is none."""


def read_shape(file: Gguf) -> Config:
    """Read a model's shape; what our transformer has no option for is refused."""
    architecture = file.need("general.architecture", str)
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file.path} holds a model of architecture {architecture!r:.40}, which is not supported: "
            f"{', '.join(ARCHITECTURES)} are"
        )
    refuse_options(file, f"{architecture}.")
    if (embedding := file.tensors.get(EMBEDDING)) is None:
        raise InputError(f"{file.path} has no tensor {EMBEDDING}: {REMEDY}")
    width, heads = (file.need(f"{architecture}.{key}", int) for key in ("embedding_length", "attention.head_count"))
    sizes = {
        key: file.find(f"{architecture}.{key}", int)
        for key in ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count")
    }
    key_heads, head_size, *_ = sizes.values()
    family, base = FAMILIES[ARCHITECTURES[architecture]], file.find(f"{architecture}.rope.freq_base", float)
    try:
        head_size = width // heads if head_size is None else head_size
        if wrong := [key for key, size in list(sizes.items())[2:] if size not in (None, head_size)]:
            raise ValueError(f"{wrong[0]} must be the size of a head, {head_size}, not {sizes[wrong[0]]}")
        config = Config(
            vocabulary=embedding.shape[0],
            width=width,
            num_layers=file.need(f"{architecture}.block_count", int),
            num_heads=heads,
            num_key_heads=heads if key_heads is None else key_heads,
            head_size=head_size,
            hidden=file.need(f"{architecture}.feed_forward_length", int),
            rotary_base=family.unsaid.get("rope_theta", 10_000.0) if base is None else base,
            norm_floor=file.need(f"{architecture}.attention.layer_norm_rms_epsilon", float),
            tied=HEAD not in file.tensors,
            **family.shape,
            **(read_gemma(file, architecture, width // heads) if family.unsaid else {}),
        )
        return config if STRETCH not in file.tensors else stretched(config, file.tensors[STRETCH])
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"{file.path} describes no model that is supported ({error})") from error


def read_gemma(file: Gguf, architecture: str, share: int) -> dict[str, Any]:
    """Read what Gemma alone has, of which old files leave out what was published; `share` is width over heads."""
    unsaid = FAMILIES[ARCHITECTURES[architecture]].unsaid
    caps = {"score_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"}
    given = {ours: file.find(f"{architecture}.{theirs}", float) for ours, theirs in caps.items()}
    fields = {ours: unsaid.get(caps[ours]) if cap is None else cap for ours, cap in given.items()} | {"gate": "gelu"}
    if file.find(f"{architecture}.block_count", int) == LARGEST_GEMMA[architecture]:
        fields["score_size"] = share
    if file.find(f"{architecture}.{SCALING}type", str) == "linear":
        fields["rotary_stretch"] = file.need(f"{architecture}.{SCALING}factor", float)
    window = file.find(f"{architecture}.attention.sliding_window", int)
    if window is None and architecture == "gemma3":
        return fields
    base = file.find(f"{architecture}.rope.freq_base_swa", float)
    every = file.find(f"{architecture}.attention.sliding_window_pattern", int)
    return fields | {
        "window": unsaid["sliding_window"] if window is None else window,
        "full_every": unsaid["sliding_window_pattern"] if every is None else every,
        "local_base": unsaid.get("rope_local_base_freq") if base is None else base,
    }


def refuse_options(file: Gguf, prefix: str) -> None:
    """Refuse whatever else a file says of its architecture, as experts or a stretch of its rotary waves."""
    kind = file.find(f"{prefix}{SCALING}type", str)
    own = READ_OF_GEMMA if prefix.startswith("gemma") else ()
    read = {*READ, *own, *((f"{SCALING}type", f"{SCALING}factor") if own and kind == "linear" else ())}
    for key, value in file.metadata.items():
        name = key.removeprefix(prefix)
        if name == key or name in read or (kind == "none" and name.startswith(SCALING)):
            continue
        if isinstance(value, (list, np.ndarray)) or value not in ACCEPTED.get(name, ()):
            raise InputError(f"{file.path} says {key}={value!r:.40}, which is not supported: name another model")


def stretched(config: Config, found: Tensor) -> Config:
    """Find the stretch of Llama 3's rotary waves by what each is divided by, of which files hold nothing else."""
    factors = np.asarray(found.read(), float)
    scaled = replace(config, rotary_scaling=RotaryScaling(factor=float(factors.max())))
    expected = np.asarray(frequencies(config) / frequencies(scaled))
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise ValueError(f"{STRETCH} doesn't stretch rotary waves as Llama 3 does")
    return scaled
