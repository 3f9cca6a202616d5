"""Whether a stage has nothing to do: what a file was made from is written beside data and into checkpoints."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax

from llm_bridge.files.first import done_by_first
from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import (
    Origin,
    data_digest,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from llm_bridge.known import Known
from llm_bridge.pretrained import tuned
from llm_bridge.tiny import tuned as tiny
from llm_bridge.tiny.pretraining import Pretraining
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.processes import agreed

OTHERWISE = "choose another --output, or --fresh to make it anew"
"""What to do about a file that is there but not the one asked for, where `--output` names it."""


def key_of(settings: Mapping[str, Any]) -> str:
    """Identify what a stage is told, as far as JSON can hold it, by eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def is_made(path: Path, found: Mapping[str, Any] | None, wanted: Mapping[str, Any], advice: str = OTHERWISE) -> bool:
    """Tell whether a file is there that was made from what is asked for; refuse one made from something else."""
    if found is None:
        return False
    if found != wanted:
        raise InputError(f"{path} was made with other settings ({', '.join(differing(found, wanted))}): {advice}")
    return True


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Name the settings that differ; of settings within settings, the names of both."""
    names: list[str] = []
    for name in dict.fromkeys([*found, *wanted]):
        pair = [each.get(name, ...) for each in (found, wanted)]
        if all(isinstance(each, dict) for each in pair):
            names += [f"{name}.{inner}" for inner in differing(*pair)]
        elif pair[0] != pair[1]:
            names.append(name)
    return names


def path_of(name: Path, base: Known) -> Path:
    """Say where a model that was tuned from another is kept: a file with a suffix for the tiny one, else a folder."""
    return name.with_name(f"{name.name}.safetensors") if isinstance(base.made_from, Pretraining) else name


def made_by(path: Path, base: Known, settings: Mapping[str, Any]) -> Known | None:
    """Look for a finished model at a path as of `path_of`, and refuse one that was made with other settings."""
    wanted = json.loads(json.dumps(settings))
    if isinstance(base.made_from, Pretraining):
        if not path.exists():
            return None
        known = tiny.read_tuned(path, base.made_from)
        is_made(path, tiny.read_settings(path), wanted)
        return known
    said = tuned.read_lineage(path)
    done = agreed(is_made(path, said and said.settings, wanted))
    return tuned.read_tuned(path, base) if done else None


def save_model(path: Path, parent: Known, params: Params, settings: Mapping[str, Any]) -> Known:
    """Write a model that was tuned from another to a path as of `path_of`."""
    if isinstance(parent.made_from, Pretraining):
        params = jax.device_get(params)
        known = Known(parent.model._replace(params=params), parent.ancestry.tuned(params), parent.made_from)
        tiny.write_tuned(path, known, settings)
        return known
    known = tuned.tuned_from(parent, params, path)
    tuned.write_tuned(path, parent, known, settings)
    return known


def is_written(path: Path, origin: Origin, advice: str = OTHERWISE) -> bool:
    """Tell whether a data file is there already; refuse one that comes from elsewhere. Its own digest doesn't count."""
    found = None
    if path.exists():
        if not sidecar_path(path).exists():
            raise InputError(f"{path} was not made by a stage: {advice}")
        found = json.loads(json.dumps(asdict(replace(read_sidecar(path), data=""))))
    return agreed(is_made(path, found, json.loads(json.dumps(asdict(origin))), advice))


def finish(path: Path, rows: Sequence[Mapping[str, Any]], origin: Origin) -> None:
    """Write where a data file comes from and the file, which comes last and says that both are there."""
    aside = path.with_name(f".{path.name}.{key_of(asdict(origin))}")

    def write() -> None:
        write_rows(aside, rows)
        write_sidecar(aside, replace(origin, data=data_digest(aside)))
        sidecar_path(aside).replace(sidecar_path(path))
        aside.replace(path)

    done_by_first(write)
