"""The shape of a transformer, which tells one family of models from another, and random parameters of that shape."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from theory.problem import Params

PROJECTIONS: tuple[str, ...] = ("query", "key", "value", "output", "gate", "up", "down")
"""Linear maps of a layer, to each of which an adapter can be added."""


LARGEST, MOST_LAYERS = 2**24, 10_000
"""Of every size, and of the layers: more than any model has, and little enough to count with."""


@dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How Llama 3 stretches the slow rotary waves, so that a model takes longer texts than it was trained on."""

    factor: float = 8.0
    """By how much waves longer than the whole old context are stretched."""
    low_frequency_factor: float = 1.0
    """Waves longer than the old context over this are stretched wholly."""
    high_frequency_factor: float = 4.0
    """Waves shorter than the old context over this stay as they are; in between the stretch is interpolated."""
    original_context: int = 8192
    """Tokens of the old context."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} of rotary_scaling must be a finite number above 0, not {value!r:.40}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a transformer."""

    vocabulary: int
    """Number of tokens."""
    width: int
    """Features of the residual stream."""
    num_layers: int
    """Layers."""
    num_heads: int
    """Query heads."""
    num_key_heads: int
    """Key and value heads; each serves `num_heads / num_key_heads` query heads."""
    head_size: int
    """Features of a head, an even number."""
    hidden: int
    """Units of a layer's SwiGLU, or of one with another gate."""
    gate: Literal["silu", "gelu"] = "silu"
    """What a unit's gate is; `gelu` is its approximation by tanh."""
    rotary_base: float = 10_000.0
    """The slowest rotary wave has about this many tokens, times 2π."""
    rotary_scaling: RotaryScaling | None = None
    """Stretch of the slow waves, if any."""
    rotary_stretch: float = 1.0
    """By how much all waves are stretched."""
    window: int | None = None
    """Tokens that a layer sees, the last of which is the token's own; all of a text where there is no window."""
    full_every: int = 1
    """Every so many layers one sees all of a text, and the others the window; 1 for all layers."""
    local_base: float | None = None
    """Rotary base of the layers with a window, whose waves are not stretched; as of the others unless it is given."""
    score_size: float | None = None
    """Scores are divided by the root of it; by default it is the head size."""
    score_cap: float | None = None
    r"""Scores $s$ become $c \tanh(s / c)$ with this $c$, if it is given."""
    logit_cap: float | None = None
    """The same for logits."""
    norm_floor: float = 1e-6
    """What is added to a mean square before its root is taken."""
    norm_offset: float | None = None
    """What is added to a norm's weights, whose products are rounded after them; before them if it is not given."""
    norms: Literal["before", "after", "both"] = "before"
    """What is normed of attention and of the SwiGLU: what they read, what they add to the stream, or both."""
    biases: bool = False
    """Whether queries, keys and values have biases."""
    head_norms: bool = False
    """Whether every head's queries and keys are normed before they are rotated."""
    joint_norms: bool = False
    """Whether queries and keys are normed over all heads together, before they are rotated."""
    scaled_embedding: bool = False
    """Whether what enters the first layer is the embedding times the root of the width, rounded as the embedding is."""
    tied: bool = False
    """Whether the head is the transposed embedding."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "num_layers", "num_heads", "num_key_heads", "head_size", "hidden"):
            most = MOST_LAYERS if name == "num_layers" else LARGEST
            if not isinstance(size := getattr(self, name), int) or not 1 <= size <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {size!r:.40}")
        if self.head_size % 2:
            raise ValueError(f"head_size must be even, not {self.head_size}")
        if not 0 < self.rotary_base < math.inf or not 0 <= self.norm_floor < math.inf:
            raise ValueError(f"rotary_base and norm_floor must be finite, not {self.rotary_base}, {self.norm_floor}")
        if self.num_heads % self.num_key_heads:
            raise ValueError(f"num_heads must be a multiple of num_key_heads, not {self.num_heads}")
        for name in ("window", "full_every"):
            if (size := getattr(self, name)) is not None and (not isinstance(size, int) or not 1 <= size <= LARGEST):
                raise ValueError(f"{name} must be a whole number from 1 to {LARGEST}, not {size!r:.40}")
        for name in ("rotary_stretch", "local_base", "score_size", "score_cap", "logit_cap"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a finite number above 0, not {value!r:.40}")
        if self.head_norms and self.joint_norms:
            raise ValueError("head_norms and joint_norms can't both be")
        if self.full_every == 1 and (self.window, self.local_base) != (None, None):
            raise ValueError("window and local_base must be None where full_every is 1, as all layers see all")

    def norm_sizes(self) -> dict[str, int]:
        """Give the features of each of a layer's norms: of what is read, or of what a projection gives."""
        sizes: dict[str, int] = {}
        if self.norms in {"before", "both"}:
            sizes |= {"attention": self.width, "hidden": self.width}
        if self.norms in {"after", "both"}:
            sizes |= {"output": self.width, "down": self.width}
        if self.head_norms or self.joint_norms:
            sizes |= {name: self.head_size if self.head_norms else self.sizes()[name][1] for name in ("query", "key")}
        return {f"{name} norm": size for name, size in sizes.items()}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Give inputs and outputs of each of a layer's projections, in the order of `PROJECTIONS`."""
        queries, keys = self.num_heads * self.head_size, self.num_key_heads * self.head_size
        into, out = (self.width, self.hidden), (self.hidden, self.width)
        attention = [(self.width, queries), (self.width, keys), (self.width, keys), (queries, self.width)]
        return dict(zip(PROJECTIONS, [*attention, into, into, out], strict=True))


def initialize(config: Config, key: jax.Array, dtype: Any = jnp.float32) -> Params:
    r"""Draw parameters: weights $\sim N(0, 1/\text{inputs})$, biases 0, norms 1 with their offset."""
    keys = dict(zip(("embedding", "head", *PROJECTIONS), jax.random.split(key, 2 + len(PROJECTIONS)), strict=True))

    def kernel(name: str, *shape: int) -> jax.Array:
        return jax.random.normal(keys[name], shape, dtype) * shape[-2] ** -0.5

    layers: dict[str, Any] = {}
    for name, size in config.sizes().items():
        layers[name] = {"kernel": kernel(name, config.num_layers, *size)}
        if config.biases and name in {"query", "key", "value"}:
            layers[name]["bias"] = jnp.zeros((config.num_layers, size[1]), dtype)
    one = 1 - (config.norm_offset or 0)
    for name, size in config.norm_sizes().items():
        layers[name] = jnp.full((config.num_layers, size), one, dtype)
    params = {
        "embedding": kernel("embedding", config.vocabulary, config.width) * (config.vocabulary / config.width) ** 0.5,
        "layers": layers,
        "norm": jnp.full(config.width, one, dtype),
    }
    return params if config.tied else params | {"head": kernel("head", config.width, config.vocabulary)}
