"""The gallery: what is committed is complete and says what its records say, and bad input is refused in a line."""

import json
import re
import sys
from pathlib import Path

import pytest

from figures import __main__ as command
from figures.exhibits import EXHIBITS
from figures.gallery import SPANNING, claim_of, gallery_page, summary_table
from figures.runs import Ended
from theory.runs.records import FILES, PICTURES, read_record
from theory.runs.style import stated

GALLERY = Path(__file__).parents[2] / "figures"
AUDITED = ("data.jsonl", "data.jsonl.origin.json", "attestation.json")
"""What stands beside the record of an audit: its data, where they come from, and what it attests."""
COMMITTED = [name for name in SPANNING if (GALLERY / name).exists()]
"""What spans rungs and is recorded."""


@pytest.mark.parametrize("folder", [*(exhibit.folder for exhibit in EXHIBITS), "overview", *COMMITTED])
def test_committed_record_is_whole_and_from_a_clean_commit(folder: str):
    names = {path.name for path in (GALLERY / folder).iterdir()}
    assert names - {"report.md", PICTURES, *AUDITED} == set(FILES)
    provenance = json.loads((GALLERY / folder / "provenance.json").read_text())
    assert provenance["commit"].isalnum()
    assert "/" not in re.sub(r"figures/|/data\.jsonl|runs/", "", provenance["command"])


def test_committed_page_is_made_from_the_committed_records():
    records = {folder: read_record(GALLERY / folder) for folder in (*(each.folder for each in EXHIBITS), *COMMITTED)}
    command = "python -m figures --full --output figures"
    assert (GALLERY / "README.md").read_text() == gallery_page(records, command)


def test_readme_counts_the_verdicts_of_the_committed_records():
    readme = (GALLERY.parent / "README.md").read_text()
    for exhibit in EXHIBITS:
        outcomes = [verdict["verdict"] for verdict in read_record(GALLERY / exhibit.folder).verdicts]
        if f"figures/{exhibit.folder}/figure.png" not in readme:
            continue
        counts = f"holds ({outcomes.count('holds')} checks, every control flips; {outcomes.count('reported')} reported)"
        row = next(line for line in readme.splitlines() if f"figures/{exhibit.folder}/figure.png" in line)
        assert counts in row


def test_no_committed_verdict_fails_and_every_control_flips():
    for exhibit in EXHIBITS:
        record = read_record(GALLERY / exhibit.folder)
        assert record.none_fails
        assert all(verdict["control_flips"] for verdict in record.verdicts if verdict["verdict"] == "holds")


@pytest.mark.parametrize(
    ("outcomes", "sentence", "title"),
    [
        (("holds", "reported"), "**Holds** (1 checks, none fails): ", ""),
        (("holds", "fails"), "**Fails** (1 of 2 checks): ", ": fails"),
        (("reported",), "**Not decided** by this record, whose figures are reported: ", ": not decided"),
        ((), "**Not decided** by this record, whose figures are reported: ", ": not decided"),
    ],
)
def test_what_is_said_of_a_result_follows_from_its_verdicts(outcomes, sentence, title):
    exhibit = next(each for each in EXHIBITS if each.folder == "llm-bridge-run")
    record = read_record(GALLERY / exhibit.folder)
    record = record._replace(verdicts=[{"claim": "run", "verdict": outcome} for outcome in outcomes])
    assert claim_of(exhibit, record) == sentence + exhibit.claim
    assert stated("A coin is fair", record, "run") == f"A coin is fair{title}"
    assert stated("A coin is fair", record, "walk") == "A coin is fair: not decided"
    assert claim_of(exhibit._replace(asserts=False), record) == exhibit.claim


def test_verdicts_can_be_counted_wrong_only_by_a_different_table():
    verdict = read_record(GALLERY / EXHIBITS[0].folder).verdicts[0]
    assert "| holds" in summary_table([verdict])
    assert "| fails" in summary_table([verdict | {"verdict": "fails"}])
    assert "DOES NOT FLIP" in summary_table([verdict | {"control_flips": False}])


@pytest.mark.parametrize("arguments", [["--num-seeds", "0"], ["--seed", "nan"], ["--data", "letters"]])
def test_bad_option_is_refused_with_status_2_and_nothing_written(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["figures", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_failed_command_stops_the_figures_with_status_2(tmp_path, monkeypatch, capsys):
    def refuse(commands, at_once):
        return [Ended(name, 2, "") for name in commands]

    monkeypatch.setattr("figures.runs.run_together", refuse)
    monkeypatch.setattr(sys, "argv", ["figures", "--data", "digits", "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
