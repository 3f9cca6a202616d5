"""Names of tensors in published checkpoints, and of our parameters: the same arrays, stacked over layers."""

from collections.abc import Iterable

from llm_bridge.model.shapes import PROJECTIONS, Config

MODULES: dict[str, str] = dict(
    zip(
        PROJECTIONS,
        [*(f"self_attn.{letter}_proj" for letter in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down"))],
        strict=True,
    )
)
"""A layer's projections, and how published checkpoints call them."""

NORMS: dict[str, str] = {
    "attention norm": "input_layernorm",
    "hidden norm": "post_attention_layernorm",
    "query norm": "self_attn.q_norm",
    "key norm": "self_attn.k_norm",
    "output norm": "post_attention_layernorm",
    "down norm": "post_feedforward_layernorm",
}
"""A layer's norms, and how published checkpoints call them."""

NORM_OF_FOUR = "pre_feedforward_layernorm"
"""What the hidden norm is called where a layer has the other one's name, too."""

HEAD = "lm_head.weight"
"""The head; left out, or the same as the embedding, where the two are tied."""

LANGUAGE, IMAGES = "language_model.", ("vision_tower.", "multi_modal_projector.")
"""What is in the names of the text model's tensors where a model sees images, too, and how those of its eyes begin."""

TENSORS: dict[str, str] = {
    "embedding": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": HEAD,
    **{f"layers.{name}.kernel": f"model.layers.{{}}.{module}.weight" for name, module in MODULES.items()},
    **{f"layers.{name}.bias": f"model.layers.{{}}.{module}.bias" for name, module in MODULES.items()},
    **{f"layers.{name}": f"model.layers.{{}}.{module}.weight" for name, module in NORMS.items()},
}
"""Our parameters by path, and the tensor of each, with a blank for the layer's number where they are stacked."""


def is_stacked(leaf: str) -> bool:
    """Tell whether a parameter, named by its path, is stacked over layers, and so has a tensor for each."""
    return leaf.startswith("layers.")


def is_transposed(leaf: str) -> bool:
    """Tell whether a parameter is a linear map: `(inputs, outputs)` here and `(outputs, inputs)` in checkpoints."""
    return leaf == "head" or leaf.endswith(".kernel")


def tensors_of(leaf: str, config: Config) -> list[str]:
    """List the tensors of a parameter: one a layer if it is stacked, else a single one."""
    name = TENSORS[leaf]
    if config.norms == "both" and leaf == "layers.hidden norm":
        name = name.replace(NORMS["hidden norm"], NORM_OF_FOUR)
    return [name.format(layer) for layer in range(config.num_layers if is_stacked(leaf) else 1)]


def text_names(names: Iterable[str]) -> dict[str, str]:
    """List the tensors of a model that sees images which belong to its text model, by the names they have in one."""
    found = list(names)
    if not any(LANGUAGE in name for name in found):
        return {name: name for name in found}
    return {name.replace(LANGUAGE, "", 1): name for name in found if not name.removeprefix("model.").startswith(IMAGES)}
