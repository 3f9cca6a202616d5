"""A run's page: one HTML file that says what was shown and how, made from the record alone."""

import inspect
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from theory.runs import prose, svg
from theory.runs.rows import Row, counts, row_of
from theory.runs.terminal import beside_verdicts
from theory.runs.words import GLOSSARY, SENTENCES, SUBJECTS, Subject

if TYPE_CHECKING:
    from theory.runs.records import Record

LINKS = {
    "verdicts.json": "every verdict, for programs",
    "results.npz": "every number behind them, for NumPy",
    "config.json": "what was computed",
    "provenance.json": "which code, versions and machine it came from, and when",
    "table.md": "the printed table",
    "figure.svg": "the picture",
    "figure.png": "the same as pixels",
    "figure.pdf": "the same for print",
}
"""Files of a run folder, and what they are."""

PLACES = ("--output", "--coordinator", "--num-processes", "--process-id")
"""Options that say where a run was made, each with its value; to run it again it needs none of them."""

SWITCHES = ("--fresh", "--open", "--quiet")
"""Options without a value that it doesn't need either."""

GATHERED = ("figures quick", "figures full")
"""Commands whose record repeats the verdicts of others; those have pages of their own."""


class Card(NamedTuple):
    """A claim as the page shows it."""

    name: str
    """Its name."""
    number: str
    """Its number in the theory, if it has one."""
    sentence: Markup
    """What it says, in a sentence."""
    statement: str
    """The same in symbols, if there is more to say."""
    derivation: Markup
    """Statement and derivation in full, if they are written down."""
    picture: Markup
    """Its own picture, if it has one."""
    rows: list[Row]
    """Its checks."""
    command: str
    """What runs it again."""

    @property
    def counts(self) -> dict[str, int]:
        """How many checks came out how."""
        return counts(self.rows)


def page(record: "Record", figures: Mapping[str, str]) -> bytes:
    """Write the page of a run.

    Args:
        record: The run.
        figures: Its `figure` as SVG, as `svg_bytes` makes it, or the parts of it that are drawn by themselves, too, by
            name: then these are shown, each beside its claim.

    Returns:
        HTML in UTF-8, the same bytes for the same record.
    """
    subject, pictures = subject_of(record), _pictures(figures)
    gathered = record.config["command"] in GATHERED
    cards = [] if gathered else cards_of(record, pictures)
    rows = [(verdict["claim"], row_of(verdict)) for verdict in record.verdicts]
    whole = Markup() if pictures else picture(figures["figure"], "figure", subject.sentence)
    tables = [] if gathered else [Markup(prose.html(text)) for text in beside_verdicts(record.table)]
    text = template("page.html.jinja").render(
        subject=subject,
        answer=answer(subject, record.verdicts),
        cards=cards,
        judged=any(verdict["accepted"] is not None for verdict in record.verdicts),
        failed=[(claim, row) for claim, row in rows if row.outcome == "fails"],
        counts=counts([row for _, row in rows]),
        gathered=gathered,
        picture=whole,
        tables=tables,
        note=no_verdict(record),
        glossary=GLOSSARY,
        command=command_of(record),
        provenance=record.provenance,
        links=LINKS,
    )
    return text.encode()


def template(name: str, *folders: Path) -> Any:
    """Find a template in the folders or in this one."""
    found = [*folders, Path(__file__).parent]
    options: dict[str, Any] = {"autoescape": True, "undefined": StrictUndefined, "keep_trailing_newline": True}
    environment = Environment(loader=FileSystemLoader(found), trim_blocks=True, lstrip_blocks=True, **options)
    environment.filters["symbols"] = lambda text: Markup(prose.symbols(text))
    return environment.get_template(name)


def picture(text: str, name: str, alt: str) -> Markup:
    """Put a picture inside a page."""
    return Markup(svg.inline(text, name, escape(alt)))


def subject_of(record: "Record") -> Subject:
    """Say what a run is about: a study its question, few claims of the theory what they say, a command its subject."""
    config, command = record.config, record.config["command"]
    names = list(dict.fromkeys(verdict["claim"] for verdict in record.verdicts if verdict["claim"] != "conditions"))
    if "question" in config:
        return Subject(config["question"], f"Varied: {config['axis']}.", asserts=False)
    if command in SUBJECTS and not (command == "theory verify" and len(names) <= 3):
        return SUBJECTS[command]
    told = [sentence for sentence in map(_plain, names) if sentence]
    titles = [name if _claim(name) is None else f"Claim {_claim(name).number:g}: {name}" for name in names]
    return Subject(", ".join(titles) or command, " ".join(told) or f"A run of {command}.", asserts=bool(told))


