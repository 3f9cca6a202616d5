"""Low-rank adapters in PEFT's format, so that a student can be served elsewhere and others' adapters tried here."""

import re
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from llm_bridge.files.checkpoints import with_sorted_metadata
from llm_bridge.files.objects import read_object
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.pretrained.hub import HUB_NAME, Source
from llm_bridge.pretrained.names import MODULES
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole

DESCRIPTION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files of adapters."""

PROJECTION = {module: name for name, module in MODULES.items()}
"""Our name of each linear map."""

TENSOR = re.compile(rf"base_model\.model\.model\.layers\.(\d+)\.({'|'.join(MODULES.values())})\.lora_([AB])\.weight")
"""How a tensor is named: after its layer, its linear map and its side."""

IGNORED = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config",
    "megatron_core", "peft_version", "qalora_group_size", "r", "revision", "runtime_config", "target_modules",
    "task_type", "use_rslora",
})  # fmt: skip
"""Options of PEFT that are read elsewhere, or change nothing: settings of an initialization that isn't chosen, too."""

ACCEPTED: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
    "peft_type": ("LORA",),
}
"""Options of which some values are plain LoRA; other initializations (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) changed the
base. Any other option, known or not, has to be off."""


class Adapters(NamedTuple):
    """Low-rank adapters as they were read."""

    recipe: Recipe
    """Rank, alpha, projections and layers; the rest says nothing."""
    params: Params
    """As of `transformer.run_layers`; zero in layers without adapters."""


def write_adapters(
    folder: Path, config: Config, recipe: Recipe, adapters: Params, *, base: Source, weights: str | None = None
) -> None:
    """Write adapters as PEFT does, with `lineage.digest` of the base, by which adapters for other weights are known."""
    layers = sorted(set(recipe.layers)) or range(config.num_layers)
    tensors = {}
    for name, sides in adapters.items():
        for (side, whole), layer in product((("A", sides["into"]), ("B", sides["out"])), layers):
            tensors[tensor_name(layer, name, side)] = np.ascontiguousarray(np.asarray(whole)[layer].T)
    description = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "revision": base.revision,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": 0.0,
        "target_modules": [MODULES[name].rpartition(".")[2] for name in adapters],
        "layers_to_transform": sorted(set(recipe.layers)) or None,
        "bias": "none",
        "inference_mode": True,
    }
    metadata = {"format": "pt"} | ({} if weights is None else {"base": weights})
    write_whole(folder / WEIGHTS, with_sorted_metadata(save(tensors, metadata=metadata)))
    write_whole(folder / DESCRIPTION, json_text(description))


def read_adapters(
    folder: Path, config: Config, *, base: Source, weights: str | None = None, dtype: Any = jnp.bfloat16
) -> Adapters:
    """Read adapters that PEFT or this package wrote; those for a base of another digest are refused."""
    try:
        description = read_object(folder / DESCRIPTION, "make or fetch the adapters anew")
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        refuse_options(folder, description)
        require_base(folder, description, metadata.get("base"), base, weights)
        projections, layers = find_places(folder, config, description, tensors)
        rank, alpha = description["r"], float(description["lora_alpha"])
        recipe = Recipe(
            rank=rank,
            alpha=alpha * sqrt(rank) if description.get("use_rslora") else alpha,
            projections=projections,
            layers=() if len(layers) == config.num_layers else layers,
        )
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {DESCRIPTION} or no {WEIGHTS}: name a folder of adapters") from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"the adapters in {folder} are damaged: make or fetch them anew") from error
    return Adapters(recipe, stack_layers(folder, config, recipe, tensors, dtype))


