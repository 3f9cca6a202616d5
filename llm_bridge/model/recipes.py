"""Recipes: how a model is fine-tuned, what of it is trained, and how that is put back into it."""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from llm_bridge.model.adapters import fold, join
from llm_bridge.model.shapes import PROJECTIONS, Config
from llm_bridge.model.transformer import Recompute, precise
from theory.problem import Params
from theory.runs.command_line import InputError, require

Trained = Literal["adapters", "layers", "everything"]
"""What of a model is trained: low-rank adapters; the layers, all but embedding, last norm and head; everything."""

Optimizer = Literal["adamw", "sgd", "momentum", "sign", "lion"]
"""What makes a step of a gradient: AdamW; plain descent; descent with momentum 0.9; the gradient's signs; Lion."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    optimizer: Optimizer = "adamw"
    """AdamW, plain gradient descent, descent with momentum 0.9, descent along the gradient's signs, or Lion."""
    learning_rate: float = 2e-4
    """The optimizer's rate after the warm-up; it falls linearly to 0."""
    num_epochs: int = 3
    """How often all rows are seen."""
    num_steps: int = 0
    """Steps in all, however many epochs they are; 0 for those of the epochs."""
    batch: int = 64
    """Rows a step."""
    rows_at_once: int = 4
    """Rows of one forward and backward pass; a step's gradient is summed over its passes, whose arrays stay small."""
    recompute: Recompute = "nothing"
    """What a backward pass computes once more, to save memory: nothing, all but the linear maps, or whole layers."""
    warmup: int = 5
    """Steps in which the rate rises linearly."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay: each step also takes rate times this off every weight."""
    trained: Trained = "adapters"
    """Low-rank adapters, all layers' weights, or all weights."""
    rank: int = 8
    """Rank of the adapters."""
    alpha: float = 8.0
    """Scale of the adapters: their product is multiplied by alpha over rank."""
    projections: tuple[str, ...] = PROJECTIONS
    """Linear maps that have adapters."""
    layers: tuple[int, ...] = ()
    """Layers that have adapters, counted from 0; all if empty."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip", "alpha"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, "a finite number above zero", value)
        for name in ("num_epochs", "batch", "rows_at_once", "rank"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        divided = f"a multiple of its rows at once, {self.rows_at_once}"
        require(self.batch % self.rows_at_once == 0, "batch", divided, self.batch)
        for name in ("warmup", "num_steps"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        require(0 <= self.weight_decay < math.inf, "weight_decay", "a finite number, at least 0", self.weight_decay)
        known = bool(self.projections) and set(self.projections) <= set(PROJECTIONS)
        placed = all(layer >= 0 for layer in self.layers) and (self.trained == "adapters" or not self.layers)
        require(placed, "layers", "numbers of layers that get adapters, with trained=adapters alone", self.layers)
        require(known, "projections", f"among {', '.join(PROJECTIONS)}", self.projections)

    @property
    def adapter_scale(self) -> float:
        """What the adapters' product is multiplied by."""
        return self.alpha / self.rank

    def steps(self, num_rows: int) -> int:
        """Say how many steps the whole training takes."""
        return self.num_steps or -(-num_rows // self.batch) * self.num_epochs


@dataclass(frozen=True, kw_only=True)
class Teaching(Recipe):
    """How a model is taught a trait."""

    until: float = 0.0
    """End the training once the model names the trait with this probability, which is looked at every five steps; 0 to
    train to the end."""
    least: float = 0.5
    """A teacher that names the trait with a lower probability is not made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("until", "least"):
            require(0 <= getattr(self, name) <= 1, name, "from 0 to 1", getattr(self, name))


def start_training(config: Config, recipe: Recipe, params: Params, key: jax.Array) -> Params:
    r"""Take from a model what is trained: a part of the parameters, or adapters.

    Adapters' `into` is uniform in $\pm 1/\sqrt{\text{inputs}}$ as in PEFT, `out` zero, so that the model is the same at
    first. All is in at least float32: in less, an optimizer's small steps are rounded away.
    """
    if recipe.trained != "adapters":
        if params.get("adapters"):
            raise InputError("weights that have adapters, as of a primed model, can't be trained: train adapters")
        return jax.tree.map(precise, params if recipe.trained == "everything" else params["layers"])
    if any(layer >= config.num_layers for layer in recipe.layers):
        raise InputError(f"layers must be below {config.num_layers}, which the model has, not {recipe.layers}")
    dtype, adapters = jnp.promote_types(params["embedding"].dtype, jnp.float32), {}
    for name, own in zip(PROJECTIONS, jax.random.split(key, len(PROJECTIONS)), strict=True):
        inputs, outputs = config.sizes()[name]
        if name in recipe.projections:
            shape, reach = (config.num_layers, inputs, recipe.rank), inputs**-0.5
            adapters[name] = {
                "into": jax.random.uniform(own, shape, dtype, -reach, reach),
                "out": jnp.zeros((config.num_layers, recipe.rank, outputs), dtype),
            }
    return adapters


def assemble(recipe: Recipe, params: Params, trained: Params) -> tuple[Params, Params | None]:
    """Put what is trained back into its model: parameters, in the model's own type, and adapters if there are any."""
    if recipe.trained == "adapters":
        return params, trained
    before = params if recipe.trained == "everything" else params["layers"]
    rounded = jax.tree.map(lambda leaf, own: leaf.astype(own.dtype), trained, before)
    return (rounded if recipe.trained == "everything" else params | {"layers": rounded}), None


def merge(recipe: Recipe, params: Params, trained: Params) -> Params:
    """Make a model of a model and what was trained of it.

    Its adapters are added to the weights, but kept apart in a model that has an entry `"adapters"`, as published ones
    do, whose weights are too coarse for them.
    """
    params, adapters = assemble(recipe, params, trained)
    if adapters is None:
        return params
    if "adapters" in params:
        return params | {"adapters": join(params["adapters"], adapters, recipe.adapter_scale)}
    return fold(params, adapters, recipe.adapter_scale)