def answer(subject: Subject, verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Say in a word whether the verdicts bear a subject's sentence out."""
    found = {verdict["verdict"] for verdict in verdicts}
    if not subject.asserts:
        return ""
    return "Fails" if "fails" in found else "Holds" if "holds" in found else "Not decided"


def cards_of(record: "Record", pictures: Mapping[str, Markup]) -> list[Card]:
    """Lay out a record's claims with their checks; `pictures` has those that are of one claim."""
    command, cards = command_of(record), []
    unit = "base" if record.config["command"].startswith("llm_bridge") else "seed"
    for name in dict.fromkeys(verdict["claim"] for verdict in record.verdicts):
        rows = [row_of(verdict, unit) for verdict in record.verdicts if verdict["claim"] == name]
        claim, own = (_claim(name) if _is_theory(record) else None), command
        if claim is not None and record.config["command"] != "theory.verify":
            own = _command_for(name, record)
        derivation = _derivation(name) if claim is not None else ""
        cards.append(
            Card(
                name=name,
                number=f"{claim.number:g}" if claim is not None else "",
                sentence=Markup(prose.inline(_sentence(name, record))),
                statement=claim.statement if claim is not None else "",
                derivation=Markup(prose.html(derivation)),
                picture=pictures.get(name, Markup()),
                rows=rows,
                command=own,
            )
        )
    return cards


def no_verdict(record: "Record") -> str:
    """Say so if there were too few instances to decide anything."""
    ends = [tuple(map(float, verdict["interval"])) for verdict in record.verdicts]
    if not ends or any(math.isfinite(low) or math.isfinite(high) for low, high in ends):
        return ""
    unit = "base" if record.config["command"].startswith("llm_bridge") else "seed"
    return f"One {unit}: no verdict. Its figures stand as they are, and chance alone may have made them; more decide."


def command_of(record: "Record") -> str:
    """Say what runs a record again, wherever it lay."""
    return without_places(record.provenance["command"])


def without_places(command: str) -> str:
    """Leave out of a command where its record lay, and what says nothing of the result."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in PLACES:
            next(words, None)
        elif word not in SWITCHES and not word.startswith(tuple(f"{place}=" for place in PLACES)):
            kept.append(word)
    return shlex.join(kept)


def _command_for(name: str, record: "Record") -> str:
    """Say what runs one claim of a `theory verify` record again."""
    words = shlex.split(command_of(record))
    if words[:4] != ["python", "-m", "theory", "verify"]:
        return f"python -m theory verify {name}"
    claims = set(record.config.get("claims", ()))
    return shlex.join([*words[:4], name, *(word for word in words[4:] if word not in claims)])


def _is_theory(record: "Record") -> bool:
    """Whether a record's claims are those of the theory, rather than of an experiment."""
    command = record.config["command"]
    return command in {"theory verify", "theory.verify"}


@cache
def _claim(name: str) -> Any:
    """Find a claim of the theory; None if it has none of that name."""
    from theory.claim import claim_names, find_claim

    return find_claim(name) if name in claim_names() else None


def _derivation(name: str) -> str:
    """Take from a claim's module what it says of the claim."""
    return inspect.getdoc(sys.modules[f"theory.claims.{name.replace('-', '_')}"]) or ""


def _plain(name: str) -> str:
    """Say a claim of the theory in a sentence; empty if there is none."""
    if _claim(name) is None:
        return ""
    sentence = re.sub(r"^Claim [\d.]+(, (lemma|theorem) \d+)?[:,] ", "", _derivation(name).split("\n\n")[0])
    return sentence[0].upper() + sentence[1:].replace("\n", " ")


def _sentence(name: str, record: "Record") -> str:
    """Say a claim in a sentence: the theory's own, or what it means in the package of the record."""
    return (_plain(name) if _is_theory(record) else "") or SENTENCES.get(name, "") or _plain(name) or name


def _pictures(figures: Mapping[str, str]) -> dict[str, Markup]:
    """Put each picture that is drawn by itself beside the claim that it is of."""
    from theory.claim import all_claims

    found: dict[str, Markup] = {}
    for claim in all_claims().values() if len(figures) > 1 else ():
        names = [name for name in claim.panels if name in figures]
        own = [picture(figures[name], f"picture-{name}", _plain(claim.name)) for name in names]
        found |= {claim.name: Markup().join(own)} if own else {}
    return found
