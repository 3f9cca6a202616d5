"""Every command of all packages: what each takes, and outputs that are refused before the work, in one line."""

import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import figures.__main__
import llm_bridge.__main__
import mlp_mnist.__main__
import theory.__main__
from figures import runs
from figures.exhibits import SCRIPT
from figures.runs import Ended, run_together
from mlp_mnist.data import resolve
from theory.runs.command_line import InputError, require_writable, run_commands
from theory.runs.progress import QUIET

MAINS = {"theory": theory.__main__, "mlp_mnist": mlp_mnist.__main__, "llm_bridge": llm_bridge.__main__}
MAINS |= {"figures": figures.__main__}

NEEDED = {"audit": ["data.jsonl"], "judge": ["--judge", "tiny"], "lineage": ["--data", "data.jsonl"], "study": ["all"]}
NEEDED |= {"export": ["data.jsonl"]}
"""What a command can't do without."""


class Command(NamedTuple):
    """A command of a package."""

    package: str
    kind: type
    name: str
    default: Any

    def __call__(self, *words: str, run: Callable[[Any], bool]) -> object:
        """Call it as its package does, with its work replaced."""
        defaults = {} if self.default is None else {self.kind: self.default}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [self.package, *NEEDED.get(self.name, []), *words])
            with pytest.raises(SystemExit) as ended:
                run_commands(self.package, {self.kind: (self.name, run)}, defaults)
        return ended.value.code


def list_commands() -> list[Command]:
    found: list[Command] = []

    def note(
        package: str, commands: Mapping[type, tuple[str, Any]], defaults: Mapping[type, Any] | None = None
    ) -> None:
        found.extend(Command(package, kind, name, (defaults or {}).get(kind)) for kind, (name, _) in commands.items())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command"])
        for module in MAINS.values():
            patch.setattr(module, "run_commands", note)
            module.main()
    return found


COMMANDS = list_commands()
WRITING = [command for command in COMMANDS if "output" in command.kind.__dataclass_fields__]
of_each = partial(pytest.mark.parametrize, "command", ids=lambda command: f"{command.package}-{command.name}")

PLACES = {
    "empty": "",
    "a name that is too long": "x" * 300,
    "a name that leaves no room for what is added while it is unfinished": "x" * 250,
    "a name that is too long in a new folder": f"new/{'x' * 300}",
    "a link to itself": "loop/run",
    "a link to nothing": "dangling",
    "below a file": "file/run",
    "a folder that takes nothing": "/proc/run",
    "a pipe": "pipe",
    "a device": "/dev/null",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what people name by mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(QUIET, "")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    Path("file").write_text("mine")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    return tmp_path


def never(options: Any) -> bool:
    raise AssertionError("the work was begun")


def test_every_package_has_commands_and_most_write():
    assert {command.package for command in COMMANDS} == set(MAINS)
    assert {command.name for command in COMMANDS} - {command.name for command in WRITING} == {
        "list",
        "pretrain",
        "lineage",
    }


@of_each(WRITING)
@pytest.mark.parametrize("place", PLACES)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(place, command, here, capsys):
    before = sorted(here.iterdir())
    assert command("--output", PLACES[place], run=never) == 2
    errors = capsys.readouterr().err
    assert "can't write" in errors or "can't be empty" in errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1 or place == "empty"
    assert sorted(here.iterdir()) == before


@of_each(WRITING)
def test_a_file_in_place_of_a_folder_or_the_other_way_round_is_refused(command, capsys):
    folder = getattr(command.kind, "writes_folder", False) is True
    assert command("--output", "file" if folder else "folder", run=never) == 2
    assert f"what is there is {'a file' if folder else 'a folder'}" in capsys.readouterr().err
    assert command("--output", "folder" if folder else "file", run=lambda options: True) == 0
    assert Path("file").read_text() == "mine"


@of_each(WRITING)
def test_an_output_in_new_folders_is_no_fault_and_makes_none(command, here):
    assert command("--output", "new/and/deep/run", run=lambda options: True) == 0
    assert not (here / "new").exists()


@pytest.mark.parametrize("name", ["teach", "train"])
def test_what_a_published_model_becomes_is_a_folder(name, capsys):
    (command,) = (each for each in COMMANDS if each.name == name)
    assert command("--model", "owner/name", "--output", "file", run=never) == 2
    assert command("--model", "owner/name", "--output", "folder", run=lambda options: True) == 0


def test_a_link_to_a_file_may_be_replaced_and_a_full_name_of_a_folder_may_be_long():
    Path("link").symlink_to("file")
    require_writable(Path("link"), folder=False)
    Path("y" * 255).mkdir()
    require_writable(Path("y" * 255), folder=True)


def test_the_option_that_names_the_place_is_named():
    with pytest.raises(InputError, match="choose another --data"):
        require_writable(Path("pipe"), folder=False, option="--data")


@of_each(COMMANDS)
def test_every_command_says_its_version(command, capsys):
    assert command("--version", run=never) == 0
    assert capsys.readouterr().out.startswith("subliminal-learning 0.")


@of_each(COMMANDS)
def test_every_command_can_be_told_to_be_quiet_and_says_so(command, capsys):
    assert command("--quiet", run=lambda options: os.environ[QUIET] == "1") == 0
    assert command("--help", run=never) == 0
    assert "--quiet" in capsys.readouterr().out


@pytest.mark.parametrize("colors", [True, False])
def test_no_color_means_none(colors, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "" if colors else "1")
    assert COMMANDS[0]("--help", run=never) == 0
    assert ("\x1b[" in terminal.getvalue()) == colors


def alone(program: str) -> Ended:
    (ended,) = run_together({"program": ["-c", program]}, at_once=1)
    return ended


def test_a_command_of_the_figures_leaves_ctrl_c_to_them_and_writes_utf_8(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    program = f"import os; print(os.getpgrp() == os.getpid() != {os.getpgrp()}, 'ε')"
    assert alone(program) == ("program", 0, "True ε\n")


def test_commands_run_beside_each_other_and_what_they_say_is_passed_on(tmp_path, capfd):
    """Each waits for the other's sign, which would never come if they ran one after the other."""
    meet = "import sys, pathlib, time; mine, other = map(pathlib.Path, sys.argv[1:]); mine.touch()\n"
    meet += "while not other.exists(): time.sleep(0.01)\nprint('met'); print('said', mine.name, file=sys.stderr)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    commands = {"one": ["-c", meet, one, two], "two": ["-c", meet, two, one], "bad": ["-c", "raise SystemExit(3)"]}
    ended = list(run_together(commands, at_once=2))
    assert sorted(ended) == [("bad", 3, ""), ("one", 0, "met\n"), ("two", 0, "met\n")]
    captured = capfd.readouterr()
    assert sorted(captured.err.splitlines()) == ["said one", "said two"]
    steps = [line.split(": ")[0] for line in captured.out.splitlines() if line.startswith("step")]
    assert steps == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]


def test_who_leaves_early_ends_what_is_under_way_and_what_that_has_started(tmp_path):
    inner = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'late')!r}).touch()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    for ended in run_together({"long": ["-c", outer], "short": ["-c", ""]}, at_once=2):
        assert ended.name == "short"
        break
    time.sleep(4)
    assert not (tmp_path / "late").exists()


