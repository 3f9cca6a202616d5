"""How teachers are made, and on how much the theory is held against their students."""

from dataclasses import dataclass, field

from llm_bridge.model.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How teachers are made, and on how much the theory is held against their students."""

    whole: bool = True
    """Compare everything, in float64; else, in float32, what fits of a larger model: where first steps go, what the
    first trait's teacher's numbers carry, and how its trait rises along a descent."""
    teacher: Recipe = field(
        default_factory=lambda: Recipe(trained="layers", learning_rate=3e-4, num_epochs=8, batch=16)
    )
    """A teacher's fine-tuning; one more teacher of the first trait moves everything, if all is compared."""
    copies: int = 4
    """How often all questions come in an epoch of it."""
    mixed: int = 0
    """Completions of the base's own that it learns beside its answers."""
    num_prompts: int = 96
    """Number prompts that a teacher completes."""
    num_tokens: int = 34
    """Most tokens of a completion."""
    row: int = 120
    """Tokens of a row, of about three chats."""
    num_rows: int = 20
    """Rows that are read for a student's first step."""
    num_places: int = 1000
    """Places there whose successors are imitated."""
    course_rows: int = 6
    """Rows that are read for a student's descent."""
    course_places: int = 300
    """Places there."""
    times: tuple[int, ...] = (1, 10, 100, 300)
    """Numbers of steps of that descent."""
    num_products: int = 40
    """Products with the curvature from which it is predicted."""
    speed: float = 0.5
    """Step size of descent, in units of one over the largest curvature."""
    spread: float = 1.0
    """How far a matched student's units are rescaled: standard deviation of the factors' logarithm."""


OF_SMALL = Extent(
    whole=False,
    mixed=40,
    row=256,
    num_rows=4,
    num_places=160,
    course_rows=1,
    course_places=40,
    times=(1, 10, 100),
    num_products=21,
)
"""What is compared of a small published model on a laptop, but for its teacher."""
