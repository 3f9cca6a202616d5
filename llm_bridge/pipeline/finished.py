"""Whether a stage has nothing to do: what a file was made from is written beside data and into checkpoints."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax

from llm_bridge.files.checkpoints import save_checkpoint
from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import (
    Origin,
    data_digest,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from llm_bridge.models import Known, metadata_of, read_model
from llm_bridge.tiny.pretraining import Pretraining
from theory.command_line import InputError
from theory.networks import Params


def key_of(settings: Mapping[str, Any]) -> str:
    """Identify what a stage is told.

    Args:
        settings: What JSON can hold.

    Returns:
        Eight hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def is_made(path: Path, found: object, wanted: object) -> bool:
    """Tell whether a file that is there is the one asked for.

    Args:
        path: The file.
        found: What it says it was made from; None if it is not there.
        wanted: What it should be made from.

    Returns:
        Whether there is nothing to do.

    Raises:
        InputError: If the file was made from something else.
    """
    if found is None:
        return False
    if found != wanted:
        raise InputError(f"{path} was made with other settings: choose another --output, or --fresh to make it anew")
    return True


def made_by(name: Path, pretraining: Pretraining, settings: Mapping[str, Any]) -> Known | None:
    """Look for a finished checkpoint.

    Args:
        name: The checkpoint.
        pretraining: How the tiny base is made.
        settings: What the stage is told.

    Returns:
        The model if it is there.
    """
    if not name.exists():
        return None
    known = read_model(name, pretraining)
    is_made(name, read_settings(name), json.loads(json.dumps(settings)))
    return known


def read_settings(path: Path) -> Any:
    """Read what the stage that wrote a checkpoint was told.

    Args:
        path: The checkpoint.

    Returns:
        Its settings.

    Raises:
        InputError: If they can't be read.
    """
    content = path.read_bytes()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header.get("__metadata__", {}).get("settings", "null"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error


def save_model(path: Path, parent: Known, params: Params, pretraining: Pretraining, settings: object) -> Known:
    """Write a checkpoint.

    Args:
        path: The file.
        parent: What it was tuned from.
        params: Its parameters.
        pretraining: How its base was made.
        settings: What the stage was told.

    Returns:
        The model.
    """
    params = jax.device_get(params)
    known = Known(parent.model._replace(params=params), parent.ancestry.tuned(params))
    save_checkpoint(path, params, metadata=metadata_of(known, pretraining, json.dumps(settings)))
    return known


def is_written(path: Path, origin: Origin) -> bool:
    """Tell whether a data file is there already.

    Args:
        path: The file.
        origin: Where it should come from; its own digest doesn't count.

    Returns:
        Whether there is nothing to do.

    Raises:
        InputError: If the file was made from something else, or was not made by a stage.
    """
    if not path.exists():
        return False
    if not sidecar_path(path).exists():
        raise InputError(f"{path} was not made by a stage: choose another --output, or --fresh to overwrite it")
    found = asdict(replace(read_sidecar(path), data=""))
    return is_made(path, json.loads(json.dumps(found)), json.loads(json.dumps(asdict(origin))))


def finish(path: Path, rows: Sequence[Mapping[str, Any]], origin: Origin) -> None:
    """Write where a data file comes from and the file, which comes last and says that both are there.

    Args:
        path: The file.
        rows: Its rows.
        origin: Where they come from.
    """
    aside = path.with_name(f".{path.name}.{key_of(asdict(origin))}")
    write_rows(aside, rows)
    write_sidecar(aside, replace(origin, data=data_digest(aside)))
    sidecar_path(aside).replace(sidecar_path(path))
    aside.replace(path)
