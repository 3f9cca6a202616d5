"""How much room the committed records' numbers take."""

from pathlib import Path

GALLERY = Path(__file__).parents[2] / "figures"

MOST = 10_000_000
"""Bytes of all tables, verdicts, texts and arrays together; a larger record holds what is neither drawn nor judged."""


def test_the_committed_numbers_are_at_most_ten_megabytes():
    numbers = [path for path in GALLERY.rglob("*") if path.suffix in (".npz", ".json", ".jsonl", ".md")]
    assert len(numbers) > 100
    assert sum(path.stat().st_size for path in numbers) <= MOST
