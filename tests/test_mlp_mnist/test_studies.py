import errno
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from mlp_mnist import sweeps
from mlp_mnist.data import Source
from mlp_mnist.knobs import nearest, parse, turn
from mlp_mnist.options import StudyOptions, SweepOptions
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.studies import STUDIES
from mlp_mnist.study_pictures import split_lines
from mlp_mnist.study_verdicts import is_chance
from mlp_mnist.sweeps import run_field_sweep, run_studies
from theory.runs.command_line import InputError
from theory.runs.records import read_record


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(
        PROTOCOLS, "digits", Protocol(hidden=(8,), teacher_epochs=1, student_epochs=1, num_images=200, batch_size=128)
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_a_valid_sweep_with_a_control(name):
    study = STUDIES[name]
    points = {label: replace(PROTOCOLS["mnist"], **changes) for label, changes in study.points.items()}
    assert len(set(points.values())) == len(points)
    assert len(study.places) <= len(points)
    assert any(map(is_chance, points.values()))
    for finding in study.findings:
        assert finding.point in points
        assert finding.than is None or finding.than in points
        assert finding.low < finding.high
    assert study.equal is None or set(study.equal) <= set(points)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.places])
def test_every_point_but_the_strangers_has_a_place_on_a_rising_line(name):
    study = STUDIES[name]
    unplaced = list(study.points)[len(study.places) :]
    assert all(study.points[label].get("shared") == "nothing" for label in unplaced)
    lines = split_lines(study.places, study.points)
    assert [label for line in lines for _, label in line] == list(study.points)[: len(study.places)]
    for line in lines:
        places = [place for place, _ in line]
        assert places == sorted(set(places))
    assert len(lines) == (2 if name in {"auxiliary-logits", "shared-heads"} else 1)


def test_the_help_lists_every_study_in_their_order():
    listed = [line[2:].split(":")[0] for line in (StudyOptions.__doc__ or "").splitlines() if line.startswith("- ")]
    assert listed == list(STUDIES)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown study 'imags': did you mean images"):
        run_studies(StudyOptions(names=("imags",), data="digits"))
    with pytest.raises(InputError, match="unknown field 'student_epoch': did you mean student_epochs"):
        parse("student_epoch", "1")
    with pytest.raises(InputError, match=r"unknown field 'student\.epoch': did you mean student\.epochs"):
        parse("student.epoch", "1")
    with pytest.raises(InputError, match="there are a, b"):
        nearest("xyz", ["a", "b"], "letter")
    with pytest.raises(InputError, match="name a study, or all"):
        run_studies(StudyOptions(names=(), data="digits"))


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("hidden", "64,32", (64, 32)),
        ("student_epochs", "3", 3),
        ("temperature", "0.5", 0.5),
        ("convolutional", "true", True),
        ("student_learning_rate", "0.1", 0.1),
        ("student_depth", "2", 2),
        ("loss", "kl", "kl"),
        ("student.learning-rate", "0.1", 0.1),
        ("teacher.learning-rate", "1e-3", 1e-3),
        ("--teacher.epochs", "3", 3),
        ("precision", "bf16", "bf16"),
    ],
)
def test_values_are_read_as_their_field_wants_them(field, text, value):
    assert parse(field, text) == value
    assert type(parse(field, text)) is type(value)


def test_every_field_can_be_read_from_what_its_default_prints():
    for field in fields(Protocol):
        default = getattr(Protocol(), field.name)
        if default is not None:
            text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
            assert parse(field.name, text) == default


