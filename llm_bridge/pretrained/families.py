"""Families of published models: from a checkpoint's `config.json` to a shape, and back."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llm_bridge.files.objects import read_object
from llm_bridge.model.shapes import Config, RotaryScaling
from theory.runs.command_line import InputError

Description = dict[str, Any]
"""What a `config.json` holds."""


@dataclass(frozen=True)
class Family:
    """What one architecture leaves unsaid in its `config.json`."""

    shape: dict[str, Any] = field(default_factory=dict)
    """Fields of `Config` that go without saying."""
    window: int | None = None
    """Tokens that are seen back, if the file says nothing of it."""
    optional_window: bool = False
    """Whether `use_sliding_window` has to switch the window on."""
    defaults: tuple[str, ...] = ()
    """Numbers that may be left out, and then follow from the others."""
    unsaid: Description = field(default_factory=dict)
    """What else may be left out, as transformers fills it in; files of Gemma alone leave such things out."""


GEMMA: dict[str, Any] = {"norms": "both", "norm_offset": 1.0, "scaled_embedding": True}
OLMO2: dict[str, Any] = {"norms": "after", "norm_offset": 0.0, "joint_norms": True}
"""Shapes that go without saying; Gemma 3 has norms of heads, too."""

GEMMA_UNSAID: Description = {
    "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 256, "sliding_window": 4096, "tie_word_embeddings": True,
}  # fmt: skip
GEMMA2_UNSAID: Description = {
    "sliding_window_pattern": 2, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0
}  # fmt: skip
GEMMA3_UNSAID: Description = {
    "sliding_window_pattern": 6, "final_logit_softcapping": None, "vocab_size": 262_208,
    "rope_theta": 1e6, "rope_local_base_freq": 1e4,
}  # fmt: skip
"""What files of both Gemmas, and of one, may leave out."""

FAMILIES: dict[str, Family] = {
    "Qwen2ForCausalLM": Family({"biases": True}, optional_window=True, defaults=("head_dim",)),
    "Qwen3ForCausalLM": Family({"head_norms": True}, optional_window=True),
    "LlamaForCausalLM": Family(defaults=("head_dim", "num_key_value_heads")),
    "MistralForCausalLM": Family(window=4096, defaults=("head_dim",)),
    "Gemma2ForCausalLM": Family(GEMMA, unsaid=GEMMA_UNSAID | GEMMA2_UNSAID),
    "Gemma3ForCausalLM": Family(GEMMA | {"head_norms": True}, unsaid=GEMMA_UNSAID | GEMMA3_UNSAID),
    "Olmo2ForCausalLM": Family(OLMO2, defaults=("head_dim", "num_key_value_heads")),
}
"""The supported architectures by the name that `config.json` gives them."""

TELLING = ("biases", "head_norms", "joint_norms", "norms", "norm_offset", "scaled_embedding")
"""Fields of `Config` that tell families apart."""

GEMMA_ONLY = ("full_every", "window", "local_base", "score_size", "score_cap", "logit_cap")
"""Fields of `Config` that files of Gemma alone can say."""

UNSUPPORTED = (
    "attention_bias", "mlp_bias", "use_bidirectional_attention", "attn_logit_softcapping", "final_logit_softcapping",
)  # fmt: skip
"""Options of `config.json` that have to be off, but in families that may leave them out."""

ACTIVATIONS: dict[str, str] = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu"}
"""Gates as `config.json` calls them, and as `Config` does."""

WITH_IMAGES = "Gemma3ForConditionalGeneration"
"""An architecture whose text model alone is read: a Gemma 3."""

SCALING_FIELDS: dict[str, str] = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}
"""Fields of `RotaryScaling`, and how `config.json` calls them."""


def read_description(folder: Path) -> Description:
    """Read a checkpoint's `config.json`; of a model that sees images, what it says of the text model."""
    try:
        description = read_object(folder / "config.json", "fetch the checkpoint anew")
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no config.json: name the folder of a Hugging Face checkpoint") from error
    text = description.get("text_config")
    if description.get("architectures") != [WITH_IMAGES] or not isinstance(text, dict):
        return description
    kept = {name: value for name, value in description.items() if name not in {"text_config", "vision_config"}}
    return text | kept | {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}


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
        description = family.unsaid | description
        refuse_options(description, family)
        windows = find_windows(description, family, longest)
        heads, width = description["num_attention_heads"], description["hidden_size"]
        implied = {"head_dim": width // heads, "num_key_value_heads": heads}
        given = {key: description[key] for key in implied if description.get(key) is not None}
        sizes = {key: value for key, value in implied.items() if key in family.defaults} | given
        return Config(
            vocabulary=description["vocab_size"],
            width=width,
            num_layers=description["num_hidden_layers"],
            num_heads=heads,
            num_key_heads=sizes["num_key_value_heads"],
            head_size=sizes["head_dim"],
            hidden=description["intermediate_size"],
            gate=find_gate(description, family),
            norm_floor=float(description["rms_norm_eps"]),
            tied=description.get("tie_word_embeddings", False),
            **rotary_waves(description, several="full_every" in windows),
            **windows,
            **find_caps(description, family),
            **family.shape,
        )
    except KeyError as error:
        raise InputError(f"config.json lacks {error.args[0]}: fetch the checkpoint anew") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise InputError(f"config.json describes no {name} ({error}): fetch the checkpoint anew") from error


def refuse_options(description: Description, family: Family) -> None:
    """Refuse what our transformer has no option for."""
    if description.get("quantization_config"):
        raise InputError("the checkpoint is quantized, which is not supported: name the one in bfloat16")
    for name in UNSUPPORTED:
        if name not in family.unsaid and (value := description.get(name)):
            raise InputError(f"config.json has {name}={str(value).lower():.40}, which is not supported in this family")


def find_gate(description: Description, family: Family) -> Any:
    """Find what units' gates are; Gemma has a field of its own for it."""
    name = "hidden_activation" if family.unsaid else "hidden_act"
    given = description.get(name, "silu")
    if given not in ACTIVATIONS:
        raise InputError(f"config.json has {name}={given}, which is not supported: only {', '.join(ACTIVATIONS)} are")
    return ACTIVATIONS[given]


def find_caps(description: Description, family: Family) -> dict[str, Any]:
    """Find what scores are divided by the root of, if it isn't the head's size, and the caps of scores and logits."""
    if not family.unsaid:
        return {}
    size = float(description["query_pre_attn_scalar"])
    caps = {"score_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"}
    given = {ours: float(cap) for ours, theirs in caps.items() if (cap := description.get(theirs)) is not None}
    return given | ({} if size == description["head_dim"] else {"score_size": size})


def find_windows(description: Description, family: Family, longest: int) -> dict[str, Any]:
    """Find which layers have a window, where others see all of a text and it makes a difference.

    Texts that a model was not made for, or of which no layer would see all, are refused.
    """
    window = description.get("sliding_window", family.window)
    if family.optional_window and not description.get("use_sliding_window"):
        window = None
    kinds = description.get("layer_types") or ()
    if other := set(kinds) - {"full_attention", "sliding_attention"}:
        raise InputError(f"config.json has layers with {', '.join(sorted(map(str, other)))}, which is not supported")
    limits = {} if family.unsaid else {"sliding_window": window}
    for name, limit in (limits | {"max_position_embeddings": description.get("max_position_embeddings")}).items():
        if isinstance(limit, int) and limit < longest:
            raise InputError(f"config.json has {name}={limit}: ask for texts of at most as many tokens, not {longest}")
    if not family.unsaid:
        return {}
    every, count = description["sliding_window_pattern"], description["num_hidden_layers"]
    if kinds and kinds != kinds_of_layers(every, len(kinds)):
        every = [*kinds, "full_attention"].index("full_attention") + 1
    if kinds and (len(kinds) != count or kinds != kinds_of_layers(every, count)):
        raise InputError("config.json has layer_types in no regular order, which is not supported")
    fields = {"full_every": every, "window": window if window is None or window < longest else None}
    return fields if every != 1 and (fields["window"] or "rope_local_base_freq" in description) else {}


def kinds_of_layers(every: int, num_layers: int) -> list[str]:
    """List what layers see, as `config.json` does, if every so many one sees all of a text."""
    return ["sliding_attention" if number % every else "full_attention" for number in range(1, num_layers + 1)]


def rotary_waves(description: Description, *, several: bool) -> dict[str, Any]:
    """Find the base of the rotary waves, or both where there are several kinds of layers, and their stretch if any.

    Transformers 5 writes them as `rope_parameters`, for each kind of layer where they differ; older ones as fields.
    """
    waves = description.get("rope_parameters") or description.get("rope_scaling") or {}
    by_kind = waves if "full_attention" in waves else {"full_attention": waves}
    waves, near = by_kind["full_attention"] or {}, by_kind.get("sliding_attention") or {}
    fields: dict[str, Any] = {"rotary_base": float(waves.get("rope_theta", description.get("rope_theta", 10_000.0)))}
    if several and "rope_local_base_freq" in description:
        fields["local_base"] = float(near.get("rope_theta", description["rope_local_base_freq"]))
    kind, other = (each.get("rope_type", each.get("type", "default")) for each in (waves, near))
    partial = waves.get("partial_rotary_factor", description.get("partial_rotary_factor", 1.0))
    if kind not in {"default", "linear", "llama3"} or other != "default" or partial != 1.0:
        raise InputError(
            f"config.json has rotary positions of type {kind if other == 'default' else other} on {partial:.0%} of a "
            "head, which is not supported: only default, linear and llama3 on all of it are"
        )
    if kind == "linear":
        fields["rotary_stretch"] = float(waves["factor"])
    if kind == "llama3":
        fields["rotary_scaling"] = RotaryScaling(**{ours: waves[theirs] for ours, theirs in SCALING_FIELDS.items()})
    return fields


def find_family(config: Config) -> str:
    """Find the first architecture of such a shape, by its name."""
    for name, family in FAMILIES.items():
        fields = TELLING if family.unsaid else TELLING + GEMMA_ONLY
        if all(getattr(config, each) == family.shape.get(each, getattr(Config, each)) for each in fields):
            return name
    raise ValueError(f"config must be that of a published family, in {', '.join(TELLING + GEMMA_ONLY)}")


def describe(config: Config, longest: int, dtype: str) -> Description:
    """Describe a shape as `config.json` does, in the fields that older versions of transformers read, too.

    A shape with neither biases nor other norms is called a Llama.
    """
    name = find_family(config)
    kind = name.removesuffix("ForCausalLM").lower() + ("_text" if name.startswith("Gemma3") else "")
    gate = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.gate)
    waves = asdict(config.rotary_scaling) if config.rotary_scaling else {}
    scaling = {"rope_type": "llama3"} | {SCALING_FIELDS[field]: value for field, value in waves.items()}
    if config.rotary_stretch != 1:
        scaling = {"rope_type": "linear", "factor": config.rotary_stretch}
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_heads,
        "head_dim": config.head_size,
        "hidden_act": gate,
        "rms_norm_eps": config.norm_floor,
        "rope_theta": config.rotary_base,
        "rope_scaling": scaling if waves or config.rotary_stretch != 1 else None,
        "max_position_embeddings": longest,
        "tie_word_embeddings": config.tied,
        "torch_dtype": dtype,
    } | (describe_gemma(config, longest, gate) if FAMILIES[name].unsaid else {})


def describe_gemma(config: Config, longest: int, gate: str) -> Description:
    """Describe what `config.json` says of Gemma alone."""
    local = {} if config.local_base is None else {"rope_local_base_freq": config.local_base}
    return local | {
        "hidden_activation": gate,
        "query_pre_attn_scalar": config.score_size or config.head_size,
        "attn_logit_softcapping": config.score_cap,
        "final_logit_softcapping": config.logit_cap,
        "sliding_window": config.window or longest,
        "sliding_window_pattern": config.full_every,
        "layer_types": kinds_of_layers(config.full_every, config.num_layers),
    }
