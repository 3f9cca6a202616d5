import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mlp_mnist import __main__ as command_line
from mlp_mnist import commands
from mlp_mnist.arms import Measured
from mlp_mnist.knobs import FLAGS
from mlp_mnist.protocol import PROTOCOLS, Protocol
from theory.runs.records import FILES


class End(NamedTuple):
    """How a command ended."""

    status: object
    stdout: str
    stderr: str


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    protocol = Protocol(hidden=(8,), teacher_epochs=1, student_epochs=1, num_images=200, batch_size=128)
    monkeypatch.setitem(PROTOCOLS, "digits", protocol)
    return protocol


@pytest.fixture
def call(
    small_digits: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., End]:
    """Call the command line from an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def called(*arguments: str) -> End:
        monkeypatch.setattr(sys, "argv", [str(command_line.__file__), *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        return End(ended.value.code, printed.out, printed.err)

    return called


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Have every run measure this accuracy of students of shared init and of strangers."""

    def replace(student: float, stranger: float) -> None:
        def run_seeds(points, arms, data, seed, num_seeds, other_images):
            noise = np.random.default_rng(seed).normal(0, 0.01, (len(points), num_seeds, 2))
            strange = [int(arm.init == "stranger") for arm in arms]
            accuracies = np.array([student, stranger])[strange] + noise[..., strange]
            reference, teacher = 0.1 + noise[..., 0], 0.95 + noise[..., 0]
            return Measured(reference, teacher, accuracies, accuracies - 0.1)

        monkeypatch.setattr(commands, "run_seeds", run_seeds)

    return replace


@pytest.fixture
def uncomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("nothing was to be computed")

    monkeypatch.setattr(commands, "run_seeds", refuse)


