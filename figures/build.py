"""The figures built from whatever is recorded: missing runs, ladder, growth, overview and the gallery's page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.exhibits import EXHIBITS
from figures.gallery import SPANNING, draw_overview, gallery_page, shared_against_stranger, summary_table
from figures.growth import growth, is_measured
from figures.growth_plots import draw_growth
from figures.ladder import is_climbable, ladder
from figures.ladder_plots import draw_ladder
from figures.page import gallery_html
from figures.runs import run_exhibits
from mlp_mnist.data import resolve
from theory.runs.files import write_whole
from theory.runs.provenance import Start
from theory.runs.records import Outcome, Record, complete, is_finished, open_page, read_record, run_folder, save
from theory.runs.terminal import tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.__main__ import Figures


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
    return {"ladder": save_spanning("ladder", ladder(records), draw_ladder, folder, config, fresh)}


def save_growth(
    records: Mapping[str, Record], folder: Path, config: Mapping[str, Any], fresh: bool
) -> dict[str, Record]:
    """Draw growth, if both benchmarks have measured it.

    Args:
        records: Each exhibit's record, by folder.
        folder: Where the gallery is.
        config: The overview's configuration.
        fresh: Whether to draw again what is there.

    Returns:
        Its record, by folder; nothing if there is none.
    """
    if not is_measured(records):
        return {}
    return {"growth": save_spanning("growth", growth(records), draw_growth, folder, config, fresh)}


def save_spanning(
    name: str,
    outcome: Outcome,
    draw: "Callable[[Record], Figure]",
    folder: Path,
    config: Mapping[str, Any],
    fresh: bool,
) -> Record:
    """Draw what spans rungs, unless it is there with the same numbers.

    Args:
        name: Its folder.
        outcome: What it says.
        draw: How it is drawn.
        folder: Where the gallery is.
        config: The overview's configuration.
        fresh: Whether to draw again what is there.

    Returns:
        Its record.
    """
    place, config = folder / name, {**config, "command": f"figures {name}"}
    if is_finished(place, config) and read_record(place).table == outcome.table and not fresh:
        complete(read_record(place), draw)
        return read_record(place)
    return save(outcome, place, config, draw, Start.now(folder))


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
    records |= save_ladder(records, folder, config, options.fresh)
    records |= save_growth(records, folder, config, options.fresh)
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
    titles = {exhibit.folder: exhibit.title for exhibit in EXHIBITS} | {
        name: title for name, (title, _) in SPANNING.items()
    }
    named = [
        verdict | {"claim": titles[name], "check": f"{verdict['claim']}: {verdict['check']}"}
        for name, record in records.items()
        for verdict in record.verdicts
    ]
    tell("", named, start_with)
    open_page(folder, options)
    return all(record.none_fails for record in records.values())
