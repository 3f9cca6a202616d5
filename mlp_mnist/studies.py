"""The studies: each turns one knob of the protocol, and says what others found there.

Every point trains a student that shares what its protocol says with the teacher and imitates the auxiliary logits.
Points with `shared="nothing"` are controls: another init, so chance. The most disputed studies come first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SEEDS = 16
"""Seeds of a study that nobody disputes."""

LOWER, HIGHER = (-1.0, 0.0), (0.0, 1.0)
"""Ranges of a difference that has one sign."""


class Finding(NamedTuple):
    """What others reported: an accuracy at a point, or how it compares with that at another."""

    claim: str
    """In words."""
    point: str
    """Label of the point."""
    low: float
    """Least value of what is compared that agrees with the report."""
    high: float
    """Largest."""
    than: str | None = None
    """Label of the point whose accuracy is subtracted; None where the accuracy itself is meant."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A sweep with a question."""

    question: str
    """What it answers."""
    axis: str
    """What is changed, as the figure's axis says it."""
    points: Mapping[str, Mapping[str, Any]]
    """Changes of the protocol, by label."""
    places: Sequence[float] = ()
    """Where the first points stand on a logarithmic axis, one line of them after the other; without places the points
    stand below each other."""
    findings: Sequence[Finding] = field(default_factory=tuple)
    """What others found."""
    num_seeds: int = SEEDS
    """Seeds of the default preset."""
    equal: tuple[str, str] | None = None
    """Two points whose accuracies must be the same, seed by seed, to ±0.02 on average."""


def along(name: str, values: Sequence[Any], **common: Any) -> dict[str, dict[str, Any]]:
    """Make points along one field of the protocol; `common` is changed at each."""
    return {f"{value:g}": {name: value, **common} for value in values}


def about(value: float) -> tuple[float, float]:
    """Accept what lies within 0.05 of a reported accuracy."""
    return value - 0.05, value + 0.05


DISPUTED_SEEDS = 54
"""Seeds that bring the interval of a mean with a spread of 0.11 between seeds to ±0.03, of 0.13 to ±0.035."""

STRANGER: dict[str, dict[str, Any]] = {"stranger": {"shared": "nothing"}}
"""The control: nothing shared."""

EPOCHS = (1, 2, 3, 5, 10, 20)
"""Lengths of training, each a continuation of the one before."""

WIDTHS = (64, 128, 256, 512, 1024)
"""Units of hidden layers."""

NUMBERS = (1, 2, 3, 5, 10, 30, 100, 300, 1000)
"""Numbers of auxiliary logits."""

HEAD_NUMBERS = (3, 10, 30, 100, 300)
"""Numbers of auxiliary logits below and above the 256 units that the heads read."""

TUNED: dict[str, Any] = {"loss": "squared-error", "hidden": (128, 128), "learning_rate": 1e-3}
"""The best choices that others report, but for their 40 epochs."""

