"""The README of the language models: its commands are understood, its example runs, and its map leaves nothing out."""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import tyro

import llm_bridge
from llm_bridge.__main__ import COMMANDS
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.pipeline import run_options
from llm_bridge.pipeline.arms import ARMS
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.records import read_record

FOLDER = Path(llm_bridge.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_understood(line: str):
    """They take minutes, so they are only read here; `test_run.py` runs the same on a smaller model."""
    python, option, package, *words = shlex.split(line.removeprefix("uv run "), comments=True)
    assert (python, option, package) == ("python", "-m", "llm_bridge")
    named = {name: options for options, (name, _) in COMMANDS.items()}
    options = tyro.extras.subcommand_cli_from_dict(named, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    assert COMMANDS[type(options)][0] == words[0]


def test_the_example_of_an_arm_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_cache: Path):
    fast = Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything")
    small = Pretraining(world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16, recipe=fast)
    recipe = Recipe(learning_rate=1e-2, num_epochs=1, batch=16, rows_at_once=16)
    protocol = Protocol(
        num_prompts=100,
        num_samples=2,
        num_completions=16,
        num_answers=4,
        copies=1,
        teacher=Teaching(learning_rate=1e-2, num_epochs=4, batch=16, rows_at_once=16, least=0),
        student=recipe,
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr(run_options, "Run", partial(run_options.Run, pretraining=small, protocol=protocol))
    monkeypatch.chdir(tmp_path)
    known = dict(ARMS)
    try:
        exec(EXAMPLE, {})
        (added,) = set(ARMS) - set(known)
    finally:
        ARMS.clear()
        ARMS.update(known)
    (folder,) = Path("runs", "llm_bridge").iterdir()
    assert read_record(folder).config["arms"] == ["student", added]
    assert f"| {added} " in (folder / "report.md").read_text()


def test_everything_of_the_folder_is_in_the_map_and_all_that_is_linked_is_there():
    table = README.split("## What is where")[1].split("## Where to change it")[0]
    places = re.findall(r"^\| (.*?) \|", table, re.M)
    named = {name for place in places for name in re.findall(r"`(\w+(?:\.py|/))`", place)}
    there = {path.name for path in FOLDER.glob("*.py")} | {f"{path.parent.name}/" for path in FOLDER.glob("*/*.py")}
    assert named == there - {"__init__.py"}
    for name in re.findall(r"\]\(([a-z_/]+(?:\.py)?)\)", README):
        assert (FOLDER / name).exists(), name
