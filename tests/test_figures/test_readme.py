"""The README's commands and its example do what it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""As `conftest.py` sets it."""

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
RUNNING = [command for command in COMMANDS[2:] if "llm_bridge" not in command]
"""Those that are run here."""
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)
AS_USERS = os.environ | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace(QUICKLY, "").strip()}
"""Without what makes tests compile fast: what trains is faster without."""


ONE_AFTER_ANOTHER = """
import json, runpy, sys
from contextlib import redirect_stdout
from io import StringIO

printed = []
for words in json.loads(sys.argv[1]):
    with redirect_stdout(StringIO()) as stream:
        try:
            if words[0] == "-c":
                exec(words[1], {})
            elif words[0] == "-m":
                sys.argv = words[1:]
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                sys.argv = words
                runpy.run_path(words[0], run_name="__main__")
            status = 0
        except SystemExit as ended:
            status = ended.code
    printed.append([status, stream.getvalue()])
print(json.dumps(printed))
"""
"""Runs Python's command lines in one process, where libraries are loaded and programs compiled once for all of them."""


FASTER = """
from dataclasses import replace
from mlp_mnist.protocol import PROTOCOLS

PROTOCOLS["digits"] = replace(PROTOCOLS["digits"], num_images=6400)
"""
"""A quarter of the student's images and steps: whether students learn that much is asked of the first command alone."""


def run(folder: Path, commands: list[list[str]], environment: dict[str, str]) -> list[str]:
    """Run commands in a folder, and give what each has printed."""
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(commands)]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    statuses, printed = zip(*json.loads(finished.stdout), strict=True)
    assert set(statuses) == {0}, finished.stderr
    return list(printed)


class Ran(NamedTuple):
    """What the README's commands have done."""

    folder: Path
    printed: dict[str, str]
    """By command, and that of the example under its name."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "mine.py").write_text(EXAMPLES[0])
    mlp, theory = ([command for command in RUNNING if ("mlp_mnist" in command) == trains] for trains in (True, False))
    faster, printed = f"python -c {shlex.quote(FASTER)}", {}
    for commands, environment in (
        ([*theory, "python mine.py"], os.environ),
        ([mlp[0], faster, *mlp[1:]], AS_USERS),
    ):
        words = [shlex.split(command)[1:] for command in commands]
        printed |= zip(commands, run(folder, words, dict(environment)), strict=True)
    return Ran(folder, printed)


def test_readme_opens_with_the_two_commands():
    assert COMMANDS[:2] == ["pip install uv && uv run python -m figures", "pip install uv && uv run pytest"]


@pytest.mark.parametrize("command", RUNNING)
def test_command_of_the_readme_runs_and_no_verdict_fails(command: str, ran: Ran):
    program, *arguments = shlex.split(command)
    assert program == "python"
    printed = ran.printed[command]
    if "list" not in arguments:
        assert "checks hold, every control flips, none fails" in printed or "sweep" in arguments
        assert "FAIL" not in printed
        assert (ran.folder / "runs" / arguments[1]).is_dir()


def test_every_command_that_writes_has_a_folder_of_its_own(ran: Ran):
    written = [command for command in RUNNING if "list" not in command]
    assert len(list(ran.folder.glob("runs/*/*/provenance.json"))) == len(written)


def test_example_of_the_readme_verifies_a_network_of_ones_own(ran: Ran):
    printed = ran.printed["python mine.py"]
    assert printed.count("| holds") == 6
    assert "| fails" not in printed
    assert {"config.json", "results.npz", "figure.png", "provenance.json"} <= {
        path.name for path in (ran.folder / "runs" / "mine").iterdir()
    }
