"""How a command ends, whatever its terminal can show or take, whoever interrupts it, and what is not installed."""

import io
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from theory.runs import startup
from theory.runs.command_line import InputError, exit_status
from theory.runs.progress import QUIET
from theory.runs.startup import INTERRUPTED

ROOT = Path(startup.__file__).parents[2]

TABLE = "| measured | ε‖Δ_T‖² × ½ |\n"

INTERRUPTING = """
import gc, os, signal, sys, time

def interrupt(phase, info):
    if "tyro" in sys.modules:
        gc.callbacks.remove(interrupt)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            time.sleep(0.01)

gc.callbacks.append(interrupt)
"""
"""Presses Ctrl-C within a callback of the garbage collector, where JAX has one of its own."""


def write(size: int = 1) -> Callable[[], bool]:
    """A command that passes, and writes a table."""

    def run() -> bool:
        print(TABLE * size)
        return True

    return run


def start(*words: str, **more: object) -> subprocess.Popen[str]:
    options: dict = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([sys.executable, *words], **options)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_table_is_written_in_any_encoding(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert exit_status(write()) == 0
    text = stream.buffer.getvalue().decode(encoding)
    assert "measured" in text
    assert ("\\u03b5" if encoding != "utf-8" else "ε") in text


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_full_device_is_one_line_and_status_2(size, monkeypatch, capsys):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert exit_status(write(size)) == 2
    error = "error: can't write to standard output (No space left on device): send it elsewhere\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_reader_that_leaves_ends_a_command_quietly_and_as_no_failed_verdict(size, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert exit_status(write(size)) == 141
    assert capsys.readouterr().err == ""


def test_an_error_that_is_not_of_the_output_stays_one(capsys):
    def run() -> bool:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        exit_status(run)


def test_bad_input_is_one_line_whatever_a_file_is_called(capsys):
    def run() -> bool:
        raise InputError("can't read a\nb\x1b[2J")

    assert exit_status(run) == 2
    assert capsys.readouterr().err == "error: can't read a\\nb\\x1b[2J\n"


@pytest.mark.parametrize("package", startup.COMMANDS)
def test_a_forgotten_uv_run_is_one_line_that_says_so(package):
    process = start("-S", "-m", package, "--output", "a b")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("error: ")
    assert errors.endswith(f" has no jax: put `uv run` in front, as in uv run python -S -m {package} --output 'a b'\n")
    assert errors.count("\n") == 1


def test_every_dependency_is_looked_for():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {name.partition(">=")[0].replace("scikit-learn", "sklearn") for name in dependencies}
    assert names == set(startup.NEEDED)


def test_a_program_that_imports_the_package_keeps_its_own_ctrl_c():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not startup.is_command()


def test_ctrl_c_in_a_callback_that_loses_errors_ends_the_command(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    process = start("-m", "theory", "list", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, f"{INTERRUPTED}\n")


def test_ctrl_c_ends_a_command_at_once_with_its_workers_and_in_one_line(tmp_path):
    heard = os.environ | {QUIET: ""}
    process = start("-m", "theory", "verify", "null-space", "many-steps", "--output", str(tmp_path / "run"), env=heard)
    assert process.stderr
    assert process.stderr.readline() == "verify: 2 parts\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    while len(workers) < 2:
        workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 130
    assert errors.endswith(f"{INTERRUPTED}\n")
    assert "Traceback" not in errors
    assert psutil.wait_procs(workers, timeout=5)[1] == []
