"""What pages say of committed records, made from them: tables, means and verdicts, as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from theory.runs.records import Record, read_record
from theory.runs.statistics import Estimate, mean_estimate


class Gallery(NamedTuple):
    """The committed records of one package, as one of its pages sees them."""

    folder: Path
    """Where all records are."""
    prefix: str
    """How the names of the package's begin."""
    path: str = "../figures"
    """From the page to the folder."""

    def record(self, name: str) -> Record:
        """Read a record."""
        return read_record(self.folder / f"{self.prefix}-{name}")

    def link(self, text: str, name: str) -> str:
        """Link a record's table."""
        return f"[{text}]({self.path}/{self.prefix}-{name}/table.md)"


def page_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; its lines are not padded, so that a number that changes changes no other line."""
    lines = (header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measured(value: float, low: float, high: float) -> str:
    """Write a figure with its interval."""
    return str(Estimate(value, low, high)).replace("-", "−")


def between(values: np.ndarray, digits: int = 2) -> str:
    """Write a mean over seeds, and the ends of its 95 % interval where there are several."""
    mean, low, high = (f"{each:.{digits}f}".replace("-", "−") for each in mean_estimate(values))
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def page_verdicts(record: Record, *, judged: bool = False, also: str = "") -> str:
    """Lay out the verdicts of a record: all, or those that hold or fail, and also all of one claim."""
    rows = []
    for verdict in record.verdicts:
        if judged and verdict["verdict"] == "reported" and verdict["claim"] != also:
            continue
        control = verdict["control"]
        if verdict["control_measured"]:
            control += f": {measured(*verdict['control_measured'])}"
        found = measured(verdict["measured"], *verdict["interval"])
        rows.append((verdict["check"], verdict["predicted"], found, control, verdict["verdict"]))
    return page_table(("check", "predicted", "measured", "control", "verdict"), rows)
