import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from mlp_mnist.knobs import FLAGS, turn, turned
from mlp_mnist.protocol import PROTOCOLS, Protocol, is_published, read_protocol

CHANGES: dict[str, Any] = {
    "hidden": (8, 256),
    "num_auxiliary": 5,
    "init_scale": 2.0,
    "teacher_epochs": 1,
    "student_epochs": 1,
    "images": "gaussian",
    "num_images": 100,
    "loss": "squared-error",
    "temperature": 2.0,
    "batch_size": 10,
    "learning_rate": 0.1,
    "optimizer": "sgd",
    "student_learning_rate": 0.2,
    "shared": "nothing",
    "correlation": 0.5,
    "init_noise": 0.1,
    "matched_epochs": 1,
    "student_depth": 3,
    "convolutional": True,
    "removed": "random",
    "precision": "bf16",
}
"""Another value of every field."""

COUNTED = ("num_auxiliary", "teacher_epochs", "student_epochs", "matched_epochs", "num_images", "batch_size")
"""Fields that hold a number of things."""

TEACHERS = {"hidden", "init_scale", "batch_size", "learning_rate", "precision"}
"""What a teacher depends on, but for its epochs."""

IMITATIONS = {*TEACHERS, "loss", "temperature", "optimizer", "student_learning_rate", "convolutional"}
"""What is written into the program of an epoch of imitation, or harmlessly beside it."""


