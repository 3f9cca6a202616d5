"""Run folders: configuration, results, verdicts, table, pictures and provenance, each written whole or not at all."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from theory.command_line import InputError, RunOptions, config_of
from theory.verdicts import Verdict, none_fails

FILES = (
    "config.json",
    "results.npz",
    "verdicts.json",
    "table.md",
    "figure.png",
    "figure.pdf",
    "provenance.json",
)
"""What a finished run folder holds; the last is written last."""


class Outcome(NamedTuple):
    """What a computation hands over to be recorded."""

    results: Mapping[str, np.ndarray]
    """Every number behind the verdicts, by name."""
    verdicts: Sequence[Verdict]
    """The verdicts."""
    table: str
    """The printed table, Markdown."""


class Record(NamedTuple):
    """A finished run, read back from its folder."""

    folder: Path
    """Where it is."""
    config: dict[str, Any]
    """What was computed."""
    results: dict[str, np.ndarray]
    """Every number, by name."""
    verdicts: list[dict[str, Any]]
    """The verdicts, as in `verdicts.json`."""
    table: str
    """The printed table, Markdown."""
    provenance: dict[str, Any]
    """How it was made."""

    @property
    def none_fails(self) -> bool:
        """Whether every verdict holds or is reported."""
        return all(verdict["verdict"] != "fails" for verdict in self.verdicts)


def run_folder(package: str, command: str, options: RunOptions) -> Path:
    """Say where a run is recorded.

    Args:
        package: The package that runs.
        command: Its command.
        options: The command's options.

    Returns:
        The folder that was asked for, else `runs/<package>/<command>-<8 hex digits of the configuration>`.
    """
    digest = hashlib.sha256(config_text(config_of(options)).encode()).hexdigest()
    return options.output or Path("runs", package, f"{command}-{digest[:8]}")


def config_text(config: Mapping[str, Any]) -> str:
    """Write a configuration as JSON.

    Args:
        config: Field names and values.

    Returns:
        The text of `config.json`.
    """
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def record_run(
    package: str,
    command: str,
    options: RunOptions,
    compute: Callable[[], Outcome],
    draw: Callable[[Record], Figure],
) -> Record:
    """Run a computation and record it, unless the same run is recorded already.

    Prints the table and where the record is.

    Args:
        package: The package that runs.
        command: Its command.
        options: The command's options; what is computed depends on nothing else.
        compute: The computation.
        draw: Draws the run's figure from its record.

    Returns:
        The finished record.

    Raises:
        InputError: If the folder belongs to another run or can't be written.
    """
    folder = run_folder(package, command, options)
    config = {"command": f"{package} {command}", **config_of(options)}
    if is_finished(folder, config) and not options.fresh:
        record = read_record(folder)
        print(f"{record.table}\nskipped: {folder} is already recorded, at commit {record.provenance['commit']}")
        return record
    commit, start = current_commit(folder), time.time()
    outcome = compute()
    write_whole(folder / "config.json", config_text(config).encode())
    write_whole(folder / "verdicts.json", verdicts_text(outcome.verdicts).encode())
    write_whole(folder / "table.md", outcome.table.encode())
    write_npz(folder / "results.npz", outcome.results)
    verdicts = [verdict.record() for verdict in outcome.verdicts]
    arrays = {name: np.asarray(array) for name, array in outcome.results.items()}
    record = Record(folder, config, arrays, verdicts, outcome.table, {})
    write_figure(draw(record), folder)
    provenance = describe_run(f"{package} {command}", config, commit, start)
    write_whole(folder / "provenance.json", config_text(provenance).encode())
    print(f"{record.table}\nrecorded in {folder} ({provenance['duration_seconds']:.0f} s)")
    return record._replace(provenance=provenance)


def is_finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Look for a finished run in a folder, and make sure that it may be used.

    Args:
        folder: The run folder; made if need be.
        config: What is to be computed.

    Returns:
        Whether the folder holds the same run, finished.

    Raises:
        InputError: If it holds a run of another configuration, or can't be written.
    """
    path = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if not path.exists():
            return False
        if json.loads(path.read_text()) != json.loads(config_text(config)):
            raise InputError(f"{folder} holds a run of another configuration: choose another --output or delete it")
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not a record's: choose another --output or delete it") from error
    except OSError as error:
        raise InputError(f"can't write into {folder} ({error.strerror}): choose another --output") from error
    return all((folder / name).exists() for name in FILES)


def read_record(folder: Path) -> Record:
    """Read a finished run back.

    Args:
        folder: The run folder.

    Returns:
        The record.

    Raises:
        InputError: If a file is missing or damaged.
    """
    try:
        with np.load(folder / "results.npz") as results:
            arrays = {name: results[name] for name in results.files}
        config, verdicts, provenance = (
            json.loads((folder / name).read_text()) for name in ("config.json", "verdicts.json", "provenance.json")
        )
        table = (folder / "table.md").read_text()
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a finished run ({error}): run it again with --fresh") from error
    return Record(folder, config, arrays, verdicts, table, provenance)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it, so that it is there whole or not at all.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        InputError: If it can't be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise InputError(f"can't write {path} ({error.strerror}): choose another --output or make room") from error
    finally:
        aside.unlink(missing_ok=True)


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """Write verdicts as JSON.

    Args:
        verdicts: The verdicts.

    Returns:
        The text of `verdicts.json`.
    """
    return json.dumps([verdict.record() for verdict in verdicts], indent=2, ensure_ascii=False) + "\n"
