"""What a command says at its end: its tables, fitted to the terminal, and in a few lines what became of its checks."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from theory.runs.verdicts import VERDICTS, markdown_table

Verdicts = Sequence[Mapping[str, Any]]
"""Verdicts as in `verdicts.json`."""

TOO_FEW = "too few instances"
"""Why a check isn't decided that more seeds would decide."""


def show(text: str) -> None:
    """Print text, its tables fitted to the terminal if there is one."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for block in text.strip("\n").split("\n\n"):
        lines = block.splitlines()
        if block.startswith("|"):
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            header, _, *rows = map(cells_of, lines)
            for name in header:
                table.add_column(name)
            for row in rows:
                table.add_row(*map(Text, row))
            console.print(table)
        else:
            console.print(Text(f"{block}\n"))


def cells_of(line: str) -> list[str]:
    """Split a line of a Markdown table."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def beside_verdicts(table: str) -> list[str]:
    """Take from a run's table all blocks but its table of verdicts."""
    blocks = re.split(r"\n\s*\n", table.strip())
    return [block for block in blocks if block and tuple(cells_of(block.split("\n", 1)[0])) != VERDICTS]


def shown(table: str, verdicts: Verdicts) -> str:
    """Take from a run's table what is printed: all but its verdicts; where nothing else is there, counts by claim."""
    if blocks := beside_verdicts(table):
        return "\n\n".join(blocks) + "\n"
    return count_table(verdicts) if len({each["claim"] for each in verdicts}) > 1 else ""


def count_table(verdicts: Verdicts) -> str:
    """Count what became of every claim's checks."""
    counts = {each["claim"]: Counter[str]() for each in verdicts}
    for each in verdicts:
        counts[each["claim"]][each["verdict"]] += 1
    kinds = ("fails", "holds", "reported")
    return markdown_table(
        ("claim", *kinds), [(claim, *(found[kind] for kind in kinds)) for claim, found in counts.items()]
    )


def failures(verdicts: Verdicts) -> str:
    """Say which checks fail and by what, a line each."""
    return "".join(
        f"FAILS: {each['claim']}: {each['check']}: {each['measured']} in {each['interval']}, "
        f"accepted {each['accepted']}; control {each['control_measured']}\n"
        for each in verdicts
        if each["verdict"] == "fails"
    )


def answer(verdicts: Verdicts) -> str:
    """Say what became of all checks, failures first, and why the others are not judged; nothing if nothing could be."""
    if all(each["accepted"] is None for each in verdicts):
        return ""
    counts = Counter(each["verdict"] for each in verdicts)
    few = sum(each.get("reason") == TOO_FEW for each in verdicts)
    flips = [each["control_flips"] for each in verdicts if each["verdict"] == "holds"]
    controls = ", every control flips" if flips and all(flips) else ""
    failed = f"{counts['fails']} FAIL" if counts["fails"] else "none fails"
    said = f"{counts['holds']} checks hold{controls}, {failed}"
    if counts["reported"]:
        rest = counts["reported"] - few
        why = [f"for {rest} of them theory guarantees nothing"] if rest else []
        why += [f"{few} have too few seeds to decide"] if few else []
        said += f"; {counts['reported']} are reported: {', and '.join(why)}"
    return f"{failures(verdicts)}{said}.\n"


def tell(table: str, verdicts: Verdicts, last: str) -> None:
    """Print what a run has found, and where its record is."""
    if text := shown(table, verdicts):
        show(text)
        print()
    print(f"{answer(verdicts)}{last}")
