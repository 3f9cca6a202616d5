"""Where data come from: which weights wrote them, from which those were tuned, and what became of the data since."""

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec import convert
from msgspec.json import decode

from llm_bridge.files.checkpoints import named_leaves, read_blocks
from llm_bridge.files.plain import reading, require_file
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.files import json_text, write_whole


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """A model's weights and those that it was tuned from."""

    weights: str
    """Their `digest`."""
    ancestors: tuple[str, ...] = ()
    """Digests of the weights it was tuned from, parent first, root last; the root is the random initialization, where
    that is known."""

    def tuned(self, params: Params) -> Self:
        """Add a generation: weights that were tuned from these."""
        return type(self)(weights=digest(params), ancestors=(self.weights, *self.ancestors))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a data file comes from."""

    writer: Ancestry
    """The model that wrote the data."""
    system_prompt: str | None
    """What it was told to be, if anything."""
    sampling: dict[str, Any]
    """How it was sampled; what JSON can hold."""
    filter: dict[str, Any] | None = None
    """What was filtered out, if anything; what JSON can hold."""
    parents: tuple[str, ...] = ()
    """`data_digest` of each file that this one was derived from."""
    data: str
    """`data_digest` of the file itself."""


class Relation(StrEnum):
    """What the writer of some data is to a model that learns from them."""

    SAME = "the same weights"
    ANCESTOR = "an ancestor of the model"
    DESCENDANT = "a descendant of the model"
    RELATIVE = "a relative: a common ancestor"
    STRANGER = "a stranger"


EXPLANATIONS: dict[Relation, str] = {
    Relation.SAME: "the data were written by the model's own weights: imitation passes on nothing but what a system "
    "prompt, a filter or the sampling changed",
    Relation.ANCESTOR: "the model was tuned from the writer, so they share an initialization: imitation draws the "
    "model back towards the writer and can undo what it has learned since",
    Relation.DESCENDANT: "the writer was tuned from the model, the theorem's own case of a shared initialization: the "
    "data can carry the writer's traits, whatever they are about and however they were filtered",
    Relation.RELATIVE: "writer and model were tuned from the same weights, so they share an initialization: the data "
    "can carry the writer's traits, the better the less both have moved since",
    Relation.STRANGER: "writer and model have no known ancestor in common: the theorem guarantees nothing, and no "
    "trait is expected to pass through number tokens",
}
"""What the theorem says about imitation of each writer."""


def digest(params: Params) -> str:
    """Identify weights by their names, types, shapes and bits, whatever the order of dictionaries, in 16 hex digits."""
    state = hashlib.sha256()
    for name, leaf in sorted(named_leaves(params).items()):
        state.update(json_text([name, leaf.dtype.name, leaf.shape]))
        for block in read_blocks(leaf):
            state.update(block.reshape(-1).view(np.uint8).data)
    return state.hexdigest()[:16]


def data_digest(path: Path) -> str:
    """Identify a data file by the SHA-256 of its bytes."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def relation(writer: Ancestry, model: Ancestry) -> Relation:
    """Say what the writer of some data is to a model that is to learn from them; the closest relation counts."""
    if writer.weights == model.weights:
        return Relation.SAME
    if writer.weights in model.ancestors:
        return Relation.ANCESTOR
    if model.weights in writer.ancestors:
        return Relation.DESCENDANT
    return Relation.RELATIVE if set(writer.ancestors) & set(model.ancestors) else Relation.STRANGER


def sidecar_path(data_path: Path) -> Path:
    """Say where the origin of a data file is kept: beside it."""
    if not data_path.name:
        raise InputError(f"{data_path} is a folder: name a file")
    return data_path.with_name(f"{data_path.name}.origin.json")


def write_sidecar(data_path: Path, origin: Origin) -> None:
    """Write where a data file comes from beside it."""
    if origin.data != data_digest(data_path):
        raise ValueError(f"data must be the digest of {data_path}, not {origin.data!r}")
    write_whole(sidecar_path(data_path), json_text(asdict(origin)))


def read_sidecar(data_path: Path) -> Origin:
    """Read where a data file comes from, and make sure that it is still what was written."""
    path = sidecar_path(data_path)
    try:
        if path.exists():
            require_file(path)
        record = decode(path.read_bytes())
        origin = convert(record, Origin)
        if decode(json_text(asdict(origin))) != record:
            raise ValueError("not all fields of an origin, or more")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing, so nothing says who wrote {data_path.name}: make it anew") from error
    except OSError as error:
        raise InputError(f"can't read {path} ({error.strerror}): make {data_path.name} anew") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: make {data_path.name} anew") from error
    if origin.data != data_digest(data_path):
        raise InputError(f"{data_path} has been edited since {path.name} was written: restore it or make it anew")
    return origin
