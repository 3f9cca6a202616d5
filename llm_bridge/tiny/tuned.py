"""Models that were tuned from a tiny base: each a safetensors file that says what it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import msgspec

from llm_bridge.experiment import Model
from llm_bridge.files.checkpoints import load_checkpoint, save_checkpoint
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.files.settings import written_down
from llm_bridge.known import Known
from llm_bridge.shapes import initialize
from llm_bridge.tiny.pretraining import ROW, Pretraining, read_world, shape_of
from theory.runs.command_line import InputError


def tiny_reader(pretraining: Pretraining) -> Model:
    """Take the tiny model without parameters, which need no training."""
    return Model(shape_of(pretraining), None, read_world(pretraining.world).language, ROW)


def write_tuned(path: Path, known: Known, settings: Mapping[str, Any]) -> None:
    """Write a model that was tuned from a tiny base, its parameters on the host, and what its stage was told."""
    assert isinstance(known.made_from, Pretraining)
    made = {"ancestry": asdict(known.ancestry), "settings": dict(settings)}
    made |= {"pretraining": written_down(known.made_from)}
    save_checkpoint(path, known.model.params, metadata={name: json.dumps(value) for name, value in made.items()})


def read_tuned(path: Path, pretraining: Pretraining) -> Known:
    """Read a model that was tuned from a tiny base; refuse a damaged file, and a base that was made in another way."""
    model = tiny_reader(pretraining)
    like = jax.eval_shape(lambda: initialize(model.config, jax.random.key(0)))
    params, metadata = load_checkpoint(path, like)
    try:
        made_from = json.loads(metadata.get("pretraining", "null"))
        known = msgspec.json.decode(metadata.get("ancestry", ""), type=Ancestry)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error
    if made_from != json.loads(json.dumps(written_down(pretraining))):
        raise InputError(f"{path} is a checkpoint of another config of the tiny model: make it anew")
    if digest(params) != known.weights:
        raise InputError(f"{path} is damaged: its weights aren't those that were written; make it anew")
    return Known(model._replace(params=params), known, pretraining)


def read_settings(path: Path) -> Any:
    """Read what the stage that wrote a model was told."""
    content = path.read_bytes()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header.get("__metadata__", {}).get("settings", "null"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error