def assert_refused_in_one_line(end: End) -> None:
    assert end.status == 2
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
    assert end.stderr.endswith("\n")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("command", ["demo", "compare-inits"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--num-seeds", "0"], "num_seeds must be at least 1"),
        (["--num-seeds", "-3"], "num_seeds must be at least 1"),
        (["--num-seeds", "2.5"], "--num-seeds"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--seed", str(2**32)], "seed must be a whole number"),
        (["--data", "letters"], "--data"),
        (["--epochs", "3"], "--epochs"),
    ],
)
def test_bad_usage_is_refused_by_name_and_leaves_nothing(command, arguments, named, call, uncomputed):
    end = call(command, *arguments)
    assert end.status == 2
    assert named in " ".join(end.stderr.replace("│", " ").split())
    assert "Traceback" not in end.stderr
    assert list(Path.cwd().iterdir()) == []


def test_an_unknown_command_is_refused(call):
    assert call("learn").status == 2


def test_a_folder_without_the_files_is_refused(call, tmp_path, uncomputed):
    (tmp_path / "empty").mkdir()
    end = call("demo", "--data", "mnist", "--data-dir", str(tmp_path / "empty"))
    assert_refused_in_one_line(end)
    assert "--data-dir" in end.stderr
    assert "train-images-idx3-ubyte" in end.stderr


def test_a_script_that_is_not_there_is_refused_before_anything_is_timed(call, uncomputed):
    end = call("benchmark", "--data", "digits", "--against", "missing.py", "--against-seeds", "2")
    assert_refused_in_one_line(end)
    assert "missing.py" in end.stderr


def test_mnist_that_cannot_be_had_is_refused(call, uncomputed):
    assert_refused_in_one_line(call("demo", "--data", "mnist"))


def test_a_truncated_archive_is_refused_and_no_run_folder_is_left(call, folder, archives):
    path = folder / archives[0]
    path.write_bytes(path.read_bytes()[:-10])
    end = call("demo", "--data-dir", str(folder))
    assert_refused_in_one_line(end)
    assert str(path) in end.stderr


def test_an_output_that_is_a_file_is_refused_before_anything_is_computed(call, tmp_path, uncomputed):
    (tmp_path / "taken").write_text("mine")
    end = call("demo", "--data", "digits", "--output", str(tmp_path / "taken"))
    assert_refused_in_one_line(end)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_demo_is_recorded_whole_then_skipped_then_refused_to_another(call, small_digits, tmp_path, monkeypatch):
    output = tmp_path / "record"
    arguments = ["demo", "--data", "digits", "--num-seeds", "1", "--output", str(output)]
    first = call(*arguments)
    assert (first.status, first.stderr) == (0, "")
    assert "recorded in" in first.stdout
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    assert (output / "table.md").read_text().split("\n\n")[0] in first.stdout
    config = json.loads((output / "config.json").read_text())
    protocol = json.loads(json.dumps(asdict(small_digits)))
    assert config == {
        "command": "mlp_mnist demo",
        "data": "digits",
        "seed": 0,
        "num_seeds": 1,
        "protocol": protocol,
    }
    provenance = json.loads((output / "provenance.json").read_text())
    assert provenance["precision"] == "float32"
    assert provenance["data"] == "data: scikit-learn's digits (--data digits)"
    assert provenance["command"].startswith("python -m mlp_mnist demo --data digits")
    with np.load(output / "results.npz") as results:
        assert results["accuracy/teacher"].shape == (1,)
        assert results["cosine/student (aux)"].shape == (1,)
        assert results["cosine/student (aux)"] > 0.1

    def refuse(*arguments: object) -> None:
        raise AssertionError("nothing was to be computed")

    monkeypatch.setattr(commands, "run_seeds", refuse)
    contents = {name: (output / name).read_bytes() for name in FILES}
    skipped = call(*arguments)
    assert (skipped.status, skipped.stderr) == (0, "")
    assert f"skipped: {output} is already recorded, at commit {provenance['commit']}" in skipped.stdout
    other = call("demo", "--data", "digits", "--num-seeds", "2", "--output", str(output))
    assert_refused_in_one_line(other)
    assert "another configuration" in other.stderr
    assert {path.name: path.read_bytes() for path in output.iterdir()} == contents


def test_a_fresh_run_writes_the_same_bytes_again(call, measure, tmp_path):
    measure(0.6, 0.1)
    arguments = ["compare-inits", "--data", "digits", "--num-seeds", "6", "--output", str(tmp_path / "record")]
    call(*arguments)
    contents = {name: (tmp_path / "record" / name).read_bytes() for name in FILES}
    (tmp_path / "record" / "table.md").write_text("damaged")
    assert "skipped" not in call(*arguments, "--fresh").stdout
    for name in set(FILES) - {"provenance.json"}:
        assert (tmp_path / "record" / name).read_bytes() == contents[name], name


@pytest.mark.parametrize("command", ["demo", "compare-inits"])
def test_the_exit_status_is_one_if_and_only_if_a_verdict_fails(command, call, measure, tmp_path):
    arguments = [command, "--data", "digits", "--num-seeds", "6"]
    measure(0.6, 0.1)
    assert call(*arguments, "--output", str(tmp_path / "good")).status == 0
    measure(0.6, 0.3)
    for _ in ("computed", "skipped"):
        assert call(*arguments, "--output", str(tmp_path / "bad")).status == 1
    verdicts = json.loads((tmp_path / "bad" / "verdicts.json").read_text())
    assert "fails" in [verdict["verdict"] for verdict in verdicts]


def test_runs_go_to_a_folder_named_after_command_and_configuration(call, measure):
    measure(0.6, 0.1)
    for arguments in (["demo"], ["demo", "--seed", "1"], ["compare-inits"]):
        call(*arguments, "--data", "digits")
    names = sorted(path.name for path in Path("runs", "mlp_mnist").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["compare-inits", "demo", "demo"]
    assert all(len(name.rpartition("-")[2]) == 8 for name in names)


def test_auto_without_mnist_says_that_it_settles_for_digits(call, measure):
    measure(0.6, 0.1)
    end = call("demo", "--num-seeds", "6")
    assert end.status == 0
    assert end.stdout.startswith("data: scikit-learn's digits, as MNIST is not in the cache")
    assert "paper" not in end.stdout


def test_a_demo_on_mnist_shows_the_published_figures_and_judges_the_replication(call, measure, folder):
    measure(0.6, 0.1)
    end = call("demo", "--data-dir", str(folder), "--num-seeds", "10")
    assert end.status == 1
    assert "paper (N = 100)" in end.stdout
    assert "replication" in end.stdout


@pytest.mark.parametrize("knob", [["--student.epochs", "2"], ["--hidden", "64", "64"]])
def test_the_published_figures_speak_of_no_other_protocol(knob, call, measure, folder):
    measure(0.6, 0.1)
    end = call("demo", "--data-dir", str(folder), "--num-seeds", "10", *knob)
    assert end.status == 0
    assert "paper" not in end.stdout
    assert "replication" not in end.stdout


def test_a_demo_is_recorded_by_the_knobs_that_were_turned(call, measure, small_digits, tmp_path):
    measure(0.6, 0.1)
    knobs = [
        "--student.learning-rate",
        "0.01",
        "--student.convolutional",
        "--student.shared",
        "heads",
        "--batch-size",
        "9",
    ]
    call("demo", "--data", "digits", "--num-seeds", "6", "--output", str(tmp_path / "out"), *knobs)
    changes = {"student_learning_rate": 0.01, "convolutional": True, "shared": "heads", "batch_size": 9}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["protocol"] == json.loads(json.dumps(asdict(small_digits))) | changes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["demo", "--student.epochs", "0"], "--student.epochs: student_epochs must be at least 1"),
        (["demo", "--student.convolutional"], "--student.shared: shared must be other than 'everything'"),
        (["compare-inits", "--student.shared", "heads"], "--student.shared can't be used here"),
        (["theory", "--student.removed", "aligned"], "--student.removed can't be used here"),
        (["theory", "--num-auxiliary", "3"], "--num-auxiliary can't be used here: --numbers says"),
        (["theory", "--hidden", "2000000", "2000000"], "take a smaller network or fewer images"),
        (["study", "depth", "width", "--hidden", "64"], "--hidden can't be used here: the study depth varies it"),
        (["study", "heads", "--student.shared", "heads"], "--student.shared can't be used here"),
    ],
)
def test_a_knob_that_makes_no_sense_is_refused_by_its_flag(arguments, named, call, uncomputed):
    end = call(*arguments, "--data", "digits")
    assert_refused_in_one_line(end)
    assert named in end.stderr


def test_the_help_of_a_knob_is_what_stands_under_its_field(call):
    shown = " ".join(call("demo", "--help").stdout.replace("│", " ").split())
    assert "--student.learning-rate FLOAT Step size of the student. Default: the teacher's." in shown
    assert "--teacher.epochs INT Passes of the teacher over the training images. (default: 5; digits:" in shown
    assert all(f"--{flag} " in shown for flag in FLAGS.values())
    assert "None}" not in shown.split("--hidden")[1]


def test_the_help_needs_neither_jax_nor_pictures():
    heavy = ["jax", "matplotlib", "scipy", "sklearn", "flax", "pooch"]
    program = f"import sys, mlp_mnist.__main__; print(*(name for name in {heavy} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == []


def test_help_names_commands_and_fields(call):
    end = call("--help")
    assert end.status == 0
    assert "demo" in end.stdout
    assert "compare-inits" in end.stdout
    assert "--num-seeds" in call("demo", "--help").stdout
