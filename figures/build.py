"""The figures built from whatever is recorded: missing runs, ladder, growth, overview and the gallery's page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Spanning(NamedTuple):
    """A figure that spans rungs."""

    is_possible: Callable[[Mapping[str, Record]], bool]
    """Whether the exhibits' records, by folder, hold what it takes."""
    measure: Callable[[Mapping[str, Record]], Outcome]
    """What it says of them."""
    draw: "Callable[[Record], Figure]"
    """How it is drawn."""


SPAN = {
    "ladder": Spanning(is_climbable, ladder, draw_ladder),
    "growth": Spanning(is_measured, growth, draw_growth),
}
"""All of them, by folder."""


def save_spanning(
    name: str, records: Mapping[str, Record], folder: Path, config: Mapping[str, Any], fresh: bool
) -> dict[str, Record]:
    """Draw a figure that spans rungs, if it is possible, unless it is there with the same numbers.

    Args:
        name: Its folder.
        records: Each exhibit's record, by folder.
        folder: Where the gallery is.
        config: The overview's configuration.
        fresh: Whether to draw again what is there.

    Returns:
        Its record, by folder; nothing if there is none.
    """
    spanning = SPAN[name]
    if not spanning.is_possible(records):
        return {}
    outcome, place, config = spanning.measure(records), folder / name, {**config, "command": f"figures {name}"}
    if not is_finished(place, config) or read_record(place).table != outcome.table or fresh:
        return {name: save(outcome, place, config, spanning.draw, Start.now(folder))}
    complete(read_record(place), spanning.draw)
    return {name: read_record(place)}


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
    for name in SPAN:
        records |= save_spanning(name, records, folder, config, options.fresh)
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