def stack_layers(folder: Path, config: Config, recipe: Recipe, tensors: dict[str, np.ndarray], dtype: Any) -> Params:
    """Stack adapters over layers, in which those without any have zeros."""
    params: Params = {}
    for name in recipe.projections:
        inputs, outputs = config.sizes()[name]
        shapes = {"A": (recipe.rank, inputs), "B": (outputs, recipe.rank)}
        places = list(product(recipe.layers or range(config.num_layers), shapes))
        for layer, side in places:
            found = tensors[tensor_name(layer, name, side)].shape
            if found != shapes[side]:
                wrong = f"{tensor_name(layer, name, side)} has shape {found}, not {shapes[side]}"
                raise InputError(f"the adapters in {folder} are for another base: {wrong}")
        into = np.zeros((config.num_layers, inputs, recipe.rank), np.float32)
        out = np.zeros((config.num_layers, recipe.rank, outputs), np.float32)
        for layer, side in places:
            (into if side == "A" else out)[layer] = tensors[tensor_name(layer, name, side)].T
        params[name] = {"into": jnp.asarray(into, dtype), "out": jnp.asarray(out, dtype)}
    return params


def tensor_name(layer: int, projection: str, side: str) -> str:
    """Name a tensor as PEFT does; A is the side of the factor that is applied first, B the other."""
    return f"base_model.model.model.layers.{layer}.{MODULES[projection]}.lora_{side}.weight"


def refuse_options(folder: Path, description: dict[str, Any]) -> None:
    """Refuse adapters that compute something else than ours."""
    given = {"peft_type": None} | {name: value for name, value in description.items() if name not in IGNORED}
    used = [
        f"{name}={value!r}"[:60]
        for name, value in sorted(given.items())
        if (value not in ACCEPTED[name] if name in ACCEPTED else value)
    ]
    if used:
        raise InputError(f"the adapters in {folder} use {', '.join(used)}, which is not supported: plain LoRA is")


def require_base(
    folder: Path, description: dict[str, Any], written_for: str | None, base: Source, weights: str | None
) -> None:
    """Refuse adapters for another base; folders' names say nothing, those of the hub do, and digests say all."""
    if written_for is not None and weights is not None:
        if written_for != weights:
            raise InputError(
                f"the adapters in {folder} are for other weights: for {written_for}, not {weights}: name their --base, "
                "or the --dtype that it had"
            )
        return
    name, revision = description.get("base_model_name_or_path"), description.get("revision")
    if base.revision is None or not name or Path(name).is_dir() or not HUB_NAME.fullmatch(name):
        return
    both = all(re.fullmatch("[0-9a-f]{40}", commit or "") for commit in (revision, base.revision))
    if name.casefold() != base.name.casefold() or (both and revision != base.revision):
        meant = f"{name}@{revision}" if revision else name
        raise InputError(f"the adapters in {folder} are for another base: for {meant}, not {base.pinned}")


def find_places(
    folder: Path, config: Config, description: dict[str, Any], tensors: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Find the projections and layers of adapters; where their description has a pattern, the tensors say them."""
    matches = {name: TENSOR.fullmatch(name) for name in tensors}
    found = {(int(match[1]), PROJECTION[match[2]], match[3]) for match in matches.values() if match}
    targets, chosen = description["target_modules"], description.get("layers_to_transform")
    said, layers = set(), {place[0] for place in found}
    if isinstance(targets, list):
        said = {name for name, module in MODULES.items() if {module, module.rpartition(".")[2]} & set(targets)}
        layers |= {chosen} if isinstance(chosen, int) else set(chosen or range(config.num_layers))
    projections = tuple(name for name in MODULES if name in said | {place[1] for place in found})
    missing = [tensor_name(*place) for place in product(sorted(layers), projections, "AB") if place not in found]
    unknown = [name for name, match in matches.items() if match is None]
    if layers and max(layers) >= config.num_layers:
        raise InputError(f"the adapters in {folder} are for another base: it has more than {config.num_layers} layers")
    for names, problem in ((unknown, "hold"), (missing, "lack")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(f"the adapters in {folder} {problem} {', '.join(names[:3])}{more}, which is not supported")
    if not found:
        raise InputError(f"the adapters in {folder} hold no tensors: make or fetch them anew")
    return projections, tuple(sorted(layers))