def changed(name: str) -> Protocol:
    return replace(Protocol(shared="heads"), **{name: CHANGES[name]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden must be of 1 to 1000 layers"),
        ({"hidden": (16, 0)}, "hidden must be at least 1"),
        ({"teacher_epochs": 0}, "epochs must be at least 1"),
        ({"student_epochs": 0}, "epochs must be at least 1"),
        ({"num_images": 0}, "num_images must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        *[({name: 10**399}, f"{name} must be") for name in COUNTED],
        ({"hidden": (2**31,)}, "hidden must be"),
        ({"hidden": (8,) * 1001}, "hidden must be of 1 to 1000 layers"),
        ({"num_auxiliary": 0}, "num_auxiliary must be at least 1"),
        ({"learning_rate": 0.0}, "learning rates.* must be finite numbers above zero"),
        ({"student_learning_rate": 0.0}, "learning rates.* must be finite numbers above zero"),
        ({"learning_rate": float("nan")}, "learning rates.* must be finite numbers above zero"),
        ({"temperature": -1.0}, "temperature.* must be finite numbers above zero"),
        ({"init_scale": float("inf")}, "init_scale must be finite numbers above zero"),
        ({"correlation": 1.1}, "correlation must be from 0 to 1"),
        ({"correlation": -0.1}, "correlation must be from 0 to 1"),
        ({"correlation": float("nan")}, "correlation must be from 0 to 1"),
        ({"init_noise": -0.1}, "init_noise must be a finite number, 0 or more"),
        ({"init_noise": float("inf")}, "init_noise must be a finite number, 0 or more"),
        ({"init_noise": float("nan")}, "init_noise must be a finite number, 0 or more"),
        ({"matched_epochs": -1}, "matched_epochs must be from 0 to"),
        ({"student_depth": 3}, "shared must be other than 'everything' for a student with other hidden layers"),
        ({"convolutional": True}, "shared must be other than 'everything' for a student with other hidden layers"),
        ({"student_depth": 0, "shared": "heads"}, "student_depth must be from 1 to 1000"),
        ({"student_depth": -1, "shared": "heads"}, "student_depth must be from 1 to 1000"),
        ({"images": "fractal"}, r"images must be one of \('uniform', .*\)"),
        ({"loss": "l1"}, "loss must be one of .*"),
        ({"optimizer": "lion"}, "optimizer must be one of .*"),
        ({"shared": "all"}, "shared must be one of .*"),
        ({"removed": "all"}, "removed must be one of .*"),
        ({"precision": "float16"}, "precision must be one of .*"),
    ],
)
def test_a_protocol_out_of_range_is_refused_by_the_name_of_its_field(changes, message):
    with pytest.raises(ValueError, match=f"^.*{message}.*, not "):
        Protocol(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_auxiliary": 1},
        {"correlation": 0.0},
        {"student_depth": 2},
        {"student_depth": 1, "shared": "class head"},
        {"hidden": (64, 32), "student_depth": 1, "shared": "nothing"},
        {"convolutional": True, "shared": "auxiliary head"},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(changes):
    Protocol(**changes)


def test_a_student_learns_at_the_teachers_rate_unless_told_otherwise():
    assert Protocol(learning_rate=0.1).rate == 0.1
    assert Protocol(learning_rate=0.1, student_learning_rate=0.2).rate == 0.2


def test_a_deeper_student_is_as_wide_as_its_teacher_at_its_end():
    assert Protocol(hidden=(64, 32)).body == ("dense", 64, 32)
    assert Protocol(hidden=(64, 32), student_depth=3, shared="heads").body == ("dense", 32, 32, 32)
    assert Protocol(hidden=(64, 32), convolutional=True, shared="heads").body == ("convolutional", 64, 32)


def test_every_field_has_another_value_here():
    assert list(CHANGES) == [field.name for field in fields(Protocol)]
    assert all(changed(name) != Protocol(shared="heads") for name in CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_something_depends_on_tells_its_reduced_protocols_apart(name):
    usual, other = Protocol(shared="heads"), changed(name)
    assert (other.teacher() != usual.teacher()) == (name in TEACHERS)
    assert (other.imitation() != usual.imitation()) == (name in IMITATIONS)
    assert (other.student() != usual.student()) == (name != "student_epochs")


@pytest.mark.parametrize("name", ["teacher", "student", "imitation"])
def test_reducing_twice_is_reducing_once(name):
    for protocol in (*PROTOCOLS.values(), *map(changed, CHANGES)):
        reduced = getattr(protocol, name)()
        assert getattr(reduced, name)() == reduced
        assert reduced.teacher() == protocol.teacher()


def test_the_protocol_of_mnist_is_the_papers():
    paper = PROTOCOLS["mnist"]
    assert (paper.hidden, paper.num_auxiliary, paper.num_images) == ((256, 256), 3, 60_000)
    assert (paper.teacher_epochs, paper.student_epochs, paper.batch_size) == (5, 5, 1024)
    assert (paper.learning_rate, paper.rate, paper.optimizer) == (3e-4, 3e-4, "adam")
    assert (paper.images, paper.loss, paper.temperature, paper.shared) == ("uniform", "kl", 1.0, "everything")


def test_the_least_memory_is_that_of_four_copies_of_the_weights_and_of_the_images():
    protocol = Protocol(hidden=(5, 7), num_auxiliary=2, num_images=100)
    assert protocol.least_memory(3) == 4 * (4 * (3 * 5 + 5 * 7 + 7 * 12) + 100 * (3 + 12))
    deep = Protocol(hidden=(5, 7), num_auxiliary=2, num_images=100, student_depth=3, shared="heads")
    assert deep.least_memory(3) == 4 * (4 * (3 * 7 + 7 * 7 + 7 * 7 + 7 * 12) + 100 * (3 + 12))


def test_every_field_but_the_precision_is_a_knob_whose_flag_says_whose_it_is():
    assert list(FLAGS) == [name for name in CHANGES if name != "precision"]
    assert FLAGS["hidden"] == "hidden"
    assert FLAGS["learning_rate"] == "teacher.learning-rate"
    assert FLAGS["student_learning_rate"] == "student.learning-rate"
    assert FLAGS["teacher_epochs"] == "teacher.epochs"
    assert FLAGS["init_noise"] == "student.init-noise"
    assert len(set(FLAGS.values())) == len(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_a_turned_knob_is_the_one_field_that_changes(name):
    assert turned(turn()) == {}
    assert turned(turn(**{name: CHANGES[name]})) == {name: CHANGES[name]}


def test_a_protocol_is_read_back_from_its_json():
    for protocol in PROTOCOLS.values():
        assert read_protocol(json.loads(json.dumps(asdict(protocol)))) == protocol


def test_the_published_protocol_is_that_of_mnist_in_any_precision():
    assert is_published("mnist", Protocol(precision="bf16"))
    assert not is_published("fashion-mnist", Protocol())
    assert not is_published("mnist", Protocol(student_epochs=6))
