"""Run folders: configuration, results, verdicts, table, pictures and provenance, each written whole or not at all."""

import hashlib
import json
import shutil
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from theory.runs.chunks import kept_in
from theory.runs.command_line import InputError, RunOptions, require_writable
from theory.runs.compiler import require_right_compiler
from theory.runs.files import DAMAGE, figure_bytes, json_text, npz_bytes, write_whole
from theory.runs.processes import agreed
from theory.runs.progress import say
from theory.runs.provenance import Start
from theory.runs.terminal import tell
from theory.runs.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Draw = Callable[["Record"], Figure | Mapping[str, Figure]]
    """Draws a record: its `figure`, or that and parts of it by name."""

PAGE = ("figure.svg", "index.html")
"""What records from before there were pages lack; it is made from their numbers."""

FILES = (
    *("config.json", "results.npz", "verdicts.json", "table.md", "figure.png", "figure.pdf"),
    *PAGE,
    "provenance.json",
)
"""What a finished run folder holds; the last is written last."""

PICTURES = "pictures"
"""Folder in a run folder for the parts of a figure that are drawn by themselves, too."""

CHUNKS = "chunks"
"""Folder in an unfinished run folder that keeps what is done, so that the same command goes on there."""


class Outcome(NamedTuple):
    """What a computation hands over to be recorded."""

    results: Mapping[str, np.ndarray]
    """Every number behind the verdicts, by name."""
    verdicts: Sequence[Any]
    """The verdicts; records of verdicts where a run gathers others'."""
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


def run_folder(config: Mapping[str, Any], options: RunOptions) -> Path:
    """Say where a run is recorded, unless its options say so: its configuration names the folder."""
    package, command = config["command"].split()
    return options.output or Path("runs", package, f"{command}-{hashlib.sha256(json_text(config)).hexdigest()[:8]}")


def record_run(
    command: str,
    options: RunOptions,
    config: Mapping[str, Any],
    compute: Callable[[], Outcome],
    draw: "Draw",
    **notes: str,
) -> Record:
    """Run a computation and record it, unless the same run is recorded already; print the table.

    The configuration is everything that the results depend on; the notes go to the provenance.
    """
    config = {"command": command, **config}
    folder = run_folder(config, options)
    first = jax.process_index() == 0
    if agreed(is_finished(folder, config) and not options.fresh):
        record = read_record(folder)
        if first:
            shutil.rmtree(folder / CHUNKS, ignore_errors=True)
            complete(record, draw)
            commit = record.provenance["commit"]
            tell(record.table, record.verdicts, f"skipped: {folder} is already recorded, at commit {commit}")
            open_page(folder, options)
        return record
    require_right_compiler()
    start = Start.now(folder)
    with kept_in(folder / CHUNKS, json_text(config), fresh=options.fresh):
        outcome = compute()
        if not first:
            return in_memory(outcome, folder, config, {})
        record = save(outcome, folder, config, draw, start, **notes)
    seconds = f"{record.provenance['duration_seconds']:.0f} s"
    tell(
        record.table, record.verdicts, f"recorded in {folder} after {seconds}; {folder / 'index.html'} has every check"
    )
    open_page(folder, options)
    return record


def in_memory(outcome: Outcome, folder: Path, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> Record:
    """Make a record of an outcome, as it would be read back; nothing is written."""
    verdicts = [verdict.record() if isinstance(verdict, Verdict) else verdict for verdict in outcome.verdicts]
    arrays = {name: np.asarray(array) for name, array in outcome.results.items()}
    return Record(folder, json.loads(json_text(config)), arrays, verdicts, outcome.table, dict(provenance))


def save(
    outcome: Outcome,
    folder: Path,
    config: Mapping[str, Any],
    draw: "Draw",
    start: Start,
    **notes: str,
) -> Record:
    """Write a run folder; the provenance comes last and says that the rest is whole."""
    record = in_memory(outcome, folder, config, start.provenance(config) | notes)
    pictures = pictures_of(record, draw)
    contents = {
        "config.json": json_text(config),
        "results.npz": npz_bytes(record.results, smallest=True),
        "verdicts.json": json_text(record.verdicts),
        "table.md": outcome.table.encode(),
        **pictures,
        "provenance.json": json_text(record.provenance),
    }
    if (folder / "provenance.json").exists():
        (folder / "provenance.json").unlink()
    for name, content in contents.items():
        write_whole(folder / name, content)
    return record


def pictures_of(record: Record, draw: "Draw") -> dict[str, bytes]:
    """Draw a record: its figure and each part of it in every format, and the page that shows them."""
    from theory.runs.page import page
    from theory.runs.svg import svg_bytes

    drawn, contents = draw(record), {}
    figures = drawn if isinstance(drawn, Mapping) else {"figure": drawn}
    for name, figure in figures.items():
        path = name if name == "figure" else f"{PICTURES}/{name}"
        contents |= {f"{path}.png": figure_bytes(figure, "png"), f"{path}.pdf": figure_bytes(figure, "pdf")}
        contents[f"{path}.svg"] = svg_bytes(figure)
    svgs = {Path(name).stem: content.decode() for name, content in contents.items() if name.endswith(".svg")}
    return contents | {"index.html": page(record, svgs)}


def complete(record: Record, draw: "Draw", *, fresh: bool = False) -> None:
    """Draw a record that was made before there were pages, from its numbers; or any, anew."""
    if not fresh and all((record.folder / name).is_file() for name in PAGE):
        return
    try:
        contents = pictures_of(record, draw)
    except DAMAGE as error:
        say(f"{record.folder} is too old for a page ({error!r}): run it again with --fresh")
        return
    for name, content in contents.items():
        write_whole(record.folder / name, content)


def open_page(folder: Path, options: RunOptions) -> None:
    """Open a folder's page in a browser, if asked to."""
    address = (folder / "index.html").absolute().as_uri()
    if options.open and not webbrowser.open(address):
        say(f"no browser was found: open {address}")


def is_finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder holds the same run, finished; refuse one that holds another or can't be written."""
    path = folder / "config.json"
    require_writable(folder, folder=True)
    try:
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != json.loads(json_text(config)):
            raise InputError(f"{folder} holds a run of another configuration: choose another --output or delete it")
    except ValueError as error:
        raise InputError(f"{path} can't be read: choose another --output or delete it") from error
    except OSError as error:
        raise InputError(f"can't use {folder} ({error.strerror}): choose another --output") from error
    return all((folder / name).is_file() for name in FILES if name not in PAGE)


def read_record(folder: Path) -> Record:
    """Read a finished run back; refuse what is missing or damaged."""
    try:
        with (folder / "results.npz").open("rb") as file, np.load(file) as results:
            arrays = {name: results[name] for name in results.files}
        texts = ((folder / f"{name}.json").read_text(encoding="utf-8") for name in ("config", "verdicts", "provenance"))
        config, verdicts, provenance = map(json.loads, texts)
        table = (folder / "table.md").read_text(encoding="utf-8")
        if not all(isinstance(each, dict) for each in (config, provenance, *verdicts)):
            raise ValueError("what it says of itself is no object")
        if "commit" not in provenance or not all("verdict" in verdict for verdict in verdicts):
            raise ValueError("a commit or a verdict is missing")
    except DAMAGE as error:
        raise InputError(f"{folder} is not a finished run ({error}): run it again with --fresh") from error
    return Record(folder, config, arrays, verdicts, table, provenance)
