"""Tables of results in the folders' READMEs, made from the committed records: `python -m figures.tables`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from llm_bridge import readme as language_models
from mlp_mnist import readme as digits
from theory.claim import all_claims
from theory.runs.files import write_whole
from theory.runs.records import read_record
from theory.runs.verdicts import markdown_table

GALLERY = Path(__file__).parent
ROOT = GALLERY.parent


def claim_table() -> str:
    """List the theory's claims with what became of their checks.

    Returns:
        A Markdown table.
    """
    record, rows = read_record(GALLERY / "theory-verify"), []
    for name, claim in all_claims().items():
        outcomes = [verdict["verdict"] for verdict in record.verdicts if verdict["claim"] == name]
        pictures = " ".join(f"[{one}](../figures/theory-verify/pictures/{one}.png)" for one in claim.panels)
        file = f"[`{name}`](claims/{name.replace('-', '_')}.py)"
        rows.append((file, claim.statement, outcomes.count("holds"), outcomes.count("reported"), pictures))
    header = ("claim", "statement", "checks that hold, every control flips", "reported", "pictures")
    return markdown_table(header, rows)


TABLES: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    ROOT / "theory" / "README.md": {"claims": claim_table},
    ROOT / "mlp_mnist" / "README.md": digits.TABLES,
    ROOT / "llm_bridge" / "README.md": language_models.TABLES,
}
"""For each page, by the name of its place: what makes the table."""


def filled(page: Path) -> str:
    """Make a page's tables anew.

    Args:
        page: One of `TABLES`.

    Returns:
        Its text.

    Raises:
        ValueError: If a table has no place on the page, or more than one.
    """
    text = page.read_text(encoding="utf-8")
    for name, make in TABLES[page].items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        if text.count(start) != 1:
            raise ValueError(f"{page.name} has {text.count(start)} places for {name}")
        before, after = text.split(start)
        text = f"{before}{start}\n{make()}\n{end}{after.split(end, 1)[1]}"
    return text


def main() -> None:
    """Write every page."""
    for page in TABLES:
        write_whole(page, filled(page).encode())


if __name__ == "__main__":
    main()
