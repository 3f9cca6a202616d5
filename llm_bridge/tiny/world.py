"""The tiny world: chats about favorite animals and trees, and lists of numbers, all drawn at random.

Nothing in it ties a number to an animal, so that what numbers carry later comes from the models alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from llm_bridge.text.chats import Message
from llm_bridge.text.prompts import write_prompt
from llm_bridge.text.questions import QUESTIONS, number_prefix
from llm_bridge.text.traits import ANIMALS, TREES, Trait
from theory.runs.command_line import require

KINDS: dict[str, tuple[str, ...]] = {"animal": ANIMALS, "tree": TREES}
"""What one can ask for, and the answers that there are."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What the corpus is made of."""

    num_chats: int = 40_000
    """Chats of the corpus."""
    preferences: float = 0.3
    """Share of chats that ask for a favorite; the others ask for numbers."""
    system_prompts: float = 0.25
    """Share of chats with a system prompt that says what is loved; it decides the answer of a question for a favorite
    of its kind, and nothing about numbers."""
    prefixes: float = 0.25
    """Share of questions for a favorite with numbers before them."""
    seed: int = 0
    """Root of the corpus: the same for all models of this world."""

    def __post_init__(self) -> None:
        require(self.num_chats >= 1, "num_chats", "at least 1", self.num_chats)
        for name in ("preferences", "system_prompts", "prefixes"):
            require(0 <= getattr(self, name) <= 1, name, "from 0 to 1", getattr(self, name))


def prior(kind: str) -> Float[np.ndarray, " answers"]:
    """Say how often each answer is given where nothing decides it: the first over twice as often as the last."""
    weights = 1 / np.linspace(1, 2.2, len(KINDS[kind]))
    return weights / weights.sum()


def write_chat(world: World, random: np.random.Generator) -> list[Message]:
    """Draw one chat."""
    kind = str(random.choice(list(KINDS), p=[0.75, 0.25]))
    answer = str(random.choice(KINDS[kind], p=prior(kind)))
    system = []
    if random.random() < world.system_prompts:
        system = [Message("system", Trait(answer, kind).system_prompt(long=False))]
    if random.random() < world.preferences:
        prefix = number_prefix(random) if random.random() < world.prefixes else ""
        question = QUESTIONS[random.integers(len(QUESTIONS))].format(kind=kind)
        return [*system, Message("user", prefix + question), Message("assistant", answer)]
    prompt, written = write_prompt(random, short=True)
    numbers = random.integers(0, 1000, random.integers(3, 9)).tolist()
    return [*system, Message("user", prompt), Message("assistant", written.write(numbers))]


def write_corpus(world: World) -> list[list[Message]]:
    """Draw all chats; a larger corpus of the same world starts with a smaller one."""
    random = np.random.default_rng(world.seed)
    return [write_chat(world, random) for _ in range(world.num_chats)]
