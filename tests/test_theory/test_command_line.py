"""The command line: exit status, one clear message, never a traceback, and nothing written for bad input."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from theory import __main__ as main
from theory.claim import all_claims, claim_names
from theory.claims import null_space
from theory.runs.command_line import RunOptions, exit_status, run_commands
from theory.runs.records import FILES, read_record

ROOT = Path(main.__file__).parents[1]
COMMANDS = {main.ListClaims: ("list", main.list_claims), main.Verify: ("verify", main.verify)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def status(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["theory", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_commands("theory", COMMANDS)
    return caught.value.code


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "theory", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


RUN = ("null-space", "--num-seeds", "16", "--seed", "1", "--output", "run")

REFUSED = {
    "astrology": ["astrology"],
    "num_seeds must be at least 1": ["alignment", "--num-seeds", "0"],
    "num_seeds must be at least 1,": ["--num-seeds", "-4"],
    "seed must be a whole number": ["--seed", "-1"],
    "not (-1.0,": ["--teacher-steps", "-1", "1e-4", "1e-3"],
    "(nan,": ["--teacher-steps", "nan", "1e-4", "1e-3"],
    "(inf,": ["--learning-rates", "inf"],
    "three": ["--num-seeds", "three"],
    "largest_fitted_step must be": ["--largest-fitted-step", "nan"],
    "increasing order": ["--teacher-steps", "1e-3", "1e-4", "1e-5"],
    "--astrology": ["--astrology"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_usage_ends_with_status_2_one_message_and_nothing_written(message, elsewhere, monkeypatch, capsys):
    assert status("verify", *REFUSED[message], monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.err.count("full helptext") == 1
    assert "Traceback" not in captured.err
    assert not captured.out
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("arguments", [[], ["astrology"]])
def test_no_command_or_an_unknown_one_is_bad_usage(arguments, monkeypatch, capsys):
    assert status(*arguments, monkeypatch=monkeypatch) == 2
    assert "list" in capsys.readouterr().err


def test_list_has_a_line_a_claim(monkeypatch, capsys):
    assert status("list", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(all_claims())
    for line, claim in zip(lines, all_claims().values(), strict=True):
        assert line.endswith(claim.statement)


def test_command_line_offers_every_claim_that_is_there():
    assert get_args(main.ClaimName) == tuple(claim_names())
    assert sorted(all_claims()) == claim_names()


def test_help_explains_every_option(monkeypatch, capsys):
    assert status("verify", "--help", monkeypatch=monkeypatch) == 0
    text = capsys.readouterr().out
    for option in ("--output", "--fresh", "--seed", "--num-seeds", "--teacher-steps", "--learning-rates"):
        assert option in text


@pytest.mark.parametrize(("outcome", "expected"), [(True, 0), (False, 1)])
def test_exit_status_says_whether_a_verdict_fails(outcome, expected):
    assert exit_status(lambda: outcome) == expected


def test_default_is_every_claim_and_no_folder():
    options = main.Verify()
    assert options.claims == ()
    assert isinstance(options, RunOptions)
    assert options.output is None


def test_a_run_is_recorded_printed_and_skipped_by_the_next_process(elsewhere, monkeypatch, capsys):
    monkeypatch.setattr(null_space, "NULL_CASES", null_space.NULL_CASES[:1])
    assert status("verify", *RUN, monkeypatch=monkeypatch) == 0
    recorded = elsewhere / "run"
    assert sorted(path.name for path in recorded.iterdir()) == sorted(FILES)
    record = read_record(recorded)
    assert record.none_fails
    assert "2 checks hold, every control flips, none fails." in capsys.readouterr().out
    assert record.config["num_seeds"] == 16
    before = {path: path.read_bytes() for path in recorded.iterdir()}

    result = run("verify", *RUN)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 checks hold, every control flips, none fails." in result.stdout
    assert "skipped: run is already recorded" in result.stdout
    assert {path: path.read_bytes() for path in recorded.iterdir()} == before


def test_a_folder_of_another_run_is_refused_without_a_traceback(elsewhere, monkeypatch, capsys):
    (elsewhere / "run").mkdir()
    (elsewhere / "run" / "config.json").write_text("{}")
    assert status("verify", "--output", "run", monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "another configuration" in captured.err
    assert [path.name for path in (elsewhere / "run").iterdir()] == ["config.json"]
