"""The store: finished files, unfinished ones, files from elsewhere or with other settings, several processes.

Process 0 alone reads and writes; the others wait and are told. What is unfinished is kept beside its file under a key
of all that it is made from, so that a stage that was killed goes on where it was and ends in the same bytes. A finished
file says what it was made from, and one that was made from something else is refused.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float

from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import Origin, data_digest, read_sidecar, sidecar_path, write_sidecar
from llm_bridge.files.training_log import TrainingLog
from llm_bridge.model.finetuning import Training
from llm_bridge.model.placement import fetch
from theory.runs.command_line import InputError
from theory.runs.files import write_whole
from theory.runs.processes import agreed
from theory.runs.progress import Progress

Result = TypeVar("Result")
"""What is done gives."""

DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file may raise; the stage then starts anew."""

OTHERWISE = "choose another --output, or --fresh to make it anew"
"""What to do about a file that is there but not the one asked for, where `--output` names it."""


def done_by_first(do: Callable[[], Result]) -> Result | None:
    """Let process 0 do something, while the others wait until it has; None for them, and an error if it failed."""
    result, done = None, False
    try:
        if jax.process_index() == 0:
            result = do()
        done = True
    finally:
        done = agreed(done)
    if not done:
        raise InputError("process 0 could neither read nor write its files: its own message says why")
    return result


def told_by_first(read: Callable[[], bytes]) -> bytes:
    """Let process 0 read, and tell all others what it has read."""
    content = done_by_first(read)
    if jax.process_count() == 1:
        return content or b""
    mine = np.frombuffer(content or b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(mine), np.uint32)))
    return np.asarray(multihost_utils.broadcast_one_to_all(np.resize(mine, size))).astype(np.uint8).tobytes()


def partial_path(path: Path, key: str) -> Path:
    """Say where an unfinished file is kept: hidden beside it, under a key that identifies what the stage makes."""
    return path.with_name(f".{path.name}.{key}.part")


class TrainingState:
    """Keeps an unfinished training, and logs its losses under the name of what it makes."""

    def __init__(self, path: Path, title: str = "training", made: Path | None = None):
        self.path = path
        self.title = title
        self.made = made or path
        self.bar: Progress | None = None
        self.log: TrainingLog | None = None

    def resume(self, start: Training, num_steps: int) -> Training:
        """Go on where a training was, or at its start if nothing is kept or it is damaged; and show how far it is."""
        self.close()
        training = self.kept(start)
        shown = jax.process_index() == 0
        self.bar = Progress(self.title, num_steps, "steps", done=int(training.step), shown=shown)
        self.log = TrainingLog(self.made, int(training.step))
        return training

    def kept(self, start: Training) -> Training:
        """Read the training, the start if that can't be done."""
        leaves, structure = jax.tree.flatten(start)
        try:
            with np.load(io.BytesIO(told_by_first(self.read))) as file:
                return structure.unflatten([file[f"arr_{index}"] for index in range(len(leaves))])
        except DAMAGE:
            return start

    def read(self) -> bytes:
        """Read what is kept; nothing if it can't be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def keep(self, training: Training, losses: Float[np.ndarray, " steps"]) -> None:
        """Keep a training, log its losses, and show the last."""
        if self.log:
            self.log.add(int(training.step), losses)
        if self.bar:
            self.bar.advance(len(losses), f"loss={losses[-1]:.3f}")
        np.savez(content := io.BytesIO(), *jax.tree.leaves(fetch(training)))
        done_by_first(lambda: write_whole(self.path, content.getvalue()))

    def forget(self) -> None:
        """Remove what is kept."""
        self.close()
        remove(self.path)

    def close(self) -> None:
        """Show and log nothing more."""
        for each in (self.bar, self.log):
            if each:
                each.close()
        self.log = None


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
