"""The commit of a record is that of the code that ran: known where git tracks it, and unknown anywhere else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from theory.runs import provenance

OUTPUT = Path("nowhere")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "All.")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def copy_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the source tree be a copy in this folder."""
    (folder / "theory" / "runs").mkdir(parents=True)
    shutil.copy(provenance.__file__, folder / "theory" / "runs")
    monkeypatch.setattr(provenance, "SOURCE", folder)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A clean checkout of the source tree and its commit."""
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    folder = copy_to(tmp_path / "checkout", monkeypatch)
    return folder, commit_all(folder)


def test_a_clean_checkout_is_its_commit_and_the_output_is_no_change(checkout):
    folder, commit = checkout
    assert provenance.current_commit(OUTPUT) == commit
    (folder / "mine").mkdir()
    (folder / "mine" / "table.md").touch()
    assert provenance.current_commit(folder / "mine") == commit


@pytest.mark.parametrize("changed", ["theory/runs/provenance.py", "notes.txt"])
def test_a_change_outside_the_output_is_a_plus(checkout, changed):
    folder, commit = checkout
    with (folder / changed).open("a") as file:
        file.write("# changed\n")
    assert provenance.current_commit(folder / "mine") == f"{commit}+"


def test_a_shallow_clone_knows_its_commit(checkout, tmp_path, monkeypatch):
    folder, first = checkout
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "Nothing.")
    git(tmp_path, "clone", "--quiet", "--depth=1", folder.as_uri(), "shallow")
    monkeypatch.setattr(provenance, "SOURCE", tmp_path / "shallow")
    commit = git(folder, "rev-parse", "--short=12", "HEAD")
    assert provenance.current_commit(OUTPUT) == commit != first


@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "not ignored"])
def test_an_environment_in_another_repository_is_no_commit_of_that(tmp_path, monkeypatch, ignored):
    (tmp_path / "other.py").write_text("print()\n")
    (tmp_path / ".gitignore").write_text(".venv/\n" * ignored)
    commit_all(tmp_path)
    copy_to(tmp_path / ".venv" / "lib" / "site-packages", monkeypatch)
    assert provenance.current_commit(OUTPUT) == "unknown"


def test_a_folder_that_is_no_repository_and_a_machine_without_git_have_no_commit(checkout, tmp_path, monkeypatch):
    assert provenance.current_commit(OUTPUT) != "unknown"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert provenance.current_commit(OUTPUT) == "unknown"
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    copy_to(tmp_path / "plain", monkeypatch)
    assert provenance.current_commit(OUTPUT) == "unknown"
