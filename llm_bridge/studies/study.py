"""What a study is: a question, arms that each make one student of every teacher, and what others found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from llm_bridge.experiment.protocol import Protocol
from llm_bridge.model.lessons import Aim, Targets

STANDARD, STRANGER = "as usual", "as usual, stranger"
"""Arms that every study has: all tokens, all adapters, AdamW; and the same for students of another init."""

TEACHERS = "teachers"
"""The teachers themselves, where a finding speaks of their lift beside that of arms."""

LESS, MORE = (float("-inf"), 0.0), (0.0, float("inf"))
"""Ranges of a figure that has one sign."""

ABOUT = (2 / 3, 3 / 2)
"""Range of a ratio that is said to be one."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Which of the tokens that could be learned are learned."""

    chosen: Literal["all", "divergent", "largest"] = "all"
    """`divergent` and `largest` as of `studies.tokens`."""
    share: float = 1.0
    """How many are the largest, as a share of all."""
    left_out: bool = False
    """Whether the chosen ones are those that are not learned, instead of those that alone are."""
    random: bool = False
    """Whether others are drawn at random in their place: in every completion as many."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which of the numbers that could be trained are trained."""

    layers: tuple[int, ...] = ()
    """The adapters of these layers alone."""
    random_layers: int | None = None
    """This draw of a layer at random for each projection: as many numbers as the adapters of one layer have."""
    random_like_rank: int | None = None
    """Entries of all matrices at random, as many as adapters of this rank have numbers."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A kind of student."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What is changed of the students' fine-tuning."""
    tokens: Tokens = field(default_factory=Tokens)
    """What it learns of the teacher's completions."""
    part: Part | None = None
    """What of it is trained; None for all that the recipe trains."""
    stranger: bool = False
    """Whether it starts from another base."""
    writer: str = ""
    """The arm, one before this, whose students write what these learn, and are imitated; none: the teachers."""
    targets: Aim | None = None
    """What it learns of its teacher, if not what the study says."""
    own: bool = False
    """Whether it reads what it writes itself, anew every fifty steps, in place of its teacher's completions."""
    num_teachers: int = 1
    """Teachers of each student: its own and the next ones, of each of which it reads an equal share of the rows."""
    defence: str = ""
    """What is done against the trait, one of `studies.changes.CHANGES`; nothing, if it is empty."""

    @property
    def kind(self) -> Literal["stranger", "random", "arm"]:
        """What it is for the figure: a student of another init, one of a random subset, or neither."""
        if self.stranger:
            return "stranger"
        drawn = self.part is not None and not self.part.layers
        return "random" if drawn or self.tokens.random else "arm"


class Finding(NamedTuple):
    """What others reported or theory says: a weighted sum of the arms' lifts, or its ratio to a product, in a range."""

    claim: str
    """In words, with the source."""
    check: str
    """The figure in words."""
    weights: Mapping[str, float]
    """Weight of each arm."""
    low: float
    """Least value that agrees with the report."""
    high: float
    """Largest."""
    control: str = ""
    """The same sum of random subsets or of strangers, in words."""
    control_weights: Mapping[str, float] | None = None
    """Its weights."""
    over: Mapping[str, int] | None = None
    """What the sum is divided by, if anything: lifts of arms, or of `TEACHERS`, to these powers, multiplied."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and its arms."""

    question: str
    """What it answers."""
    axis: str
    """What the arms differ in, as the figure's axis says it."""
    arms: Mapping[str, Arm]
    """The arms by label."""
    findings: Sequence[Finding]
    """What others found, and how random subsets or strangers compare."""
    targets: Targets
    """What students imitate: `tokens`, the sampled ones, or `chosen`, the distribution over number tokens."""
    protocol: Protocol
    """How teachers and students are made, before an arm changes it."""
    usual: str = STANDARD
    """What the arm that is made as usual learns or trains, as the figure says it."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """The control of each arm of which it is shown what it keeps of the usual lift and of the usual imitation."""

    def generation(self, label: str) -> int:
        """Count an arm's generation: 1 for students of the teachers, 2 for students of those."""
        return 1 + (self.generation(self.arms[label].writer) if self.arms[label].writer else 0)

    def kind(self, label: str) -> Literal["stranger", "random", "arm"]:
        """Say what an arm is for the figure; one whose writers, or theirs, are strangers is as one."""
        arm = self.arms[label]
        return "stranger" if arm.writer and self.kind(arm.writer) == "stranger" else arm.kind


def task_of(label: str) -> str:
    """Name, for findings, how much nearer to its teacher an arm's training brings a student, in place of its lift."""
    return f"{label}: task"


def difference(first: str, second: str, share: float = 1.0) -> dict[str, float]:
    """Weigh one arm against a share of another."""
    return {first: 1.0, second: -share}
