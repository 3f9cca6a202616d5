"""The README of this folder shows the committed records, its commands are understood, and its example runs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

from mlp_mnist import __main__ as command_line
from mlp_mnist import readme
from mlp_mnist.knobs import turned
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.studies import STUDIES
from theory.runs.pages import Gallery
from theory.runs.records import read_record

PAGE = Path(readme.__file__).with_name("README.md")
README = PAGE.read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_another_record_makes_another_table(monkeypatch):
    record = readme.GALLERY.record("demo")
    teacher = record.results["accuracy/teacher"] + 0.001
    changed = record._replace(results=record.results | {"accuracy/teacher": teacher})
    monkeypatch.setattr(Gallery, "record", lambda gallery, name: changed)
    assert readme.arms() not in README


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command, monkeypatch):
    asked: dict[str, Any] = {}
    monkeypatch.setattr(command_line, "run_commands", lambda package, commands: asked.update(commands))
    command_line.main()
    python, option, package, name, *words = shlex.split(command)
    assert (python, option, package) == ("python", "-m", "mlp_mnist")
    kind: Any
    (kind,) = (kind for kind, (named, _) in asked.items() if named == name)
    options: Any = tyro.cli(kind, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    if "--student.epochs" in words:
        assert turned(options.knobs) == {
            "hidden": (128, 128), "teacher_epochs": 2, "student_epochs": 10, "student_learning_rate": 1e-3
        }  # fmt: skip


def test_the_example_runs_a_study_of_its_own(monkeypatch, tmp_path: Path):
    small = Protocol(hidden=(8,), teacher_epochs=1, student_epochs=1, num_images=200, batch_size=128)
    monkeypatch.setitem(PROTOCOLS, "digits", small)
    monkeypatch.chdir(tmp_path)
    known = dict(STUDIES)
    try:
        exec(EXAMPLE, {})
        (added,) = set(STUDIES) - set(known)
    finally:
        STUDIES.clear()
        STUDIES.update(known)
    (folder,) = Path("runs", "mlp_mnist").iterdir()
    record = read_record(folder)
    assert record.config["study"] == added
    assert list(record.config["points"]) == ["64", "128", "256", "stranger"]


def test_every_file_of_the_folder_is_in_the_map():
    named = set(re.findall(r"`(\w+\.py)`", README.split("## What is where")[1]))
    assert named == {path.name for path in PAGE.parent.glob("*.py")} - {"__init__.py"}
