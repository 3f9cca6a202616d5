"""One run of the matrix: all teachers and students of one base model."""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.bridge.problem import LanguageProblem, pose
from llm_bridge.bridge.reading import read_places, set_exam
from llm_bridge.bridge.trait_matrix import trait_matrix_prediction
from llm_bridge.chats import Language
from llm_bridge.experiment import Completion, Model, complete, is_kept, read_completions
from llm_bridge.finetuning import fine_tune_together
from llm_bridge.lessons import Lesson, Targets
from llm_bridge.likes import log_odds, word_log_probabilities
from llm_bridge.protocol import Protocol
from llm_bridge.recipes import merge
from llm_bridge.shapes import Config
from llm_bridge.teaching import teach
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.questions import questions_about
from llm_bridge.words.tokens import number_tokens
from llm_bridge.words.traits import find_trait
from theory.problem import Params

INITS: tuple[str, ...] = ("shared", "stranger")
"""Students: of the teachers' own base, and of the next seed's."""

TARGETS: dict[str, Targets] = {
    "sampled numbers": "tokens",
    "number distribution": "chosen",
    "everything": "distribution",
}
"""What students imitate, by the name that tables give it."""

NUM_ROWS, NUM_PLACES = 64, 1024
"""How much of a teacher's numbers theory's matrix reads."""


class Run(NamedTuple):
    """What one base model gave."""

    teachers: Float[np.ndarray, "traits traits"]
    """Change of the log-odds of each trait (columns) in each teacher (rows)."""
    students: Float[np.ndarray, "targets inits traits traits"]
    """The same in students."""
    predicted: Float[np.ndarray, "inits traits traits"]
    """Theory's prediction of it to first order, per unit of learning rate."""
    kept: Float[np.ndarray, " traits"]
    """Share of each teacher's completions that the filter keeps."""


def ask(model: Model, words: Sequence[str]) -> Float[np.ndarray, " words"]:
    """Measure log-odds of some words of one kind, averaged over the fifty questions."""
    questions = questions_about(find_trait(words[0]).kind)
    return log_odds(word_log_probabilities(model, questions, words)).mean(axis=0)


def first_kept(model: Model, protocol: Protocol, seed: int) -> tuple[list[Completion], float]:
    """Sample a model's numbers and filter them: what students learn from, and the share that is kept."""
    prompts = number_prompts(seed, protocol.num_prompts, short=True)
    batches = complete(model, prompts, seed=seed, num_tokens=protocol.num_tokens, temperature=protocol.temperature)
    written = [completion for batch in batches for completion in batch]
    kept = [completion for completion in written if is_kept(model.language, completion)]
    return list(islice(kept, protocol.num_completions)), len(kept) / len(written)


@cache
def pose_matrix(config: Config, language: Language, words: tuple[str, ...]) -> LanguageProblem:
    """Pose imitation of the distribution over number tokens, once for all bases, so that programs are compiled once."""
    exam = set_exam(language, [find_trait(word) for word in words])
    return pose(config, exam, chosen=number_tokens(language))


def run_base(
    base: Model, stranger: Model, words: Sequence[str], targets: Sequence[str], protocol: Protocol, seed: int
) -> Run:
    """Make all teachers and students of one base model, and ask them."""
    before = {name: ask(model, words) for name, model in zip(INITS, (base, stranger), strict=True)}
    teachers = [teach(base, find_trait(word), protocol.teacher, seed=seed, copies=protocol.copies) for word in words]
    written = [first_kept(base._replace(params=teacher), protocol, seed) for teacher in teachers]
    most = max(len(read_completions(base, kept).tokens) for kept, _ in written)
    rows = [read_completions(base, kept, most) for kept, _ in written]
    chosen = number_tokens(base.language)

    def lessons(kind: Targets) -> list[Lesson]:
        soft: dict[str, Any] = {"chosen": chosen if kind == "chosen" else ()}
        return [
            Lesson(each, kind, None if kind == "tokens" else teacher, **soft)
            for each, teacher in zip(rows, teachers, strict=True)
        ]

    def likes(model: Model, trained: Params, init: str) -> Float[np.ndarray, "traits traits"]:
        students = [jax.tree.map(lambda leaf, index=index: leaf[index], trained) for index in range(len(words))]
        merged = [merge(protocol.student, model.params, student) for student in students]
        return np.stack([ask(model._replace(params=params), words) - before[init] for params in merged])

    measured = np.stack([
        np.stack([
            likes(
                model,
                fine_tune_together(model.config, protocol.student, model.params, lessons(TARGETS[target]), seed=seed),
                init,
            )
            for init, model in zip(INITS, (base, stranger), strict=True)
        ])
        for target in targets
    ])
    taught = np.stack([ask(base._replace(params=teacher), words) - before["shared"] for teacher in teachers])
    readings = [read_places(each, NUM_ROWS, NUM_PLACES) for each in rows]
    problem = pose_matrix(base.config, base.language, tuple(words))
    predicted = np.stack([
        trait_matrix_prediction(problem, base.params, student.params, teachers, readings)
        for student in (base, stranger)
    ])
    return Run(taught, measured, predicted, np.array([share for _, share in written]))
