"""Logs of trainings: what a table, TensorBoard and Weights & Biases are told, and that nothing is unless asked."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.files import training_log
from llm_bridge.files.training_log import LogTo, TrainingLog, logged
from llm_bridge.model.finetuning import Training
from llm_bridge.pipeline import commands
from llm_bridge.pipeline.options import Pretrain
from llm_bridge.pipeline.run_options import Run, settings_of
from llm_bridge.store import TrainingState
from llm_bridge.tiny import pretraining
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.runs.command_line import InputError

Told = list[tuple[Any, ...]]


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "training.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["training", "step", "name", "value"]
    return rows


def train(folder: Path, log: LogTo | None, *, first: int = 0) -> None:
    """A teacher's and a student's losses, the teacher's anew from some step."""
    with logged(log, folder):
        teacher, student = TrainingLog(folder / "teacher.safetensors", first), TrainingLog(folder / "a, b" / "student")
        teacher.add(3, np.array([4.0, 2.0, 1.0])[first:])
        student.add(1, np.array([0.1]))
        teacher.close()
        student.close()


def test_losses_go_to_a_table_by_training_and_step(tmp_path):
    train(tmp_path, "csv")
    expected = [["teacher", "1", "loss", "4.0"], ["teacher", "2", "loss", "2.0"], ["teacher", "3", "loss", "1.0"]]
    assert rows_of(tmp_path) == [*expected, ["a, b/student", "1", "loss", "0.1"]]


@pytest.mark.parametrize("first", [0, 1])
def test_a_training_that_goes_on_or_begins_anew_leaves_no_step_twice(tmp_path, first):
    train(tmp_path, "csv")
    before = rows_of(tmp_path)
    with logged("csv", tmp_path):
        TrainingLog(tmp_path / "unfinished").add(1, np.ones(1))
    train(tmp_path, "csv", first=first)
    assert sorted(rows_of(tmp_path)) == sorted([*before, ["unfinished", "1", "loss", "1.0"]])


def test_nothing_is_logged_without_being_asked(tmp_path):
    train(tmp_path, None)
    with logged("csv", tmp_path):
        pass
    train(tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_the_log_makes_no_other_run():
    assert settings_of(Run(log="wandb"), ("student",)) == settings_of(Run(), ("student",))


@pytest.mark.parametrize("content", ["mine\n", "training,step,name,value\nteacher,one,loss,1\n", "a\n\n", "\x00"])
def test_a_table_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "training.csv").write_text(content)
    with pytest.raises(InputError, match=r"training\.csv is no log of trainings"):
        train(tmp_path, "csv")
    assert (tmp_path / "training.csv").read_text() == content


def test_tensorboard_gets_a_folder_a_training_and_is_told_where_it_goes_on(tmp_path, monkeypatch):
    told: Told = []

    class Writer:
        def __init__(self, folder: str, purge_step: int):
            self.name = str(Path(folder).relative_to(tmp_path))
            told.append((self.name, purge_step))

        def add_scalar(self, *values: Any) -> None:
            told.append((self.name, *values))

        def close(self) -> None:
            told.append((self.name, "closed"))

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    train(tmp_path, "tensorboard", first=2)
    teacher, student = "tensorboard/teacher", "tensorboard/a, b/student"
    assert told[:3] == [(teacher, 3), (student, 1), (teacher, "loss", 1.0, 3)]
    assert told[3:] == [(student, "loss", 0.1, 1), (teacher, "closed"), (student, "closed")]


def stand_in_for_wandb(monkeypatch: pytest.MonkeyPatch, error: str = "") -> Told:
    told: Told = []

    class Error(Exception):
        pass

    def init(*, name: str, mode: str, **others: Any) -> SimpleNamespace:
        if error:
            raise Error(error)
        told.append((name, mode, others["project"], others["group"]))
        return SimpleNamespace(
            log=lambda values, step: told.append((name, values, step)), finish=lambda: told.append((name, "finished"))
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Error=Error))
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    return told


def test_weights_and_biases_get_a_run_a_training_and_are_offline_without_a_key(tmp_path, monkeypatch):
    told, folder = stand_in_for_wandb(monkeypatch), tmp_path / "owl"
    train(folder, "wandb", first=2)
    begun = [(name, "offline", "subliminal-learning", "owl") for name in ("teacher", "a, b/student")]
    assert told[:2] == begun
    assert told[2:4] == [("teacher", {"loss": 1.0}, 3), ("a, b/student", {"loss": 0.1}, 1)]
    monkeypatch.setenv("WANDB_API_KEY", "key")
    train(folder, "wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(folder, "wandb")
    assert [mode for name, mode, *_ in told if name == "teacher" and isinstance(mode, str) and mode != "finished"] == [
        "offline",
        "online",
        "disabled",
    ]


def test_what_weights_and_biases_refuse_is_told_in_a_line(tmp_path, monkeypatch):
    stand_in_for_wandb(monkeypatch, "no key\nsay wandb login")
    with pytest.raises(InputError, match="--log wandb: no key say wandb login; or set WANDB_MODE=offline"):
        train(tmp_path, "wandb")


@pytest.mark.parametrize(
    ("log", "module"), [("tensorboard", "tensorboardX or torch.utils.tensorboard"), ("wandb",) * 2]
)
def test_a_library_that_is_missing_is_missed_before_anything_is_trained(log, module, tmp_path, monkeypatch):
    for name in ("tensorboardX", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"--log {log} needs {module}: install it"), logged(log, tmp_path):
        pytest.fail("something was trained")


def test_a_training_that_is_kept_is_logged_from_where_it_goes_on(tmp_path):
    started = Training(jnp.array(0), {"one": jnp.zeros(1)}, ())
    with logged("csv", tmp_path):
        state = TrainingState(tmp_path / "part", made=tmp_path / "teacher.safetensors")
        state.resume(started, 5)
        state.keep(started._replace(step=jnp.array(2)), np.array([4.0, 3.0]))
        with (tmp_path / "training.csv").open("a") as file:
            file.write("teacher,3,loss,9.0\n")
        again = TrainingState(tmp_path / "part", made=tmp_path / "teacher.safetensors")
        assert again.resume(started, 5).step == 2
        again.keep(started._replace(step=jnp.array(3)), np.array([2.0]))
        again.forget()
    assert [row[1::2] for row in rows_of(tmp_path)] == [["1", "4.0"], ["2", "3.0"], ["3", "2.0"]]


def test_pretraining_is_logged_beside_the_base(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fine_tune(config: Any, recipe: Any, params: Any, lesson: Any, *, seed: int, after: Any) -> Any:
        after(Training(jnp.array(2), params, ()), np.array([4.0, 3.0]))
        return params

    monkeypatch.setattr(pretraining, "fine_tune", fine_tune)
    small = Pretraining(world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16)
    assert commands.pretrain(Pretrain(pretraining=small, log="csv"))
    path = Path(capsys.readouterr().out.split(": ")[1].strip())
    assert rows_of(path.parent) == [[path.stem, "1", "loss", "4.0"], [path.stem, "2", "loss", "3.0"]]


def test_a_log_that_cannot_be_written_any_more_ends_in_a_line(tmp_path, monkeypatch):
    def write(step: int, values: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(training_log.OPEN, "csv", lambda *_: (write, lambda: None))
    with pytest.raises(InputError, match=r"can't write the log \(No space left on device\)"):
        train(tmp_path, "csv")
