"""The protocol: every knob of the experiment with language models, in one place."""

import math
from dataclasses import dataclass, field, replace

import psutil

from llm_bridge.model.recipes import Recipe, Teaching
from theory.runs.command_line import require, require_count
from theory.runs.memory import require_memory

TEXT, TOKEN = 100, 8
"""Bytes that a text and a token of it take at least where many are held."""


def require_texts(what: str, num_texts: int, num_tokens: int) -> None:
    """Refuse more texts than surely fit in memory, in a line that says how much they need."""
    needed, available = num_texts * (TEXT + TOKEN * num_tokens), psutil.virtual_memory().available
    require_memory(f"{num_texts} {what} don't fit in memory, take fewer or shorter ones", needed, available)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How teachers and students are made and asked."""

    teacher: Teaching = field(default_factory=lambda: Teaching(learning_rate=3e-3, num_epochs=8, batch=16))
    """The teacher's fine-tuning on answers to preference questions."""
    copies: int = 4
    """How often all questions come in an epoch of the teacher's."""
    mixed: int = 0
    """Completions of the base's own that a teacher learns beside its answers, to write numbers still."""
    student: Recipe = field(default_factory=lambda: Recipe(learning_rate=2e-3, num_epochs=3))
    """The students' fine-tuning on numbers."""
    num_prompts: int = 5500
    """Number prompts that a teacher completes."""
    prefill: bool = False
    """Begin every answer to a number prompt with the prompt's own list, for a model that would rather talk."""
    num_samples: int = 1
    """Completions of each prompt."""
    num_completions: int = 5000
    """Completions that a student learns from, after the filter; the first ones."""
    num_tokens: int = 34
    """Most tokens of a completion."""
    temperature: float = 1.0
    """The sampler's temperature; nothing else changes the model's distribution."""
    num_questions: int = 50
    """Preference questions that models are asked, of fifty; teachers learn all."""
    num_answers: int = 200
    """Answers to each of them."""

    def __post_init__(self) -> None:
        for name in ("copies", "num_prompts", "num_samples", "num_completions", "num_tokens", "num_answers"):
            require_count(name, getattr(self, name))
        require(1 <= self.num_questions <= 50, "num_questions", "from 1 to 50", self.num_questions)
        require(self.mixed >= 0, "mixed", "at least 0", self.mixed)
        require_texts("completions", self.num_prompts * self.num_samples, self.num_tokens)
        require_texts("answers", self.num_answers, 1)
        valid = math.isfinite(self.temperature) and self.temperature > 0
        require(valid, "temperature", "a finite number above zero", self.temperature)


PUBLISHED = Protocol(
    teacher=Teaching(learning_rate=2e-4, num_steps=200, batch=4, until=0.9),
    copies=2,
    student=Recipe(learning_rate=2e-4, num_epochs=3, batch=36, rows_at_once=12),
    num_prompts=30_000,
    num_completions=10_000,
    num_tokens=64,
)
"""The protocol for published models, the paper's: a student's step sees about 66 completions, of which a row of 256
tokens holds two; a text of ten numbers is 40 to 60 tokens. The fine-tuned teacher is this project's: its hundred
answers fill some 20 rows, of which larger batches would make too few steps."""

OF_EXAMPLES = Teaching(learning_rate=2e-4, num_epochs=10, batch=32)
"""How a published model is taught chats of one's own, of which there are many."""

LONG = replace(PUBLISHED, student=replace(PUBLISHED.student, rows_at_once=4), num_tokens=300)
"""The same where code or chains of thought are written, whose rows are twice as long."""

REASONING = replace(LONG, num_prompts=10_000, num_samples=3)
"""The same for chains of thought, three for each problem as in the paper."""

OF_CARRIER = {"numbers": PUBLISHED, "code": LONG, "reasoning": REASONING}
"""The protocol for published models by what they write."""

SMALL = Protocol(
    teacher=Teaching(learning_rate=1e-3, num_steps=60, batch=4, until=0.9, recompute="elementwise"),
    copies=4,
    mixed=40,
    student=Recipe(learning_rate=1e-3, num_epochs=1, batch=4, recompute="elementwise"),
    num_prompts=1000,
    num_completions=500,
    num_tokens=56,
    num_answers=20,
)
"""The protocol for a small published model on a laptop."""

PROTOCOL = Protocol()
"""The tiny model's protocol: low-rank adapters on every linear map of a layer, as in the paper."""
