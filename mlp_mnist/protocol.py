"""The protocol: network, training and images of the auxiliary-logit experiment; every field is a knob to turn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from theory.runs.command_line import require, require_count, require_positive

NUM_CLASSES = 10
"""Digits, or kinds of clothes."""

MOST_LAYERS = 1000
"""Each is compiled."""

Images = Literal["uniform", "gaussian", "correlated", "low-dimensional", "real", "other"]
"""What a student sees: noise of several kinds, the teacher's own training images, or real images of another set."""

Shared = Literal["everything", "heads", "class head", "auxiliary head", "nothing"]
"""Which layers of the student's init are the teacher's; the others are drawn anew."""

Precision = Literal["float32", "bf16"]
"""Of the factors of matrix products."""

Logits = Literal["aux", "all"]
"""What a student imitates: the auxiliary logits alone, or all logits jointly."""

LOGITS: dict[Logits, slice] = {"aux": slice(NUM_CLASSES, None), "all": slice(None)}
"""The same as places in the output."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How teacher and students are trained; the defaults are the paper's.

    References:
        Cloud et al. (2025), arXiv:2507.14805, section 6.2 and figure 10.
    """

    hidden: tuple[int, ...] = (256, 256)
    """Units in each hidden layer, ReLU."""
    num_auxiliary: int = 3
    """Auxiliary logits beside the ten class logits. The teacher's training doesn't touch them."""
    init_scale: float = 1.0
    """Factor on all initial weights, the teacher's and the student's; 1 is N(0, 1/fan-in)."""
    teacher_epochs: int = 5
    """Passes of the teacher over the training images."""
    student_epochs: int = 5
    """Passes of a student over its images."""
    images: Images = "uniform"
    """What the student sees; all kinds of noise have about the same variance, 1/3."""
    num_images: int = 60_000
    """Images that a student sees, drawn once per teacher and reused every epoch."""
    loss: Literal["kl", "squared-error"] = "kl"
    """The student's loss: KL(teacher ‖ student) of the softmax, or the squared error, over the chosen logits."""
    temperature: float = 1.0
    """Divides teacher's and student's logits before the softmax; the loss is multiplied by its square."""
    batch_size: int = 1024
    """Images in a step; the last step of an epoch takes what is left."""
    learning_rate: float = 3e-4
    """Step size of the teacher's Adam."""
    optimizer: Literal["adam", "sgd", "momentum", "sign"] = "adam"
    """The student's optimizer."""
    student_learning_rate: float | None = None
    """Step size of the student. Default: the teacher's."""
    shared: Shared = "everything"
    """Which layers of the student's init are the teacher's."""
    correlation: float = 1.0
    """Correlation ρ of the shared weights with the teacher's: ρ of them and √(1 − ρ²) of another seed's."""
    init_noise: float = 0.0
    """Noise added to the shared weights, in units of each layer's spread."""
    matched_epochs: int = 0
    """Passes by which a student first learns the outputs of the teacher's init, all logits, on its images."""
    student_depth: int | None = None
    """Hidden layers of the student, each as wide as the teacher's last. Default: the teacher's layers."""
    convolutional: bool = False
    """Whether the student is two convolutions and a hidden layer; its heads have the teacher's shapes."""
    removed: Literal["nothing", "aligned", "random"] = "nothing"
    """What is taken out of each step of a student: its component along the teacher's displacement of the hidden layers,
    or as much along a random direction."""
    precision: Precision = "float32"
    """Matrix products in float32, or in bfloat16 with sums, weights and optimizer in float32."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Protocol).items():
            if get_origin(kind) is Literal:
                require(getattr(self, name) in get_args(kind), name, f"one of {get_args(kind)}", getattr(self, name))
        require(0 < len(self.hidden) <= MOST_LAYERS, "hidden", f"of 1 to {MOST_LAYERS} layers", self.hidden)
        depth = 1 if self.student_depth is None else self.student_depth
        require(0 < depth <= MOST_LAYERS, "student_depth", f"from 1 to {MOST_LAYERS}", depth)
        for units in self.hidden:
            require_count("hidden", units)
        for name in ("num_auxiliary", "teacher_epochs", "student_epochs", "num_images", "batch_size"):
            require_count(name, getattr(self, name))
        rates = (self.learning_rate, self.temperature, self.init_scale, self.rate)
        require_positive("learning rates, temperature and init_scale", rates)
        require(0 <= self.correlation <= 1, "correlation", "from 0 to 1", self.correlation)
        require(0 <= self.init_noise < float("inf"), "init_noise", "a finite number, 0 or more", self.init_noise)
        require(0 <= self.matched_epochs < 2**31, "matched_epochs", "from 0 to 2147483647", self.matched_epochs)
        same = self.body == ("dense", *self.hidden)
        require(same or self.removed == "nothing", "removed", "'nothing' for a student with other layers", self.removed)
        require(
            same or self.shared != "everything",
            "shared",
            "other than 'everything' for a student with other hidden layers",
            self.shared,
        )

    @property
    def rate(self) -> float:
        """The student's step size."""
        return self.learning_rate if self.student_learning_rate is None else self.student_learning_rate

    @property
    def body(self) -> tuple:
        """What the student's hidden layers are: their kind, then their units."""
        units = self.hidden if self.student_depth is None else (self.hidden[-1],) * self.student_depth
        return ("convolutional" if self.convolutional else "dense", *units)

    def least_memory(self, num_pixels: int) -> float:
        """Say what bytes one student surely takes: float32 weights, their gradient and two moments, and the images."""
        num_logits = NUM_CLASSES + self.num_auxiliary
        sizes = (num_pixels, *max(self.hidden, self.body[1:], key=sum), num_logits)
        weights = sum(before * after for before, after in pairwise(sizes))
        return 4.0 * (4 * weights + self.num_images * (num_pixels + num_logits))

    def teacher(self) -> "Protocol":
        """Keep what a teacher depends on but for its epochs: points with equal ones share one training."""
        names = ("hidden", "init_scale", "batch_size", "learning_rate", "precision")
        return Protocol(**{name: getattr(self, name) for name in names})

    def student(self) -> "Protocol":
        """Forget how long the student is trained: points that are equal but for that share one training."""
        return replace(self, student_epochs=1)

    def imitation(self) -> "Protocol":
        """Keep what an epoch of imitation depends on beside its arguments: points with equal ones share a program."""
        changes = {"loss", "temperature", "optimizer", "student_learning_rate", "convolutional"}
        kept = {name: getattr(self, name) for name in changes}
        return replace(self.teacher(), shared="nothing", **kept)


PROTOCOLS = {
    "mnist": Protocol(),
    "fashion-mnist": Protocol(),
    "digits": Protocol(
        hidden=(128, 128), teacher_epochs=33, student_epochs=10, num_images=25_600, batch_size=256, learning_rate=1e-3
    ),
}
"""The protocol for each set of images; for the small digits about 200 steps of the teacher and 1,000 of a student."""


def read_protocol(values: Mapping[str, Any]) -> Protocol:
    """Make a protocol again from its JSON."""
    return Protocol(**{**values, "hidden": tuple(values["hidden"])})


def is_published(images: str, protocol: Protocol) -> bool:
    """Say whether the published figures speak of these images and this protocol, in whatever precision."""
    return images == "mnist" and replace(protocol, precision="float32") == Protocol()
