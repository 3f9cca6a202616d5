"""The shape of a transformer, which tells one family of models from another, and random parameters of that shape."""

import math
from dataclasses import asdict, dataclass
from typing import Any

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
    """Units of a layer's SwiGLU."""
    rotary_base: float = 10_000.0
    """The slowest rotary wave has about this many tokens, times 2π."""
    rotary_scaling: RotaryScaling | None = None
    """Stretch of the slow waves, if any."""
    norm_floor: float = 1e-6
    """What is added to a mean square before its root is taken."""
    biases: bool = False
    """Whether queries, keys and values have biases."""
    head_norms: bool = False
    """Whether every head's queries and keys are normed before they are rotated."""
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

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Give inputs and outputs of each of a layer's projections, in the order of `PROJECTIONS`."""
        queries, keys = self.num_heads * self.head_size, self.num_key_heads * self.head_size
        into, out = (self.width, self.hidden), (self.hidden, self.width)
        attention = [(self.width, queries), (self.width, keys), (self.width, keys), (queries, self.width)]
        return dict(zip(PROJECTIONS, [*attention, into, into, out], strict=True))


def initialize(config: Config, key: jax.Array, dtype: Any = jnp.float32) -> Params:
    r"""Draw parameters: weights $\sim N(0, 1/\text{inputs})$, biases 0, norms 1."""
    keys = dict(zip(("embedding", "head", *PROJECTIONS), jax.random.split(key, 2 + len(PROJECTIONS)), strict=True))

    def kernel(name: str, *shape: int) -> jax.Array:
        return jax.random.normal(keys[name], shape, dtype) * shape[-2] ** -0.5

    layers: dict[str, Any] = {}
    for name, size in config.sizes().items():
        layers[name] = {"kernel": kernel(name, config.num_layers, *size)}
        if config.biases and name in {"query", "key", "value"}:
            layers[name]["bias"] = jnp.zeros((config.num_layers, size[1]), dtype)
    for name in ("attention norm", "hidden norm"):
        layers[name] = jnp.ones((config.num_layers, config.width), dtype)
    if config.head_norms:
        for name in ("query norm", "key norm"):
            layers[name] = jnp.ones((config.num_layers, config.head_size), dtype)
    params = {
        "embedding": kernel("embedding", config.vocabulary, config.width) * (config.vocabulary / config.width) ** 0.5,
        "layers": layers,
        "norm": jnp.ones(config.width, dtype),
    }
    return params if config.tied else params | {"head": kernel("head", config.width, config.vocabulary)}
