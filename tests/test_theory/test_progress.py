"""Progress: without a terminal whole lines, with one a bar, and nothing at all if one asks for it."""

import io
import os
import re
import sys
import threading
import time

import pytest

from theory.runs import progress
from theory.runs.progress import Progress, duration, follow, say


@pytest.fixture(autouse=True)
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.QUIET, raising=False)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speak a hundred times a second."""
    monkeypatch.setattr(progress, "EVERY", 0.01)


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that shows what one sets."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: 60 * clock[0])
    return clock


class Terminal(io.StringIO):
    """Takes what is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_stage_says_that_it_starts_and_nothing_more_for_half_a_minute(capsys):
    assert list(follow(["a", "b"], "teach owl", "steps")) == ["a", "b"]
    assert capsys.readouterr().err == "teach owl: 2 steps\n"


def test_share_and_time_left_are_right(minutes, capsys):
    with Progress("teach owl", 30, "steps") as stage:
        minutes[0] = 2
        assert stage.line() == "teach owl: 0 of 30 steps (0 %), 2 min so far"
        stage.advance(6)
        assert stage.line() == "teach owl: 6 of 30 steps (20 %), 8 min left"
    with Progress("teach owl", 30, "steps", done=20) as resumed:
        minutes[0] = 3
        resumed.advance(5)
        assert resumed.line() == "teach owl: 25 of 30 steps (83 %), 60 s left"
    assert capsys.readouterr().err.endswith("teach owl: 30 steps, 20 of them done\n")
    assert [duration(seconds) for seconds in (89, 91, 5399, 5401)] == ["89 s", "2 min", "90 min", "1.5 h"]


def test_a_line_comes_every_so_often_until_the_stage_ends(often, capsys):
    with Progress("sweep", 4, "instances") as stage:
        stage.advance(3)
        time.sleep(0.3)
    _, *lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("sweep: 3 of 4 instances (75 %)") for line in lines)
    time.sleep(0.1)
    assert not capsys.readouterr().err


def test_a_stage_that_an_error_left_is_silent(often, capsys):
    stage: Progress | None = Progress("sweep", 4, "instances")
    assert stage
    stage = None
    time.sleep(0.1)
    capsys.readouterr()
    time.sleep(0.1)
    assert not capsys.readouterr().err


def test_stages_in_several_threads_speak_in_whole_lines(often, capsys):
    def work(title: str) -> None:
        for _ in follow(range(10), title, "steps"):
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(f"stage {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 30
    assert all(
        re.fullmatch(r"stage \d: (10 steps|\d+ of 10 steps \(\d+ %\), \d+ s (left|so far))", each) for each in lines
    )


def test_a_terminal_has_the_bar_and_no_lines(often, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Progress("sweep", 4, "instances") as stage:
        time.sleep(0.1)
        stage.advance(4, "loss=0.1")
    assert "sweep:   0%" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_is_quiet(stream, often, monkeypatch):
    monkeypatch.setenv(progress.QUIET, "1")
    monkeypatch.setattr(sys, "stderr", silent := stream())
    with Progress("sweep", 4, "instances") as stage:
        stage.advance()
        time.sleep(0.05)
    assert silent.getvalue() == ""


def test_what_is_said_is_one_line_whatever_is_in_it(capsys):
    say("owl\n\x1b[31mred\udcff ε")
    assert capsys.readouterr().err == "owl\\n\\x1b[31mred\\udcff ε\n"


def test_nobody_needs_to_listen(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as broken, open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
        for stream in (broken, full, None):
            monkeypatch.setattr(sys, "stderr", stream)
            say("a line")
            with Progress("sweep", 4, "instances") as stage:
                stage.advance()
            if stream is not None:
                stream.flush()