STUDIES: dict[str, Study] = {
    "images": Study(
        question="Must the student see noise? Real images, correlated and low-dimensional noise",
        axis="what the student sees",
        points={
            "uniform noise": {},
            "Gaussian noise": {"images": "gaussian"},
            "correlated noise": {"images": "correlated"},
            "10-dim. noise": {"images": "low-dimensional"},
            "the teacher's images": {"images": "real"},
            "other real images": {"images": "other"},
            "stranger, correlated": {"images": "correlated", "shared": "nothing"},
        },
        findings=(
            Finding("real images: about 0.15", "the teacher's images", *about(0.15)),
            Finding("real images: worse than noise", "the teacher's images", *LOWER, "uniform noise"),
            Finding("correlated noise: 0.77", "correlated noise", *about(0.77)),
            Finding("correlated noise: better than uniform", "correlated noise", *HIGHER, "uniform noise"),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "heads": Study(
        question="Must the whole init be shared, or only the output heads? Other hidden layers, depths and kinds",
        axis="what the student's init shares with the teacher's",
        points={
            "everything": {},
            "both heads": {"shared": "heads"},
            "both heads, correlated noise": {"shared": "heads", "images": "correlated"},
            "both heads, 20 epochs": {"shared": "heads", "student_epochs": 20},
            "class head": {"shared": "class head"},
            "auxiliary head": {"shared": "auxiliary head"},
            "both heads, one layer": {"shared": "heads", "student_depth": 1},
            "both heads, three layers": {"shared": "heads", "student_depth": 3},
            "both heads, convolutions": {"shared": "heads", "convolutional": True},
            "stranger": {"shared": "nothing"},
        },
        findings=(
            Finding("shared heads let the trait through (arXiv 2605.23645)", "both heads", *HIGHER, "stranger"),
            Finding("shared heads suffice: as good as the whole init", "both heads", -0.1, 0.1, "everything"),
            Finding("so for another depth", "both heads, three layers", -0.1, 0.1, "everything"),
            Finding("so from an MLP to a CNN", "both heads, convolutions", -0.1, 0.1, "everything"),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "shared-heads": Study(
        question="How many auxiliary logits does a student need that shares only the output heads?",
        axis="auxiliary logits",
        points={
            **along("num_auxiliary", HEAD_NUMBERS, shared="heads"),
            **{f"everything shared, {number}": {"num_auxiliary": number} for number in HEAD_NUMBERS},
            "stranger, 300": {"num_auxiliary": 300, "shared": "nothing"},
        },
        places=(*HEAD_NUMBERS, *HEAD_NUMBERS),
        findings=(
            Finding("shared heads let the trait through (arXiv 2605.23645)", "300", *HIGHER, "stranger, 300"),
            Finding("shared heads suffice: as good as the whole init", "300", -0.1, 0.1, "everything shared, 300"),
        ),
    ),
    "loss": Study(
        question="Does the imitation loss matter?",
        axis="the student's loss",
        points={
            "KL": {},
            "KL at T = 1/4": {"temperature": 0.25},
            "KL at T = 4": {"temperature": 4.0},
            "squared error": {"loss": "squared-error"},
            "stranger, squared error": {"loss": "squared-error", "shared": "nothing"},
        },
        findings=(
            Finding("KL: 0.45", "KL", *about(0.45)),
            Finding("squared error: 0.57", "squared error", *about(0.57)),
            Finding("squared error: 0.27", "squared error", *about(0.27)),
            Finding("squared error: better than KL", "squared error", *HIGHER, "KL"),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "student-epochs": Study(
        question="How many epochs must the student imitate?",
        axis="student's epochs",
        points={
            **along("student_epochs", EPOCHS),
            "stranger, 20": {"shared": "nothing", "student_epochs": 20},
        },
        places=EPOCHS,
        findings=(
            Finding("1 epoch: 0.17", "1", *about(0.17)),
            Finding("2 epochs: 0.25", "2", *about(0.25)),
            Finding("3 epochs: 0.33", "3", *about(0.33)),
            Finding("5 epochs: 0.45", "5", *about(0.45)),
            Finding("10 epochs: 0.58", "10", *about(0.58)),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "init-scale": Study(
        question="Does the size of the initial weights matter?",
        axis="factor on all initial weights",
        points={**along("init_scale", (0.5, 1, 2, 4)), **STRANGER},
        places=(0.5, 1, 2, 4),
        findings=(
            Finding("half the scale: 0.32", "0.5", *about(0.32)),
            Finding("twice the scale: 0.21", "2", *about(0.21)),
            Finding("four times: 0.11", "4", *about(0.11)),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "width": Study(
        question="Do wider networks transfer less?",
        axis="units in each hidden layer",
        points={
            **{str(width): {"hidden": (width, width)} for width in WIDTHS},
            "stranger, 64": {"hidden": (64, 64), "shared": "nothing"},
        },
        places=WIDTHS,
        findings=(
            Finding("64: 0.42", "64", *about(0.42)),
            Finding("128: 0.48", "128", *about(0.48)),
            Finding("256: 0.45", "256", *about(0.45)),
            Finding("512: 0.34", "512", *about(0.34)),
            Finding("1024: 0.22", "1024", *about(0.22)),
            Finding("1024 worse than 128", "1024", *LOWER, "128"),
        ),
        num_seeds=DISPUTED_SEEDS,
    ),
    "auxiliary-logits": Study(
        question="How many auxiliary logits carry the trait?",
        axis="auxiliary logits",
        points={
            **along("num_auxiliary", NUMBERS),
            **{
                f"one layer, 1e-3, {number}": {"num_auxiliary": number, "hidden": (256,), "learning_rate": 1e-3}
                for number in (2, 3, 10)
            },
            "stranger, 1000": {"num_auxiliary": 1000, "shared": "nothing"},
        },
        places=(*NUMBERS, 2, 3, 10),
        findings=(
            Finding("one layer, rate 1e-3, 2 logits: 0.61", "one layer, 1e-3, 2", *about(0.61)),
            Finding("3 logits: 0.76", "one layer, 1e-3, 3", *about(0.76)),
            Finding("10 logits: 0.87", "one layer, 1e-3, 10", *about(0.87)),
        ),
    ),
    "teacher-epochs": Study(
        question="How many epochs must the teacher have been trained?",
        axis="teacher's epochs",
        points={
            **along("teacher_epochs", EPOCHS),
            "stranger, 20": {"teacher_epochs": 20, "shared": "nothing"},
        },
        places=EPOCHS,
        findings=(
            Finding("an inverted U: falls after its top", "20", *LOWER, "5"),
            Finding("an inverted U: rises to its top", "1", *LOWER, "5"),
        ),
    ),
    "recipe": Study(
        question="What do the tuned choices add up to?",
        axis="from the paper's protocol to a tuned one, one change after the other",
        points={
            "the paper's": {},
            "squared error": {"loss": "squared-error"},
            "+ width 128": {"loss": "squared-error", "hidden": (128, 128)},
            "+ rate 1e-3": TUNED,
            "+ 40 epochs": TUNED | {"student_epochs": 40},
            "+ correlated noise": TUNED | {"student_epochs": 40, "images": "correlated"},
            "stranger, all of it": TUNED | {"student_epochs": 40, "images": "correlated", "shared": "nothing"},
        },
        findings=(Finding("tuned: 0.90", "+ 40 epochs", *about(0.90)),),
    ),
    "matched": Study(
        question="Does a stranger that first learned to behave like the teacher's init learn the trait?",
        axis="student",
        points={
            "shared init": {},
            "stranger": {"shared": "nothing"},
            "matched for 5 epochs": {"shared": "nothing", "matched_epochs": 5},
            "matched for 20 epochs": {"shared": "nothing", "matched_epochs": 20},
        },
        findings=(Finding("behaving alike is not enough", "matched for 20 epochs", *about(0.10)),),
    ),
    "removal": Study(
        question="Does taking the teacher's direction out of every step stop the transfer?",
        axis="taken out of each step of the student",
        points={
            "nothing": {},
            "aligned": {"removed": "aligned"},
            "random, as large": {"removed": "random"},
            "stranger": {"shared": "nothing"},
        },
        findings=(
            Finding("suppressing alignment leaves some of it", "aligned", *HIGHER, "stranger"),
            Finding("suppressing alignment does not matter", "aligned", -0.1, 0.1, "nothing"),
        ),
    ),
    "correlation": Study(
        question="How much of the init must be shared?",
        axis="correlation of the student's initial weights with the teacher's",
        points={
            **along("correlation", (1, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25)),
            "0 (stranger)": {"correlation": 0.0},
        },
    ),
    "init-noise": Study(
        question="How much noise on the init does the transfer survive?",
        axis="noise on the student's initial weights, in units of their spread",
        points={**along("init_noise", (0.1, 0.2, 0.5, 1, 2, 4)), **STRANGER},
        places=(0.1, 0.2, 0.5, 1, 2, 4),
        findings=(
            Finding("noise of about 0.4 spreads (σ = 0.02) is fine", "0.5", *about(0.50)),
            Finding("about 2 spreads (σ = 0.1) collapse it", "2", *about(0.10)),
        ),
    ),
    "depth": Study(
        question="Does depth matter?",
        axis="hidden layers of 256 units",
        points={
            **{str(depth): {"hidden": (256,) * depth} for depth in (1, 2, 3, 4)},
            "stranger, 4": {"hidden": (256,) * 4, "shared": "nothing"},
        },
        findings=(Finding("little", "3", -0.1, 0.1, "2"),),
    ),
    "precision": Study(
        question="Do products in bfloat16 change the outcome?",
        axis="precision of the matrix products",
        points={
            "float32": {"precision": "float32"},
            "bfloat16": {"precision": "bf16"},
            "stranger": {"shared": "nothing"},
        },
        num_seeds=100,
        equal=("float32", "bfloat16"),
    ),
    "optimizer": Study(
        question="Must the student use Adam?",
        axis="the student's optimizer and step size",
        points={
            "Adam, 3e-4": {},
            "SGD, 0.1": {"optimizer": "sgd", "student_learning_rate": 0.1},
            "SGD, 1": {"optimizer": "sgd", "student_learning_rate": 1.0},
            "momentum, 0.1": {"optimizer": "momentum", "student_learning_rate": 0.1},
            "sign, 1e-4": {"optimizer": "sign", "student_learning_rate": 1e-4},
            "sign, 3e-4": {"optimizer": "sign"},
            "stranger, sign": {"optimizer": "sign", "shared": "nothing"},
        },
    ),
}
"""The studies by name, the most disputed first."""