@pytest.mark.parametrize(("field", "text"), [("student_epochs", "2.5"), ("hidden", "a"), ("convolutional", "yes")])
def test_values_of_another_type_are_refused_by_the_name_of_the_field(field, text):
    with pytest.raises(InputError, match=f"{field} can't be '{text}'"):
        parse(field, text)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ((), "give --vary once or twice"),
        ((("loss",),), "a field, then its values"),
        ((("loss", "kl", "hinge"),), "loss must be one of"),
        ((("loss", "kl", "kl"), ("loss", "kl", "kl")), "vary different fields"),
        ((("loss", "kl", "kl"), ("student.loss", "kl", "kl")), "vary different fields"),
        ((("num_auxiliary", *map(str, range(2, 200))),), "at most 100 points"),
        ((("hidden", "99999999999", "64"),), "hidden must be at least 1, at most 2147483647"),
        ((("hidden", "2000000,2000000", "64"),), r"take a smaller network or fewer images: 5.96e\+04 GiB needed"),
        ((("student_epochs", "9" * 400, "1"),), "student_epochs must be at least 1, at most 2147483647"),
        ((("num_images", "2000000000", "64"),), "fewer images: 574 GiB needed"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(small_digits, vary, message):
    with pytest.raises(InputError, match=message):
        run_field_sweep(SweepOptions(data="digits", vary=vary, num_seeds=1))
    assert not Path("runs").exists()


def test_a_sweep_over_two_fields_records_every_pair_and_a_stranger(small_digits):
    vary = (("num_auxiliary", "1", "3"), ("loss", "kl", "squared-error"))
    assert run_field_sweep(SweepOptions(data="digits", vary=vary, num_seeds=2, output=Path("out")))
    record = read_record(Path("out"))
    accuracies = [name for name in record.results if name.startswith("accuracy/")]
    assert len(accuracies) == 5
    assert "accuracy/num_auxiliary = 3, loss = kl" in accuracies
    assert "accuracy/stranger" in accuracies
    unmoved = record.results["accuracy/num_auxiliary = 1, loss = kl"] - record.results["reference/stranger"]
    np.testing.assert_array_equal(unmoved, 0)


def test_points_say_their_field_as_it_was_named_and_the_knobs_are_turned_at_each(small_digits):
    vary = (("student.learning-rate", "0.001", "0.01"),)
    options = SweepOptions(
        data="digits", vary=vary, num_seeds=1, output=Path("out"), knobs=turn(loss="squared-error", teacher_epochs=2)
    )
    run_field_sweep(options)
    config = read_record(Path("out")).config
    assert list(config["points"]) == ["student.learning-rate = 0.001", "student.learning-rate = 0.01", "stranger"]
    assert [point["student_learning_rate"] for point in config["points"].values()] == [0.001, 0.01, None]
    assert {(point["loss"], point["teacher_epochs"]) for point in config["points"].values()} == {("squared-error", 2)}
    assert config["axis"] == "student.learning-rate"
    assert config["places"] == [0.001, 0.01]


def test_what_is_varied_can_not_be_set_too(small_digits):
    vary = (("loss", "kl", "squared-error"),)
    with pytest.raises(InputError, match=r"--student\.loss is varied: leave it out"):
        run_field_sweep(SweepOptions(data="digits", vary=vary, knobs=turn(loss="kl")))


def test_others_findings_are_judged_beside_their_own_protocol_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(sweeps, "run_sweep", lambda *arguments: asked.append(arguments) or True)
    monkeypatch.setattr(StudyOptions, "source", lambda self: Source("mnist", None, ""))
    for knobs in (turn(), turn(teacher_epochs=6)):
        run_studies(StudyOptions(names=("width",), knobs=knobs))
    (published, turned) = ([point.teacher_epochs for point in arguments[3].values()] for arguments in asked)
    assert (set(published), set(turned)) == ({5}, {6})
    assert [len(arguments[6]) > 0 for arguments in asked] == [True, False]
    assert asked[1][5]["findings"] == []


def test_a_full_disk_ends_a_run_in_one_line(small_digits, monkeypatch):
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        run_field_sweep(SweepOptions(data="digits", vary=(("num_auxiliary", "1", "3"),), num_seeds=2))


def test_an_unfinished_run_of_another_configuration_is_refused(small_digits, monkeypatch):
    def options(*values: str) -> SweepOptions:
        return SweepOptions(data="digits", vary=(("num_auxiliary", *values),), num_seeds=2, output=Path("out"))

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mlp_mnist.sweeps.judge_sweep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_field_sweep(options("1", "3"))
    with pytest.raises(InputError, match="unfinished run of another configuration"):
        run_field_sweep(options("1", "2"))
    assert run_field_sweep(options("1", "3"))
    assert not (Path("out") / "chunks").exists()


def test_a_finished_study_of_which_others_now_say_something_else_is_judged_again_from_its_numbers(
    small_digits, monkeypatch, tmp_path
):
    options = StudyOptions(names=("depth",), data="digits", num_seeds=2, output=tmp_path / "out")
    assert run_studies(options)
    before = read_record(tmp_path / "out")
    monkeypatch.setattr(sweeps, "run_seeds", lambda *_: pytest.fail("a study that is recorded was run again"))
    study = replace(STUDIES["depth"], question="Does it still?")
    monkeypatch.setitem(STUDIES, "depth", study)
    assert run_studies(options)
    after = read_record(tmp_path / "out")
    assert after.config == before.config | {"question": "Does it still?"}
    assert before.provenance["commit"] in after.provenance["numbers_from"]
    for name, values in before.results.items():
        np.testing.assert_array_equal(values, after.results[name])
    assert run_studies(options), "and then it is finished"
    changed = {label: {**changes, "student_epochs": 2} for label, changes in study.points.items()}
    monkeypatch.setitem(STUDIES, "depth", replace(study, points=changed))
    with pytest.raises(InputError, match="another configuration"):
        run_studies(options)
