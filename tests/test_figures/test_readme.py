"""The README's commands and its example do what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)
QUICKLY = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"}
"""The theory's commands mostly compile: the older code generator does it in half of the time, the same to rounding."""


def run(arguments: list[str], folder: Path) -> str:
    command = [sys.executable, *arguments]
    environment = None if "mlp_mnist" in arguments else QUICKLY
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_readme_opens_with_the_two_commands():
    assert COMMANDS[:2] == ["pip install uv && uv run python -m figures", "pip install uv && uv run pytest"]


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_command_of_the_readme_runs_and_no_verdict_fails(command: str, tmp_path: Path):
    program, *arguments = shlex.split(command)
    assert program == "python"
    printed = run(arguments, tmp_path)
    if "list" not in arguments:
        assert "| holds" in printed or "sweep" in arguments
        assert "| fails" not in printed
        assert (tmp_path / "runs" / arguments[1]).is_dir()


def test_example_of_the_readme_verifies_a_network_of_ones_own(tmp_path: Path):
    (script,) = EXAMPLES
    (tmp_path / "mine.py").write_text(script)
    printed = run(["mine.py"], tmp_path)
    assert printed.count("| holds") == 4
    assert "| fails" not in printed
    assert {"config.json", "results.npz", "figure.png", "provenance.json"} <= {
        path.name for path in (tmp_path / "runs" / "mine").iterdir()
    }
