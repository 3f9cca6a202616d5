"""Families of published models: from a checkpoint's `config.json` to a shape, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from llm_bridge.files.objects import read_object
from llm_bridge.model.shapes import Config, RotaryScaling
from theory.runs.command_line import InputError

Description = dict[str, Any]
"""What a `config.json` holds."""


class Family(NamedTuple):
    """What one architecture leaves unsaid in its `config.json`."""

    biases: bool = False
    """Whether queries, keys and values have biases."""
    head_norms: bool = False
    """Whether every head's queries and keys are normed."""
    window: int | None = None
    """Tokens that are seen back, if the file says nothing of it."""
    optional_window: bool = False
    """Whether `use_sliding_window` has to switch the window on."""
    defaults: tuple[str, ...] = ()
    """Numbers that may be left out, and then follow from the others."""


FAMILIES: dict[str, Family] = {
    "Qwen2ForCausalLM": Family(biases=True, optional_window=True, defaults=("head_dim",)),
    "Qwen3ForCausalLM": Family(head_norms=True, optional_window=True),
    "LlamaForCausalLM": Family(defaults=("head_dim", "num_key_value_heads")),
    "MistralForCausalLM": Family(window=4096, defaults=("head_dim",)),
}
"""The supported architectures by the name that `config.json` gives them."""

SCALING_FIELDS: dict[str, str] = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}
"""Fields of `RotaryScaling`, and how `config.json` calls them."""


def read_description(folder: Path) -> Description:
    """Read a checkpoint's `config.json`."""
    try:
        return read_object(folder / "config.json", "fetch the checkpoint anew")
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no config.json: name the folder of a Hugging Face checkpoint") from error


def shape_from(description: Description, longest: int) -> Config:
    """Find the shape that a `config.json` describes, for texts of at most `longest` tokens.

    A sliding window of as many makes no difference.
    """
    architectures = description.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and len(architectures) == 1 else architectures
    if not isinstance(name, str) or name not in FAMILIES:
        raise InputError(f"the architecture {name} is not supported; supported are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    try:
        refuse_options(description)
        refuse_windows(description, family, longest)
        heads, width = description["num_attention_heads"], description["hidden_size"]
        implied = {"head_dim": width // heads, "num_key_value_heads": heads}
        given = {key: description[key] for key in implied if description.get(key) is not None}
        sizes = {key: value for key, value in implied.items() if key in family.defaults} | given
        base, scaling = rotary_waves(description)
        return Config(
            vocabulary=description["vocab_size"],
            width=width,
            num_layers=description["num_hidden_layers"],
            num_heads=heads,
            num_key_heads=sizes["num_key_value_heads"],
            head_size=sizes["head_dim"],
            hidden=description["intermediate_size"],
            rotary_base=base,
            rotary_scaling=scaling,
            norm_floor=float(description["rms_norm_eps"]),
            biases=family.biases,
            head_norms=family.head_norms,
            tied=description.get("tie_word_embeddings", False),
        )
    except KeyError as error:
        raise InputError(f"config.json lacks {error.args[0]}: fetch the checkpoint anew") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(f"config.json describes no {name} ({error}): fetch the checkpoint anew") from error


def refuse_options(description: Description) -> None:
    """Refuse what our transformer has no option for."""
    if description.get("quantization_config"):
        raise InputError("the checkpoint is quantized, which is not supported: name the one in bfloat16")
    for name in ("attention_bias", "mlp_bias"):
        if description.get(name):
            raise InputError(f"config.json has {name}=true, which is not supported: only Qwen2's own biases are")
    if (activation := description.get("hidden_act", "silu")) not in {"silu", "swish"}:
        raise InputError(f"config.json has hidden_act={activation}, which is not supported: only silu is")


def refuse_windows(description: Description, family: Family, longest: int) -> None:
    """Refuse texts that a model was not made for, or would not see whole."""
    window = description.get("sliding_window", family.window)
    if family.optional_window and not description.get("use_sliding_window"):
        window = None
    if other := set(description.get("layer_types") or ()) - {"full_attention", "sliding_attention"}:
        raise InputError(f"config.json has layers with {', '.join(sorted(map(str, other)))}, which is not supported")
    limits = {"sliding_window": window, "max_position_embeddings": description.get("max_position_embeddings")}
    for name, limit in limits.items():
        if isinstance(limit, int) and limit < longest:
            raise InputError(f"config.json has {name}={limit}: ask for texts of at most as many tokens, not {longest}")


def rotary_waves(description: Description) -> tuple[float, RotaryScaling | None]:
    """Find the base of the rotary waves, and their stretch if there is one.

    Transformers 5 writes them as `rope_parameters`, older ones as two fields.
    """
    waves = description.get("rope_parameters") or description.get("rope_scaling") or {}
    base = float(waves.get("rope_theta", description.get("rope_theta", 10_000.0)))
    kind = waves.get("rope_type", waves.get("type", "default"))
    partial = waves.get("partial_rotary_factor", description.get("partial_rotary_factor", 1.0))
    if kind not in {"default", "llama3"} or partial != 1.0:
        raise InputError(
            f"config.json has rotary positions of type {kind} on {partial:.0%} of a head, which is not supported: "
            "only default and llama3 on all of it are"
        )
    if kind == "default":
        return base, None
    return base, RotaryScaling(**{ours: waves[theirs] for ours, theirs in SCALING_FIELDS.items()})


def describe(config: Config, longest: int, dtype: str) -> Description:
    """Describe a shape as `config.json` does, in the fields that older versions of transformers read, too.

    A shape with neither biases nor norms of heads is called a Llama.
    """
    if config.biases and config.head_norms:
        raise ValueError("config must have biases or head_norms, not both, to be that of a published family")
    kind = "qwen2" if config.biases else "qwen3" if config.head_norms else "llama"
    waves = asdict(config.rotary_scaling) if config.rotary_scaling else {}
    return {
        "architectures": [f"{kind.capitalize()}ForCausalLM"],
        "model_type": kind,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_floor,
        "rope_theta": config.rotary_base,
        "rope_scaling": {"rope_type": "llama3"} | {SCALING_FIELDS[name]: value for name, value in waves.items()}
        if waves
        else None,
        "max_position_embeddings": longest,
        "tie_word_embeddings": config.tied,
        "torch_dtype": dtype,
    }
