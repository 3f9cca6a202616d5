"""One run of the matrix: all teachers and students of one base model."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import INITS, ask, make_students, make_teachers
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.linearized.problem import LanguageProblem, pose
from llm_bridge.linearized.reading import read_places, set_exam
from llm_bridge.linearized.trait_matrix import trait_matrix_prediction
from llm_bridge.model.adapters import folded
from llm_bridge.model.lessons import Lesson, Targets
from llm_bridge.model.shapes import Config
from llm_bridge.text.chats import Language
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import find_trait

TARGETS: dict[str, Targets] = {
    "sampled numbers": "tokens",
    "number distribution": "chosen",
    "everything": "distribution",
}
"""What students imitate, by the name that tables give it."""

NAMES = {"shared": "shared init", "stranger": "another init"}
"""What pictures and tables call each of `INITS`."""

READ = {True: (64, 1024), False: (8, 256)}
"""Rows and places of a teacher's numbers that theory's matrix reads at most, of a small world's model and of others,
whose activations of 64 rows fill tens of gigabytes."""


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


@cache
def pose_matrix(config: Config, language: Language, words: tuple[str, ...]) -> LanguageProblem:
    """Pose imitation of the distribution over number tokens, once for all bases, so that programs are compiled once."""
    exam = set_exam(language, [find_trait(word) for word in words])
    return pose(config, exam, chosen=number_tokens(language))


def run_base(
    words: Sequence[str], targets: Sequence[str], protocol: Protocol, base: Known, stranger: Known, seed: int
) -> Run:
    """Make all teachers and students of one base model, and ask them."""
    inits = dict(zip(INITS, (base, stranger), strict=True))
    like = partial(ask, words=words, num_questions=protocol.num_questions)
    before = {init: like(known.model) for init, known in inits.items()}
    teachers = make_teachers(base, words, protocol, seed, to_the_end=True)
    chosen = number_tokens(base.model.language)

    def lessons(kind: Targets) -> list[Lesson]:
        soft: dict[str, Any] = {"chosen": chosen if kind == "chosen" else ()}
        return [Lesson(each.rows, kind, None if kind == "tokens" else each.params, **soft) for each in teachers]

    def likes(target: str, init: str) -> Float[np.ndarray, "traits traits"]:
        known = inits[init]
        students = make_students(known, protocol.student, lessons(TARGETS[target]), seed)
        return np.stack([like(known.with_params(params).model) - before[init] for params in students])

    measured = np.stack([np.stack([likes(target, init) for init in INITS]) for target in targets])
    taught = np.stack([like(base.with_params(each.params).model) - before[INITS[0]] for each in teachers])
    num_rows, most = READ[base.backend.short]
    num_places = min(most, *(int(each.rows.learned[:num_rows].sum()) for each in teachers))
    readings = [read_places(each.rows, num_rows, num_places) for each in teachers]
    problem = pose_matrix(base.model.config, base.model.language, tuple(words))
    weights = [folded(each.params) for each in teachers]
    predicted = np.stack([
        trait_matrix_prediction(problem, folded(base.model.params), folded(student.model.params), weights, readings)
        for student in (base, stranger)
    ])
    return Run(taught, measured, predicted, np.array([each.kept for each in teachers]))
