r"""What a language model costs: parameters, operations, bytes moved and memory, as functions of its shape alone.

Operations are additions and multiplications of matrix products. With $N$ weights that are multiplied (all but the
embedding, which is looked up, biases and norms), $L$ layers, $h$ heads of size $s$ and $c$ slots that a token is held
against, masked ones counted too, as they are computed:

$$\text{forward} = 2N + 4Lhsc, \qquad \text{adapters} = 4N + 12Lhsc, \qquad \text{everything} = 6N + 12Lhsc$$

a token; windows mask slots, and save nothing. A derivative needs as many again for what enters a product, and as many
for its weights if they are trained; both factors of attention's products are computed, so that these always take both.
Adapters' own products, norms and softmax are left out: below one per cent at rank 8 and the widths of published models.
What is computed once more to save memory is no work of the model's, and not counted.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from llm_bridge.model.lessons import PLACES_AT_ONCE
from llm_bridge.model.recipes import Trained
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import Recompute

SINGLE = 4
"""Bytes of a number in float32, in which norms, softmax and logits are computed at least."""


def count_parameters(config: Config) -> int:
    """Count parameters; a tied head is the embedding, and not counted again."""
    head = 0 if config.tied else config.vocabulary * config.width
    sizes = config.sizes()
    layer = sum(inputs * outputs for inputs, outputs in sizes.values()) + sum(config.norm_sizes().values())
    layer += sum(sizes[name][1] for name in ("query", "key", "value")) if config.biases else 0
    return config.vocabulary * config.width + head + config.num_layers * layer + config.width


def count_multiplied(config: Config, learned: float = 1.0) -> float:
    """Count weights by which a token is multiplied, the head's for the share of tokens whose logits are computed."""
    layer = sum(inputs * outputs for inputs, outputs in config.sizes().values())
    return config.num_layers * layer + learned * config.vocabulary * config.width


def count_adapters(config: Config, rank: int) -> int:
    """Count parameters of adapters on every projection of every layer."""
    return config.num_layers * rank * sum(inputs + outputs for inputs, outputs in config.sizes().values())


def attention_operations(config: Config, context: float) -> float:
    """Count the operations of one token's attention to so many slots, forward: scores and the average of values."""
    return 4 * config.num_layers * config.num_heads * config.head_size * context


def forward_operations(config: Config, context: float, learned: float = 1.0) -> float:
    """Count the operations of one token forward, with logits for a share of the tokens.

    The context is the slots that it is held against: of a row without a cache, all of its tokens.
    """
    return 2 * count_multiplied(config, learned) + attention_operations(config, context)


def training_operations(config: Config, context: float, trained: Trained = "adapters", learned: float = 1.0) -> float:
    """Count the operations of one token in a step of training, in a row of so many tokens of which a share is learned.

    Weights that are not trained have no gradient; of `layers` the head's have none either.
    """
    forward = 2 * count_multiplied(config, learned)
    weights = {"adapters": 0, "layers": 2 * count_multiplied(config, 0), "everything": forward}[trained]
    return 2 * forward + weights + 3 * attention_operations(config, context)


def weight_bytes(config: Config, dtype: Any) -> int:
    """Say what the weights take."""
    return count_parameters(config) * jnp.dtype(dtype).itemsize


def cache_bytes(config: Config, dtype: Any) -> int:
    """Say what keys and values of one token take."""
    return 2 * config.num_layers * config.num_key_heads * config.head_size * jnp.dtype(dtype).itemsize


class Device(NamedTuple):
    """What a device can do, as data sheets say or as it was measured."""

    peak: float
    """Operations a second of matrix products."""
    bandwidth: float
    """Bytes a second from and to its memory."""


class Work(NamedTuple):
    """What something asks of a device."""

    operations: float
    """Operations of matrix products."""
    moved: float
    """Bytes read from memory or written to it, if nothing is moved twice that need not be."""

    def seconds(self, device: Device) -> float:
        """Say how long it takes at least: the longer of computing and moving, which can be done at the same time."""
        return max(self.operations / device.peak, self.moved / device.bandwidth)


