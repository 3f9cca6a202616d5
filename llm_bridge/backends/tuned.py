"""What was tuned from a published model, kept in a folder: adapters or weights, and what the stage was told."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, ValidationError, convert

from llm_bridge.backends.backend import Known, Weights
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.files.objects import read_object
from llm_bridge.model.adapters import even_out
from llm_bridge.model.placement import fetch, spread
from llm_bridge.model.recipes import Recipe
from llm_bridge.pretrained.adapters import DESCRIPTION, WEIGHTS, write_adapters
from llm_bridge.pretrained.hub import Source
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.store import done_by_first
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole

LINEAGE = "lineage.json"
"""What a stage says of a model in its folder; it is written last, and so says that all else is there."""


class Said(Struct):
    """What a stage says of a model: what it was tuned from, and what the stage was told."""

    ancestry: Ancestry
    settings: Any
    dtype: Literal["bfloat16", "float32"] | None = None


def adapted_weights(base: str, adapters: Params) -> str:
    """Identify adapters together with the weights that have this digest."""
    return hashlib.sha256(json_text([base, digest(adapters)])).hexdigest()[:16]


def tuned_from(parent: Known, params: Params, folder: Path) -> Known:
    """Say what became of a model that is to be kept in a folder; if its weights themselves changed, it is a base."""
    assert parent.weights is not None
    ancestors = (parent.ancestry.weights, *parent.ancestry.ancestors)
    weights = parent.weights
    if own := even_out(fetch(params["adapters"])):
        params, identity = params | {"adapters": spread(own)}, adapted_weights(weights.digest, own)
    else:
        identity = digest(params)
        weights = Weights(Source(str(folder), None, folder), identity)
    known = parent.with_params(params)
    return known._replace(ancestry=Ancestry(weights=identity, ancestors=ancestors), weights=weights)


def write_tuned(folder: Path, parent: Known, known: Known, settings: Mapping[str, Any]) -> None:
    """Write a model as of `tuned_from`, and what the stage that made it was told, as far as JSON can hold it."""
    assert known.weights is not None
    assert parent.weights is not None
    model, weights = known.model, known.weights
    if own := fetch(model.params["adapters"]):
        rank = next(iter(own.values()))["into"].shape[-1]
        recipe = Recipe(rank=rank, alpha=float(rank), projections=tuple(own))
        done_by_first(
            lambda: write_adapters(folder, model.config, recipe, own, base=weights.source, weights=weights.digest)
        )
    else:
        done_by_first(lambda: [(folder / name).unlink(missing_ok=True) for name in (DESCRIPTION, WEIGHTS)])
        whole = {name: part for name, part in model.params.items() if name != "adapters"}
        write_checkpoint(folder, model.config, whole, longest=model.longest, base=parent.weights.source.folder)
    said = {"ancestry": asdict(known.ancestry), "settings": dict(settings), "dtype": parent.backend.dtype}
    done_by_first(lambda: write_whole(folder / LINEAGE, json_text(said)))


def read_lineage(folder: Path) -> Said | None:
    """Read what a stage said of a model; None if no stage made it."""
    path = folder / LINEAGE
    try:
        return convert(read_object(path, f"make {folder} anew"), Said)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{path} is damaged: make {folder} anew") from error
