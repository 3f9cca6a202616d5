"""The README of the language models: its commands are understood, and its map leaves nothing out."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

import llm_bridge
from llm_bridge.__main__ import COMMANDS

FOLDER = Path(llm_bridge.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_understood(line: str):
    """They take minutes, so they are only read here; `test_run.py` runs one, and the example, on a smaller model."""
    python, option, package, *words = shlex.split(re.sub(r"^uv run (--extra \w+ )?", "", line), comments=True)
    assert (python, option, package) == ("python", "-m", "llm_bridge")
    named = {name: options for options, (name, _) in COMMANDS.items()}
    options = tyro.extras.subcommand_cli_from_dict(named, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    assert COMMANDS[type(options)][0] == words[0]


def test_everything_of_the_folder_is_in_the_map_and_all_that_is_linked_is_there():
    table = README.split("## What is where")[1].split("## Where to change it")[0]
    places = re.findall(r"^\| (.*?) \|", table, re.M)
    named = {name for place in places for name in re.findall(r"`(\w+(?:\.py|/))`", place)}
    there = {path.name for path in FOLDER.glob("*.py")} | {f"{path.parent.name}/" for path in FOLDER.glob("*/*.py")}
    assert named == there - {"__init__.py"}
    for name in re.findall(r"\]\(([a-z_/]+(?:\.py)?)\)", README):
        assert (FOLDER / name).exists(), name
