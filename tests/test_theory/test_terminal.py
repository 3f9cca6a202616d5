"""What a command says at its end: failures first, counts, and tables without the verdicts that the file has."""

import io
import re
import sys
from dataclasses import replace

import pytest

from theory.runs.statistics import Estimate
from theory.runs.terminal import answer, failures, show, shown, tell
from theory.runs.verdicts import Accepted, Verdict, markdown_table, verdict_table

ABOVE = Accepted(low=0.0, high=10.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def made(claim: str, value: float, *, judged: bool = True, least: int = 0, control: float = -1.0) -> Verdict:
    return Verdict(
        claim=claim,
        check=f"check of {value}",
        predicted="> 0",
        measured=Estimate(value, value, value),
        accepted=ABOVE if judged else None,
        control="none",
        control_measured=Estimate(control, control, control),
        instances=3,
        least_instances=least,
    )


HELD, FAILED, STATED, FEW = made("a", 1), made("b", -0.125), made("a", 2, judged=False), made("b", 3, least=4)


def recorded(*verdicts: Verdict) -> list[dict]:
    return [verdict.record() for verdict in verdicts]


def test_what_fails_is_named_with_its_numbers_and_nothing_else_is():
    line = failures(recorded(HELD, FAILED))
    assert line.count("\n") == 1
    assert FAILED.check in line
    assert "-0.125" in line
    assert "[-1.0, -1.0, -1.0]" in line
    assert HELD.check not in line


def test_the_answer_counts_what_holds_fails_and_is_reported_and_says_why():
    assert answer(recorded(HELD, HELD)) == "2 checks hold, every control flips, none fails.\n"
    said = answer(recorded(HELD, STATED, STATED, FEW))
    assert said == (
        "1 checks hold, every control flips, none fails; 3 are reported: for 2 of them theory guarantees nothing, and "
        "1 have too few seeds to decide.\n"
    )
    assert answer(recorded(FAILED, HELD)).splitlines()[0].startswith("FAILS: b")
    assert "1 FAIL" in answer(recorded(FAILED, HELD))
    assert answer(recorded(STATED)) == ""
    assert answer([]) == ""


def test_a_control_that_does_not_flip_is_never_said_to():
    said = answer(recorded(made("a", 1, control=1.0)))
    assert said.startswith("FAILS")
    assert "flips" not in said
    alone = replace(HELD, control_measured=None)
    assert answer(recorded(HELD, alone)) == "2 checks hold, none fails.\n"


def test_verdicts_are_left_to_the_file_and_counted_by_claim_where_nothing_else_is_there():
    verdicts = [HELD, FAILED, STATED]
    other = markdown_table(("arm", "rate"), [("x", 1)])
    table = f"{other}\n{verdict_table(verdicts)}\n{other}"
    assert shown(table, recorded(*verdicts)) == f"{other}\n{other}"
    counts = shown(verdict_table(verdicts), recorded(*verdicts))
    assert [line.replace(" ", "") for line in counts.splitlines()[2:]] == ["|a|0|1|1|", "|b|1|0|0|"]
    assert shown(verdict_table([HELD]), recorded(HELD)) == ""


def test_a_pipe_gets_the_text_as_it_is_and_a_terminal_as_wide_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    table = markdown_table(("a", "b"), [("word " * 20, "word " * 20), ("<think>__x__</think>", "1 | 2")])
    text = f"A *sentence* of [brackets].\nAnd another.\n\n{table}"
    show(text)
    assert capsys.readouterr().out == text
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    show(text)
    printed = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())
    assert max(map(len, printed.splitlines())) <= 60
    assert printed.count("word") == 40
    assert "A *sentence* of [brackets].\nAnd another." in printed
    assert "<think>__x__</think>" in printed
    assert "1 | 2" in printed


def test_the_end_names_the_record(capsys: pytest.CaptureFixture[str]):
    tell("", recorded(HELD), "recorded in here")
    assert capsys.readouterr().out == "1 checks hold, every control flips, none fails.\nrecorded in here\n"


def test_an_interval_without_ends_is_not_written_down():
    assert str(Estimate(0.5, -float("inf"), float("inf"))) == "0.5000"
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"
