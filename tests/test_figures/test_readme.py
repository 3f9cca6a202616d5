"""The README's commands and its example do what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from llm_bridge.__main__ import COMMANDS as LANGUAGE_COMMANDS

CONFIG = (tyro.conf.FlagCreatePairsOff,)
"""How every command line here is read."""

QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""As `conftest.py` sets it."""

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)
AS_USERS = os.environ | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace(QUICKLY, "").strip()}
"""Without what makes tests compile fast: what trains is faster without."""


@pytest.fixture(scope="module")
def as_users(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same, where what one command has compiled the next one needn't: their trainings are alike."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return AS_USERS | cache


def run(arguments: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, *arguments]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_readme_opens_with_the_two_commands():
    assert COMMANDS[:2] == ["pip install uv && uv run python -m figures", "pip install uv && uv run pytest"]


@pytest.mark.parametrize("command", [command for command in COMMANDS[2:] if "llm_bridge" not in command])
def test_command_of_the_readme_runs_and_no_verdict_fails(command: str, tmp_path: Path, as_users: dict[str, str]):
    program, *arguments = shlex.split(command)
    assert program == "python"
    printed = run(arguments, tmp_path, as_users if "mlp_mnist" in arguments else None)
    if "list" not in arguments:
        assert "| holds" in printed or "sweep" in arguments
        assert "| fails" not in printed
        assert (tmp_path / "runs" / arguments[1]).is_dir()


@pytest.mark.parametrize("command", [command for command in COMMANDS[2:] if "llm_bridge" in command])
def test_command_for_the_language_model_is_understood(command: str):
    """They take minutes, so they are only read here; `test_run.py` runs the same on a smaller model."""
    program, *arguments = shlex.split(command)
    assert [program, *arguments[:2]] == ["python", "-m", "llm_bridge"]
    named = {name: options for options, (name, _) in LANGUAGE_COMMANDS.items()}
    options = tyro.extras.subcommand_cli_from_dict(named, args=arguments[2:], config=CONFIG)
    assert LANGUAGE_COMMANDS[type(options)][0] == arguments[2]


def test_example_of_the_readme_verifies_a_network_of_ones_own(tmp_path: Path):
    script, *_ = EXAMPLES
    (tmp_path / "mine.py").write_text(script)
    printed = run(["mine.py"], tmp_path)
    assert printed.count("| holds") == 6
    assert "| fails" not in printed
    assert {"config.json", "results.npz", "figure.png", "provenance.json"} <= {
        path.name for path in (tmp_path / "runs" / "mine").iterdir()
    }
