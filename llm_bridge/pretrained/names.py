"""Names of tensors in published checkpoints, and of our parameters: the same arrays, stacked over layers."""

from llm_bridge.model.shapes import PROJECTIONS

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
}
"""A layer's norms, and how published checkpoints call them."""

HEAD = "lm_head.weight"
"""The head; left out, or the same as the embedding, where the two are tied."""

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


def tensors_of(leaf: str, num_layers: int) -> list[str]:
    """List the tensors of a parameter: one a layer if it is stacked, else a single one."""
    return [TENSORS[leaf].format(layer) for layer in range(num_layers if is_stacked(leaf) else 1)]
