"""What each command can be told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from mlp_mnist.data import DataName, Source, resolve
from mlp_mnist.knobs import Knobs, changed, turned
from mlp_mnist.protocol import PROTOCOLS, Precision, Protocol
from mlp_mnist.studies import STUDIES
from theory.runs.command_line import RunOptions, require, require_count, require_seeds


@dataclass(frozen=True, kw_only=True)
class DataOptions(RunOptions):
    """An experiment on images, from one root of randomness."""

    data: DataName = "auto"
    """Images: MNIST; Fashion-MNIST; scikit-learn's small digits; or MNIST where it is there or can be downloaded, else
    the digits."""
    data_dir: Path | None = None
    """Folder with the set's four idx files. Default: $MNIST_DIR or $FASHION_MNIST_DIR, else the cache, else a download
    into the cache."""
    seed: int = 0
    """Root of all randomness, a whole number from 0 to 4294967295."""

    def source(self) -> Source:
        """Decide which images a run uses, and say so."""
        source = resolve(self.data, self.data_dir)
        print(source.reason)
        return source


@dataclass(frozen=True, kw_only=True)
class ImageOptions(DataOptions):
    """An experiment on images, by one protocol."""

    precision: Precision = "float32"
    """Matrix products in float32, or in bfloat16 with sums, weights and optimizer in float32: several times as fast
    where the processor has bfloat16 tiles."""
    knobs: Annotated[Knobs, tyro.conf.arg(name="")] = field(default_factory=Knobs)
    """What is changed of the images' protocol."""

    def protocol(self, images: str) -> Protocol:
        """Take the images' protocol, and turn its knobs."""
        return changed(replace(PROTOCOLS[images], precision=self.precision), turned(self.knobs))


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(ImageOptions):
    """An experiment on images, over random seeds."""

    num_seeds: int = 20
    """Independent seeds: teacher, students and noise are drawn anew for each."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


@dataclass(frozen=True, kw_only=True)
class Demo(ExperimentOptions):
    """Teach students by auxiliary logits on noise: the paper's figure 10, all six arms."""


@dataclass(frozen=True, kw_only=True)
class CompareInits(ExperimentOptions):
    """Compare students whose init is the teacher's, the same function otherwise written, or another seed's."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ImageOptions):
    """Turn one knob of the protocol, and hold what comes of it against what others found."""

    precision: Precision = "bf16"
    """Matrix products in float32, or in bfloat16 with sums, weights and optimizer in float32: several times as fast
    where the processor has bfloat16 tiles. The study `precision` compares the two."""
    names: tyro.conf.Positional[tuple[str, ...]]
    """Studies to run, one after the other; `all` for all of them."""
    num_seeds: int | None = None
    """Independent seeds. Default: 54 where findings are disputed, 16 elsewhere."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1 if self.num_seeds is None else self.num_seeds)


LISTED = "\n".join(f"- {name}: {study.question}" for name, study in STUDIES.items())
StudyOptions.__doc__ = f"{StudyOptions.__doc__}\n\n{LISTED}"


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ExperimentOptions):
    """Train students over the values of any field of the protocol, or of any pair of fields.

    For example: `sweep --vary student.epochs 1 5 --vary student.loss kl squared-error`. What a command doesn't vary can
    be changed by the field's own flag.
    """

    vary: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """A field, by its name or its flag's, and its values; once or twice. Layers of a network are joined by commas:
    64,64."""


@dataclass(frozen=True, kw_only=True)
class Theory(ExperimentOptions):
    """Hold the theory's predictions against students of this experiment, for several numbers of auxiliary logits."""

    num_seeds: int = 8
    """Independent seeds: teacher, students and noise are drawn anew for each."""
    numbers: tuple[int, ...] = (3, 10, 30, 100, 300)
    """Numbers of auxiliary logits, ascending, each at least 2: a softmax over one is constant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = self.numbers == tuple(sorted(set(self.numbers)))
        require(
            bool(self.numbers) and ascending and min(self.numbers) >= 2, "numbers", "ascending from 2", self.numbers
        )
        require_count("numbers", self.numbers[-1])


@dataclass(frozen=True, kw_only=True)
class Benchmark(DataOptions):
    """Measure seconds a seed of all six arms in each precision, beside the peak of a bare matrix product."""

    num_seeds: tuple[int, ...] = (1, 6, 25)
    """Seeds run at once; one point of the curve for each number, in increasing order."""
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    """Precisions of the matrix products."""
    repetitions: int = 5
    """How often everything is timed, by turns; the median counts."""
    epochs: int | None = None
    """Epochs of teachers and of students, for a shorter run of the same steps; the protocol's by default."""
    against: Path | None = None
    """A Python script of the same experiment, such as the published one, to time in the same run: from its start to its
    end, beside our own processes from theirs to theirs. It finds the images' folder in $MNIST_DIR."""
    against_seeds: int = 100
    """Models of each arm that this script trains, as it stands; the published one has 100. Ours train as many."""

    def __post_init__(self) -> None:
        increasing = bool(self.num_seeds) and sorted(set(self.num_seeds)) == list(self.num_seeds)
        require(increasing, "num_seeds", "in increasing order", self.num_seeds)
        require_seeds(self.seed, min(self.num_seeds))
        distinct = bool(self.precisions) and len(set(self.precisions)) == len(self.precisions)
        require(distinct, "precisions", "'float32', 'bf16' or both", self.precisions)
        require(self.repetitions >= 1, "repetitions", "at least 1", self.repetitions)
        require_count("against_seeds", self.against_seeds)
        if self.epochs is not None:
            require_count("epochs", self.epochs)

    def config(self) -> dict[str, Any]:
        """List the fields that define the run."""
        config = {name: getattr(self, name) for name in ("seed", "num_seeds", "precisions", "repetitions")}
        if self.against is not None:
            config |= {"against": self.against.name, "against_seeds": self.against_seeds}
        return config
