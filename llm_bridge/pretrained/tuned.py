"""Models that were tuned from a published one: each a folder of adapters in PEFT's format, or a whole checkpoint."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from msgspec import Struct, ValidationError, convert

from llm_bridge.adapters import even_out, join
from llm_bridge.files.first import done_by_first
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.files.objects import read_object
from llm_bridge.known import Base, Known, Loading
from llm_bridge.placement import fetch, spread
from llm_bridge.pretrained.adapters import DESCRIPTION, WEIGHTS, read_adapters, write_adapters
from llm_bridge.pretrained.hub import HUB_NAME, Source
from llm_bridge.pretrained.loading import read_published
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.recipes import Recipe
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole
from theory.runs.memory import fitting

LINEAGE = "lineage.json"
"""What a stage says of a model in its folder; it is written last, and so says that all else is there."""


class Said(Struct):
    """What a stage says of a model."""

    ancestry: Ancestry
    """What it was tuned from."""
    settings: Any
    """What the stage was told."""


def published_base(name: str, loading: Loading) -> Known:
    """Take a published model, or a folder of a whole checkpoint that `write_tuned` wrote.

    It keeps adapters apart from its weights.
    """
    with fitting(f"the model {name}", "take a smaller one, or more devices"):
        model, source = read_published(name, longest=loading.longest, dtype=jnp.dtype(loading.dtype))
        weights = digest(model.params)
    said = read_lineage(source.folder)
    ancestry = Ancestry(weights=weights) if said is None else said.ancestry
    if ancestry.weights != weights:
        raise InputError(f"{source.folder} is damaged: its weights aren't those that were written; make it anew")
    model = model._replace(params=model.params | {"adapters": {}}, at_once=loading.at_once)
    return Known(model, ancestry, Base(source, weights))


def adapted_weights(base: str, adapters: Params) -> str:
    """Identify adapters together with the weights that have this digest."""
    return hashlib.sha256(json_text([base, digest(adapters)])).hexdigest()[:16]


def tuned_from(parent: Known, params: Params, folder: Path) -> Known:
    """Say what became of a model that is to be kept in a folder; if its weights themselves changed, it is a base."""
    assert isinstance(parent.made_from, Base)
    ancestors = (parent.ancestry.weights, *parent.ancestry.ancestors)
    if adapters := even_out(fetch(params["adapters"])):
        weights = adapted_weights(parent.made_from.weights, adapters)
        model = parent.model._replace(params=params | {"adapters": spread(adapters)})
        return Known(model, Ancestry(weights=weights, ancestors=ancestors), parent.made_from)
    weights = digest(params)
    base = Base(Source(str(folder), None, folder), weights)
    return Known(parent.model._replace(params=params), Ancestry(weights=weights, ancestors=ancestors), base)


def write_tuned(folder: Path, parent: Known, known: Known, settings: Mapping[str, Any]) -> None:
    """Write a model as of `tuned_from`, and what the stage that made it was told, as far as JSON can hold it."""
    assert isinstance(known.made_from, Base)
    assert isinstance(parent.made_from, Base)
    model, base = known.model, known.made_from
    if adapters := fetch(model.params["adapters"]):
        rank = next(iter(adapters.values()))["into"].shape[-1]
        recipe = Recipe(rank=rank, alpha=float(rank), projections=tuple(adapters))
        done_by_first(
            lambda: write_adapters(folder, model.config, recipe, adapters, base=base.source, weights=base.weights)
        )
    else:
        done_by_first(lambda: [(folder / name).unlink(missing_ok=True) for name in (DESCRIPTION, WEIGHTS)])
        whole = {name: part for name, part in model.params.items() if name != "adapters"}
        write_checkpoint(folder, model.config, whole, longest=model.longest, base=parent.made_from.source.folder)
    said = {"ancestry": asdict(known.ancestry), "settings": dict(settings)}
    done_by_first(lambda: write_whole(folder / LINEAGE, json_text(said)))


def read_tuned(folder: Path, base: Known) -> Known:
    """Read a model that was tuned from a published one that is on the devices already.

    Of the base of a whole checkpoint only counts how it is run.
    """
    assert isinstance(base.made_from, Base)
    if not (folder / DESCRIPTION).exists():
        loading = Loading(
            dtype=base.model.params["embedding"].dtype.name, longest=base.model.longest, at_once=base.model.at_once
        )
        known = published_base(str(folder), loading)
        return known._replace(model=known.model._replace(language=base.model.language))
    weights = base.made_from.weights
    found = read_adapters(
        folder, base.model.config, base=base.made_from.source, weights=weights, dtype=jnp.dtype("float32")
    )
    adapters = fetch(join({}, found.params, found.recipe.adapter_scale))
    said = read_lineage(folder)
    ancestry = Ancestry(weights=adapted_weights(weights, adapters), ancestors=(weights, *base.ancestry.ancestors))
    if said is not None and said.ancestry.weights != ancestry.weights:
        raise InputError(f"{folder} is damaged: its adapters aren't those that were written; make it anew")
    known = ancestry if said is None else said.ancestry
    return Known(base.model._replace(params=base.model.params | {"adapters": spread(adapters)}), known, base.made_from)


def base_of(folder: Path) -> str:
    """Say which base adapters are for, by a name as of `hub.locate`."""
    said = read_object(folder / DESCRIPTION, "make or fetch the adapters anew")
    name, revision = said.get("base_model_name_or_path"), said.get("revision")
    if not isinstance(name, str) or not (Path(name).is_dir() or HUB_NAME.fullmatch(name)):
        raise InputError(f"the base of the adapters in {folder}, {name!r:.100}, isn't here: name it by --base")
    return f"{name}@{revision}" if revision and not Path(name).is_dir() else name


def read_lineage(folder: Path) -> Said | None:
    """Read what a stage said of a model; None if no stage made it."""
    path = folder / LINEAGE
    try:
        return convert(read_object(path, f"make {folder} anew"), Said)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{path} is damaged: make {folder} anew") from error
