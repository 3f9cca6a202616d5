"""The command line: bad input in one line, help that names every option, and exit statuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from llm_bridge import __main__ as command_line
from llm_bridge.backends.bases import OnBases
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import TINY, Tiny
from llm_bridge.experiment.writing import Completion
from llm_bridge.files.lineage import Origin, data_digest, write_sidecar
from llm_bridge.model.costs import Device
from llm_bridge.pipeline import options as stage_options
from llm_bridge.pipeline import plan, run
from llm_bridge.pipeline.stages import UNKNOWN
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World

TOLD = Pretraining(world=World(num_chats=835))
READER = find_backend(TINY, TOLD).reader()


class End(NamedTuple):
    """How a command ended."""

    status: object
    stdout: str
    stderr: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., End]:
    """Call the command line from an empty folder; models read and write as tiny ones, and none is made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    monkeypatch.setattr(Tiny, "reader", lambda _: READER)
    monkeypatch.setattr(stage_options, "load_model", lambda *_: pytest.fail("a model was made"))
    for owner, name in ((OnBases, "bases"), (run, "run_seed")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("something was done"))

    def called(*arguments: str) -> End:
        monkeypatch.setattr(sys, "argv", [str(command_line.__file__), *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return End(ended.value.code, printed.out, printed.err)

    return called


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["teach", "--trait", "owll"], "can't say 'owll'; nearest: owl"),
        (["run", "--trait", "dolfin"], "can't say 'dolfin'; nearest: dolphin"),
        (["run", "--arms", "students"], "nearest: student"),
        (["run", "--model", "large"], "say tiny"),
        (["run", "--model", "large.safetensors"], "say tiny"),
        (["run", "--stranger", "a/b"], "--stranger goes with"),
        (["run", "--teaching", "prompting"], "soft-numbers, soft-everything, cross-soft-everything: a student can't"),
        (["filter", "--data", "../empty.jsonl"], "empty.jsonl has no rows"),
        (["filter", "--data", "../malformed.jsonl"], "malformed.jsonl, line 2: not JSON"),
        (["run", "--completions", "../malformed.jsonl"], "malformed.jsonl, line 2: not JSON"),
        (["train", "--data", "../missing.jsonl"], "can't read ../missing.jsonl"),
        (["export", "../missing"], "can't read ../missing (No such file"),
        (["train", "--imitated", "numbers"], "--teacher goes with"),
        (["run", "--model", "tiny", "--tensor", "2"], "--tensor"),
        (["teach", "--model", "tiny", "--tensor", "2"], "--tensor"),
        (["complete", "--tensor", "2"], "--tensor"),
        (["train", "--data", "../malformed.jsonl", "--tensor", "2"], "--tensor"),
        (["ask", "--tensor", "2"], "--tensor"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(call, tmp_path, arguments, named):
    (tmp_path / "empty.jsonl").touch()
    row = json.dumps(Completion("", "", [], 0.0)._asdict())
    (tmp_path / "malformed.jsonl").write_text(f"{row}\n{row[:-1]}\n")
    end = call(*arguments)
    assert end.status == 2
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
    assert named in end.stderr
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["complete", "--num-prompts", "0"], "num_prompts must be at least 1"),
        (["complete", "--num-prompts", str(10**399)], "num_prompts must be at least 1, at most 2147483647"),
        (["complete", "--num-prompts", "2000000000"], "2000000000 completions don't fit in memory"),
        (["complete", "--num-tokens", "2147483647", "--num-samples", "9"], "completions don't fit in memory"),
        (["ask", "--num-answers", "2000000000"], "take fewer or shorter ones: 201 GiB needed"),
        (["run", "--num-prompts", "2000000000"], "don't fit in memory"),
        (["run", "--num-seeds", "1" * 400], "num_seeds must be at least 1, at most"),
        (["complete", "--temperature", "nan"], "temperature must be"),
        (["ask", "--num-answers", "-1"], "num_answers must be"),
        (["teach", "--learning-rate", "inf"], "learning_rate must be"),
        (["train", "--batch", "7"], "batch must be a multiple"),
        (["run", "--seed", "-1"], "seed must be a whole number"),
        (["run", "--num-seeds", "0"], "num_seeds must be at least 1"),
        (["train", "--imitated", "words"], "--imitated"),
        (["export", "data.jsonl", "--license", "MIT License"], "license must be such as mit"),
        (["train", "--log", "paper"], "--log"),
        (["ponder"], "ponder"),
    ],
)
def test_bad_usage_is_refused_by_name(call, arguments, named):
    end = call(*arguments)
    assert end.status == 2
    assert named in " ".join(end.stderr.replace("│", " ").split())
    assert "Traceback" not in end.stderr
    assert not list(Path.cwd().iterdir())


def test_every_command_has_help_that_names_its_options(call):
    for name in ("run", "pretrain", "teach", "complete", "filter", "train", "ask", "lineage", "matrix", "judge"):
        end = call(name, "--help")
        assert end.status == 0
        assert "--seed" in end.stdout
        assert "pretraining" not in end.stdout


def test_a_dry_run_prints_stages_tokens_time_and_memory_and_does_nothing(call, monkeypatch):
    monkeypatch.setattr(plan, "time_device", lambda *_: Device(peak=1e9, bandwidth=1e9))
    once, thrice, fewer = (
        call("run", "--dry-run", *more) for more in ((), ("--num-seeds", "3"), ("--arms", "student", "control"))
    )
    assert (once.status, once.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in once.stdout.splitlines() if "|" in line]
    assert [row[0] for row in rows[2:]] == ["teach", "complete", "train", "ask", "ask after numbers", "ask in context"]
    assert rows[3][1:5] == ["2", "220,000", "374,000", ""]
    assert "at 0.001 TFLOP/s and passes over memory at 1 GB/s" in once.stdout
    assert "6" in thrice.stdout.splitlines()[3].split("|")[2]
    assert "in context" not in fewer.stdout
    assert not list(Path.cwd().iterdir())


def test_data_of_an_unknown_model_are_said_to_be_so(call, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n")
    write_sidecar(path, Origin(writer=UNKNOWN, system_prompt=None, sampling={}, data=data_digest(path)))
    said = f"{path} was written by an unknown model: whether it is a relative of tiny is open.\n"
    assert call("lineage", "--data", str(path)) == (0, said, "")


def test_the_program_exits_with_a_status_and_one_line():
    command = [sys.executable, "-m", "llm_bridge", "lineage", "--data", "no"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: no.origin.json is missing")
    assert ended.stderr.count("\n") == 1
