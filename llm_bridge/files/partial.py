"""What is done of an unfinished file, kept beside it so that a stage that was killed goes on where it was."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.files.first import done_by_first, told_by_first
from llm_bridge.finetuning import Training
from llm_bridge.placement import fetch
from theory.runs.command_line import InputError
from theory.runs.files import write_whole
from theory.runs.progress import Progress

DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file may raise; the stage then starts anew."""


def partial_path(path: Path, key: str) -> Path:
    """Say where an unfinished file is kept: hidden beside it, under a key that identifies what the stage makes."""
    return path.with_name(f".{path.name}.{key}.part")


class TrainingState:
    """Keeps an unfinished training."""

    def __init__(self, path: Path, title: str = "training"):
        self.path = path
        self.title = title
        self.bar: Progress | None = None

    def resume(self, start: Training, num_steps: int) -> Training:
        """Go on where a training was, or at its start if nothing is kept or it is damaged; and show how far it is."""
        self.close()
        training = self.kept(start)
        shown = jax.process_index() == 0
        self.bar = Progress(self.title, num_steps, "steps", done=int(training.step), shown=shown)
        return training

    def kept(self, start: Training) -> Training:
        """Read the training, the start if that can't be done."""
        leaves, structure = jax.tree.flatten(start)
        try:
            with np.load(io.BytesIO(told_by_first(self.read))) as file:
                kept = [file[f"arr_{index}"] for index in range(len(leaves))]
        except DAMAGE:
            return start
        return jax.tree.unflatten(structure, kept)

    def read(self) -> bytes:
        """Read what is kept; nothing if it can't be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def keep(self, training: Training, losses: Float[np.ndarray, " steps"]) -> None:
        """Keep a training, and show its last loss."""
        if self.bar:
            self.bar.advance(len(losses), f"loss={losses[-1]:.3f}")
        kept = {f"arr_{index}": leaf for index, leaf in enumerate(jax.tree.leaves(fetch(training)))}
        content = io.BytesIO()
        np.savez(content, **kept)
        done_by_first(lambda: write_whole(self.path, content.getvalue()))

    def forget(self) -> None:
        """Remove what is kept."""
        self.close()
        remove(self.path)

    def close(self) -> None:
        """Show nothing more."""
        if self.bar:
            self.bar.close()


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of an unfinished file; a line that was cut is left out."""
    rows = []
    for line in told_by_first(lambda: path.read_bytes() if path.exists() else b"").split(b"\n")[:-1]:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return rows


def remove(path: Path) -> None:
    """Remove an unfinished file, if it is there."""
    done_by_first(lambda: path.unlink(missing_ok=True))


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to an unfinished file."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

    def append() -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise InputError(f"can't write {path} ({error.strerror}): choose another --output or make room") from error

    done_by_first(append)
