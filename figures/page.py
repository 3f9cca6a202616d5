"""The gallery as one HTML page: what was shown on every rung, each figure, and links to every run's own page."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from figures.exhibits import EXHIBITS, Exhibit
from figures.gallery import SPANNING, findings
from theory.runs import page, prose
from theory.runs.page import Card
from theory.runs.records import Record
from theory.runs.rows import Row, counts
from theory.runs.terminal import beside_verdicts
from theory.runs.words import GLOSSARY, Subject

THEMES = {
    "theory": "Random networks: the theorem",
    "mlp": "Digits: the paper's experiment",
    "llm": "Language models",
}
"""Rungs, by how the names of their folders begin."""

SHOWN = ("mlp-mnist-demo", "llm-bridge-run", "llm-bridge-run-smollm2")
"""Exhibits whose numbers the gallery shows: the digits' arms beside the paper's, how often owls and cats are named."""


class Piece(NamedTuple):
    """An exhibit as the page shows it."""

    exhibit: Exhibit
    """Which one."""
    answer: str
    """Whether its sentence holds; empty if it states no result."""
    picture: Markup
    """Its picture, if it has one."""
    cards: list[Card]
    """Its claims."""
    rows: list[Row]
    """Their checks that are judged; the others are on its own page."""
    counts: dict[str, int]
    """How many came out how."""
    note: str
    """That nothing can be decided, if that is so."""
    table: Markup
    """Its numbers, if the gallery shows them."""
    command: str
    """What runs it again."""
    commit: str
    """The commit that it was made at."""
    theme: str
    """Its rung."""


def gallery_html(records: Mapping[str, Record], command: str, folder: Path) -> bytes:
    """Write the gallery's page.

    Args:
        records: Each exhibit's record, by folder, and those that span rungs, as far as there are any.
        command: The command that rebuilds the page.
        folder: Where the gallery is, with the overview's picture.

    Returns:
        HTML in UTF-8.
    """
    pieces = [piece(exhibit, records[exhibit.folder]) for exhibit in EXHIBITS if exhibit.folder in records]
    total = Counter()
    for each in pieces:
        total.update(each.counts)
    text = page.template("gallery.html.jinja", Path(__file__).parent).render(
        pieces=pieces,
        themes=THEMES,
        total={outcome: total[outcome] for outcome in ("holds", "fails", "reported")},
        failed=[(each, row) for each in pieces for row in each.rows if row.outcome == "fails"],
        overview=_picture(folder / "overview", "Overview: one panel for each rung"),
        ladder=_picture(folder / "ladder", "The same three students on every rung") if "ladder" in records else "",
        growth=_picture(folder / "growth", SPANNING["growth"][1]) if "growth" in records else "",
        findings=Markup(prose.html(findings(records))),
        command=command,
        glossary=GLOSSARY,
    )
    return text.encode()


def piece(exhibit: Exhibit, record: Record) -> Piece:
    """Lay out an exhibit with its record."""
    cards = page.cards_of(record, {})
    rows = [row for card in cards for row in card.rows]
    judged = [row for row in rows if row.outcome != "reported"]
    tables = beside_verdicts(record.table) if exhibit.folder in SHOWN else []
    return Piece(
        exhibit=exhibit,
        answer=page.answer(Subject(exhibit.title, exhibit.claim, exhibit.asserts), record.verdicts),
        picture=Markup() if exhibit.folder == "theory-verify" else _picture(record.folder, exhibit.claim),
        cards=cards,
        rows=judged,
        counts=counts(rows),
        note=page.no_verdict(record),
        table=Markup(prose.html(tables[0])) if tables else Markup(),
        command=page.command_of(record),
        commit=record.provenance["commit"],
        theme=exhibit.folder.split("-")[0],
    )


def _picture(folder: Path, alt: str) -> Markup:
    """Put a run's picture inside the page, if it is there as SVG."""
    path = folder / "figure.svg"
    return page.picture(path.read_text(encoding="utf-8"), folder.name, alt) if path.is_file() else Markup()