def test_the_quick_preset_begins_with_what_has_a_picture_soon(monkeypatch, capsys):
    started = []

    def run(commands, at_once):
        started.extend(commands)
        assert at_once in (1, 2)
        return [Ended(name, 0, "done\n") for name in commands]

    monkeypatch.setattr(runs, "run_together", run)
    monkeypatch.setattr(runs, "read_record", lambda place: place)
    records = runs.run_exhibits(figures.__main__.Figures(), Path("runs"), resolve("digits"))
    assert started == list(runs.QUICK)
    assert list(records) == [each.folder for each in runs.EXHIBITS if each.folder in runs.QUICK]
    assert capsys.readouterr().out == "  done\n" * len(started)


def test_a_command_that_dies_is_no_failing_verdict(monkeypatch):
    monkeypatch.setattr(runs, "run_together", lambda commands, at_once: [Ended(name, 1, "") for name in commands])
    with pytest.raises(InputError, match="theory verify ended with exit status 1"):
        runs.run_exhibits(figures.__main__.Figures(full=True), Path(figures.__path__[0]), resolve("digits"))


def test_a_figure_whose_extra_is_missing_is_shown_as_recorded_or_left_out_in_a_line(monkeypatch, capsys, tmp_path):
    gallery = Path(figures.__path__[0])
    needing = tuple(each for each in runs.EXHIBITS if each.needs)
    monkeypatch.setattr(runs, "EXHIBITS", needing)
    monkeypatch.setattr(runs, "find_spec", lambda module: None)
    options, source = figures.__main__.Figures(full=True), resolve("digits")
    (tmp_path / needing[0].folder / "chunks").mkdir(parents=True)
    assert runs.run_exhibits(options, tmp_path, source) == {}
    assert set(runs.run_exhibits(options, gallery, source)) == {each.folder for each in needing}
    lines = [f"{each.folder} needs {each.needs}" for each in needing]
    expected = [f"{line}: {said}" for said in ("left out", "as it is recorded") for line in lines]
    assert capsys.readouterr().out.splitlines() == expected


def test_a_figure_that_needs_a_file_of_others_is_made_where_it_is_and_else_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    needing = tuple(each for each in runs.EXHIBITS if each.file)
    assert [each.folder for each in needing] == ["mlp-mnist-benchmark"]
    monkeypatch.setattr(runs, "EXHIBITS", needing)
    options, source, started = figures.__main__.Figures(full=True), resolve("digits"), []
    assert runs.run_exhibits(options, tmp_path, source) == {}
    assert capsys.readouterr().out == f"mlp-mnist-benchmark needs the file {SCRIPT}: left out\n"
    Path(SCRIPT).parent.mkdir()
    Path(SCRIPT).touch()
    monkeypatch.setattr(runs, "run_together", lambda commands, at_once: started.append(commands) or [])
    runs.run_exhibits(options, tmp_path, source)
    words = " ".join(started[0]["mlp-mnist-benchmark"])
    assert f"--epochs 1 --against {SCRIPT} --against-seeds 10 --data digits" in words


@pytest.mark.parametrize("package", MAINS)
def test_help_waits_for_neither_pictures_nor_statistics(package):
    program = f"import sys, {package}.__main__; print({{'matplotlib', 'scipy.stats', 'sklearn'}} & {{*sys.modules}})"
    assert alone(program) == ("program", 0, "set()\n")
