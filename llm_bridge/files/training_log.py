"""Where the losses of trainings go beside their models: a table, TensorBoard or Weights & Biases; nowhere, if not told.

A training opens a log when it starts, and hands it the losses that each of its compiled chunks gives back.
"""

import csv
import importlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from theory.runs.command_line import InputError
from theory.runs.files import write_whole

LogTo = Literal["csv", "tensorboard", "wandb"]
"""What writes a log."""

Log = tuple[Callable[[int, Mapping[str, float]], object], Callable[[], object]]
"""Takes a step, counted from 1, and values by name; and takes nothing more."""

HEADER = ["training", "step", "name", "value"]
"""Columns of a table of losses."""

LOCK = Lock()
"""Held by who writes a log: students train side by side, and share a table."""

TOLD: list[tuple[LogTo, Path]] = []
"""What logs, and in which folder; the last counts. Empty if the command that runs is not told to log."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What a command that trains can be told of its log."""

    log: LogTo | None = None
    """Where each step's loss goes: `training.csv` beside what is made, files of TensorBoard in `tensorboard` there, or
    Weights & Biases, offline unless WANDB_API_KEY or WANDB_MODE says otherwise."""


def find_library(log: LogTo) -> Any:
    """Import the library that writes a log; a table needs none."""
    modules = {"csv": ["csv"], "tensorboard": ["tensorboardX", "torch.utils.tensorboard"], "wandb": ["wandb"]}[log]
    for module in modules:
        with suppress(ImportError):
            return importlib.import_module(module)
    raise InputError(f"--log {log} needs {' or '.join(modules)}: install it, as by uv pip install, or say --log csv")


def open_table(folder: Path, training: str, done: int) -> Log:
    """Open `training.csv`, which the trainings of a folder share, without what it has of this one's later steps."""
    path = folder / "training.csv"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ",".join(HEADER)
        header, *rows = csv.reader(io.StringIO(text))
        kept = [row for row in rows if row[0] != training or int(row[1]) <= done]
        if header != HEADER:
            raise ValueError("other columns")
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{path} is no log of trainings: move it away, or choose another --output") from error
    csv.writer(before := io.StringIO(), lineterminator="\n").writerows([header, *kept])
    write_whole(path, before.getvalue().encode())

    def write(step: int, values: Mapping[str, float]) -> None:
        with path.open("a", encoding="utf-8", newline="") as file:
            rows = [[training, step, name, value] for name, value in values.items()]
            csv.writer(file, lineterminator="\n").writerows(rows)

    return write, lambda: None


def open_tensorboard(folder: Path, training: str, done: int) -> Log:
    """Open a folder of TensorBoard's files; steps that are done again replace those from before."""
    writer = find_library("tensorboard").SummaryWriter(str(folder / "tensorboard" / training), purge_step=done + 1)
    return lambda step, values: [writer.add_scalar(name, value, step) for name, value in values.items()], writer.close


def open_wandb(folder: Path, training: str, done: int) -> Log:
    """Begin a run of Weights & Biases in a group of the folder's name; one that goes on begins another."""
    library, told = find_library("wandb"), {"group": folder.absolute().name, "name": training, "dir": str(folder)}
    folder.mkdir(parents=True, exist_ok=True)
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    try:
        run = library.init(project="subliminal-learning", mode=mode, reinit="create_new", **told)
    except library.Error as error:
        raise InputError(f"--log wandb: {' '.join(str(error).split())}; or set WANDB_MODE=offline") from error
    return lambda step, values: run.log(dict(values), step=step), run.finish


OPEN: dict[LogTo, Callable[[Path, str, int], Log]] = {
    "csv": open_table,
    "tensorboard": open_tensorboard,
    "wandb": open_wandb,
}
"""Opens a log in a folder, of a training by its name, so many steps of which are done."""


@contextmanager
def logged(log: LogTo | None, folder: Path) -> Iterator[None]:
    """Log in a folder whatever is trained meanwhile; a library that is missing is missed before anything is trained."""
    if log is None:
        yield
        return
    find_library(log)
    TOLD.append((log, folder))
    try:
        yield
    finally:
        TOLD.pop()


class TrainingLog:
    """The log of one training; nothing is taken where none is asked for, nor by other processes than the first."""

    def __init__(self, path: Path, done: int = 0):
        """Open it for the training of what is made at a path, which names it, so many steps of which are done."""
        self.write, self.close = (lambda step, values: None), (lambda: None)
        if TOLD and jax.process_index() == 0:
            log, folder = TOLD[-1]
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            with LOCK:
                self.write, self.close = OPEN[log](folder, name.removesuffix(".safetensors"), done)

    def add(self, done: int, losses: Float[np.ndarray, " steps"]) -> None:
        """Take the losses of the last steps of so many."""
        try:
            with LOCK:
                for step, loss in enumerate(losses, start=done - len(losses) + 1):
                    self.write(step, {"loss": float(loss)})
        except OSError as error:
            raise InputError(f"can't write the log ({error.strerror}): make room, or leave --log out") from error
