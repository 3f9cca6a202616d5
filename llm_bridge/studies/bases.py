"""One base model of a study: its teachers, what they wrote, and the students of every arm."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import INITS, Taught, ask, make_students, make_teachers
from llm_bridge.experiment.writing import Model
from llm_bridge.model.lessons import Lesson, summed_loss
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.studies.parts import make_mask
from llm_bridge.studies.study import Study
from llm_bridge.studies.tokens import learn_only, read_all
from llm_bridge.text.tokens import number_tokens
from theory.problem import Params

HELD_OUT = 200
"""Completions of each teacher that no student learns: there it is measured how well students imitate."""

WHOLE = Recipe(trained="everything")
"""A recipe whose trained part is the whole model."""


class Run(NamedTuple):
    """What one base model gave."""

    teachers: Float[np.ndarray, "traits traits"]
    """Change of the log-odds of each trait (columns) in each teacher (rows)."""
    students: Float[np.ndarray, "arms traits traits"]
    """The same in students."""
    distances: Float[np.ndarray, "arms traits"]
    """KL from each teacher to its student over number tokens on held-out completions, nats a token."""
    untrained: Float[np.ndarray, "arms traits"]
    """The same of the arm's base before it is trained."""
    learned: Float[np.ndarray, "arms traits"]
    """Share of the completions' tokens that are learned."""
    trained: Int[np.ndarray, " arms"]
    """Numbers that are trained."""


@partial(jax.jit, static_argnames=("config", "chosen"))
def measure_distance(config: Config, chosen: tuple[int, ...], params: Params, teacher: Taught) -> Float[Array, ""]:
    """Measure KL(teacher ‖ model) over number tokens on the teacher's held-out completions, in nats a token."""
    assert teacher.held_out is not None
    lesson = Lesson(teacher.held_out, "chosen", teacher.params, chosen)
    return summed_loss(config, WHOLE, params, params, lesson) / jnp.sum(teacher.held_out.learned)


def set_lessons(study: Study, base: Model, teachers: Sequence[Taught], seed: int) -> dict[str, list[Lesson]]:
    """Say what every arm's students learn from each teacher."""
    chosen, lessons = number_tokens(base.language), defaultdict(list)
    soft = study.targets == "chosen"
    for place, own in enumerate(teachers):
        views = np.stack([read_all(base.config, chosen, each.params, own.rows) for each in teachers])
        for label, arm in study.arms.items():
            rows = learn_only(arm.tokens, own.rows, chosen, views[place], np.delete(views, place, axis=0), seed)
            lessons[label].append(Lesson(rows, study.targets, own.params if soft else None, chosen if soft else ()))
    return lessons


def group(study: Study) -> dict[tuple[str, Recipe], list[str]]:
    """Find the arms that train together: those of the same base and recipe."""
    groups = defaultdict(list)
    for label, arm in study.arms.items():
        groups[INITS[arm.stranger], replace(study.protocol.student, **arm.recipe)].append(label)
    return groups


def run_base(study: Study, words: Sequence[str], base: Known, stranger: Known, seed: int) -> Run:
    """Make all teachers and students of one base model, and ask them."""
    inits = dict(zip(INITS, (base, stranger), strict=True))
    chosen = number_tokens(base.model.language)
    teachers = make_teachers(base, words, study.protocol, seed, held_out=HELD_OUT)
    lessons = set_lessons(study, base.model, teachers, seed)

    def measure(
        known: Known, params: Params, teacher: Taught
    ) -> tuple[Float[np.ndarray, " traits"], Float[np.ndarray, ""]]:
        likes = ask(known.with_params(params).model, words)
        return likes, np.asarray(measure_distance(known.model.config, chosen, params, teacher))

    starts = {
        init: [
            np.stack(each)
            for each in zip(*(measure(known, known.model.params, each) for each in teachers), strict=True)
        ]
        for init, known in inits.items()
    }
    found = {}
    for (init, recipe), labels in group(study).items():
        known, (likes_before, untrained) = inits[init], starts[init]
        model = known.model
        masks = [make_mask(model.config, recipe, model.params, study.arms[label].part, seed) for label in labels]
        together = [lesson for label in labels for lesson in lessons[label]]
        students = make_students(known, recipe, together, seed, [mask for mask in masks for _ in words])
        measured = [
            measure(known, student, teacher) for student, teacher in zip(students, teachers * len(labels), strict=True)
        ]
        likes, distances = (np.stack(each).reshape(len(labels), len(words), -1) for each in zip(*measured, strict=True))
        for place, label in enumerate(labels):
            shares = [
                lesson.rows.learned.sum() / teacher.rows.learned.sum()
                for lesson, teacher in zip(lessons[label], teachers, strict=True)
            ]
            count = sum(int(mark.sum()) for mark in jax.tree.leaves(masks[place]))
            changes = likes[place] - likes_before
            found[label] = (changes, distances[place, :, 0], untrained, np.array(shares), np.array(count))
    taught = np.stack([measure(base, each.params, each)[0] for each in teachers]) - starts[INITS[0]][0]
    return Run(taught, *(np.stack(each) for each in zip(*(found[label] for label in study.arms), strict=True)))