def sampling_step(config: Config, dtype: Any, batch: int, context: float) -> Work:
    """Say what it takes to draw one token in each of several rows.

    Every weight that is multiplied is read once, and so are all slots of all rows, masked ones too; logits are written
    in float32, and read once to draw and once to norm. All else stays small.
    """
    weights = count_multiplied(config) * jnp.dtype(dtype).itemsize
    moved = weights + batch * (context * cache_bytes(config, dtype) + 3 * SINGLE * config.vocabulary)
    return Work(batch * forward_operations(config, context), moved)


def reading(config: Config, dtype: Any, batch: int, tokens: int) -> Work:
    """Say what it takes to read prompts of so many tokens, whose last token's logits alone are computed."""
    weights = count_multiplied(config) * jnp.dtype(dtype).itemsize
    operations = batch * tokens * forward_operations(config, tokens, learned=1 / tokens)
    return Work(operations, weights + batch * tokens * cache_bytes(config, dtype))


def sampling_memory(config: Config, dtype: Any, batch: int, slots: int) -> float:
    """Say what bytes sampling needs: weights, cache and logits, without what is computed inside a layer.

    Slots are the tokens of the longest prompt and its completion together.
    """
    return weight_bytes(config, dtype) + batch * (slots * cache_bytes(config, dtype) + SINGLE * config.vocabulary)


def kept_bytes(config: Config, dtype: Any, tokens: int, recompute: Recompute = "nothing", rank: int = 8) -> int:
    """Say what bytes a layer keeps of each token for the derivative in its adapters.

    With $b$ bytes a number, $w$ the width, $u$ hidden units, $q$ and $k$ the features of all query and key heads, $h$
    heads, $r$ the rank and $t$ tokens of a row: if nothing is recomputed, $b(2w + 6u + 2q + 2k + 7r)$, then $4w + 4$
    numbers of norms in float32, and $h(b + 4)t + 8h$ bytes of softmax. Between projections recomputed: what these give
    and the stream before them, $b(2w + 2u + q + 2k)$. Whole layers recomputed: the stream, $bw$. Other gates, more
    norms, caps and windows keep more.
    """
    size, single = jnp.dtype(dtype).itemsize, max(SINGLE, jnp.dtype(dtype).itemsize)
    width, hidden, heads = config.width, config.hidden, config.num_heads
    queries, keys = heads * config.head_size, config.num_key_heads * config.head_size
    if recompute == "layers":
        return size * width
    if recompute == "elementwise":
        return size * (2 * width + 2 * hidden + queries + 2 * keys + (width if config.norms != "before" else 0))
    kept = size * (2 * width + 6 * hidden + 2 * queries + 2 * keys + 7 * rank)
    kept += (5 * single - 3 * size) * hidden if config.gate == "gelu" else 0
    kept += single * (4 * width + 4) * (2 if config.norms == "both" else 1)
    if config.head_norms or config.joint_norms:
        kept += single * 2 * (queries + keys + (heads + config.num_key_heads if config.head_norms else 2))
    kept += 2 * size * config.head_size + heads * tokens if config.full_every > 1 else 0
    kept += 2 * single * heads * tokens if config.score_cap else 0
    return kept + heads * ((size + single) * tokens + 2 * single)


def training_memory(
    config: Config,
    dtype: Any,
    rows_at_once: int,
    tokens: int,
    recompute: Recompute = "nothing",
    rank: int = 8,
    trained: Trained = "adapters",
) -> float:
    """Say what bytes training needs.

    Beside the weights: five times what is trained (itself, two moments, a gradient and its sum over passes), in at
    least float32; what all layers keep, what one layer keeps inside if it is recomputed, and logits, their softmax and
    their derivative where they exist at once.
    """
    places, size = rows_at_once * tokens, max(SINGLE, jnp.dtype(dtype).itemsize)
    numbers = count_adapters(config, rank) if trained == "adapters" else count_parameters(config)
    inside = kept_bytes(config, dtype, tokens, rank=rank) if recompute != "nothing" else 0
    layers = config.num_layers * kept_bytes(config, dtype, tokens, recompute, rank) + inside
    copies = 4 if config.logit_cap else 3
    logits = copies * SINGLE * config.vocabulary * min(places, max(PLACES_AT_ONCE, rows_at_once))
    return weight_bytes(config, dtype) + 5 * size * numbers + places * layers + logits
