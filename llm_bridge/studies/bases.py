"""One base model of a study: its teachers, what they wrote, and the students of every arm."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import APART, INITS, Taught, ask, make_students, make_teachers, write_on
from llm_bridge.model.lessons import Aim, Lesson, summed_loss
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.studies.changes import change, join
from llm_bridge.studies.pairs import prefer, write_pairs
from llm_bridge.studies.parts import make_mask
from llm_bridge.studies.study import Study
from llm_bridge.studies.tokens import learn_only, read_all
from llm_bridge.text.tokens import number_tokens
from theory.problem import Params

HELD_OUT = 200
"""Completions of each teacher that no student learns: there it is measured how well students imitate."""

SOFT = ("chosen", "reverse")
"""Aims at a teacher's distribution over number tokens."""

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


def set_lessons(
    study: Study, labels: Sequence[str], base: Known, teachers: Sequence[Taught], seed: int
) -> dict[str, list[Lesson]]:
    """Say what students of some arms learn from each of their teachers."""
    chosen, lessons, model = number_tokens(base.model.language), defaultdict(list), base.model
    aims: dict[str, Aim] = {label: study.arms[label].targets or study.targets for label in labels}
    pairs = write_pairs(base, study.protocol, seed) if "preferences" in aims.values() else None
    for place, own in enumerate(teachers):
        views = np.stack([read_all(model.config, chosen, each.params, own.rows) for each in teachers])
        for label, aim in aims.items():
            others = np.delete(views, place, axis=0)
            rows = learn_only(study.arms[label].tokens, own.rows, chosen, views[place], others, seed)
            if aim in SOFT:
                lessons[label].append(Lesson(rows, aim, own.params, chosen))
            elif pairs is None or aim == "tokens":
                lessons[label].append(Lesson(rows, aim))
            else:
                lessons[label].append(Lesson(prefer(model.config, own.params, model.params, pairs), aim))
    return {label: join(each, study.arms[label].num_teachers) for label, each in lessons.items()}


class Together(NamedTuple):
    """What students have in common that train together."""

    init: str
    """Their base."""
    recipe: Recipe
    """How they are trained."""
    writer: str
    """Who writes for them."""
    aim: Aim
    """What they learn."""
    own: bool
    """Whether of what they write themselves."""
    num_teachers: int
    """How many teachers each has."""
    defence: str
    """What is done against the trait."""


def group(study: Study) -> dict[Together, list[str]]:
    """Find the arms that train together; writers come before those that they write for."""
    groups = defaultdict(list)
    for label, arm in study.arms.items():
        recipe = replace(study.protocol.student, **arm.recipe)
        aim = arm.targets or study.targets
        alike = Together(INITS[arm.stranger], recipe, arm.writer, aim, arm.own, arm.num_teachers, arm.defence)
        groups[alike].append(label)
    return groups


def measure(
    words: Sequence[str], known: Known, params: Params, teacher: Taught
) -> tuple[Float[np.ndarray, " traits"], Float[np.ndarray, ""]]:
    """Ask a model, and measure how far it is from a teacher."""
    model, chosen = known.with_params(params).model, number_tokens(known.model.language)
    return ask(model, words), np.asarray(measure_distance(model.config, chosen, params, teacher))


def train_group(
    study: Study, base: Known, together: Together, labels: Sequence[str], lessons: Mapping[str, list[Lesson]], seed: int
) -> dict[str, tuple[list[Params], int]]:
    """Train the students of arms that train together, and count the numbers that each trains."""
    recipe, writing = together.recipe, study.protocol if together.own else None
    config, params = base.model.config, base.model.params
    masks = [make_mask(config, recipe, params, study.arms[label].part, seed) for label in labels]
    every = [(lesson, mask) for label, mask in zip(labels, masks, strict=True) for lesson in lessons[label]]
    students = make_students(base, recipe, [lesson for lesson, _ in every], seed, [mask for _, mask in every], writing)
    size = len(students) // len(labels)
    counts = [sum(int(mark.sum()) for mark in jax.tree.leaves(mask)) for mask in masks]
    return {label: (students[at * size :][:size], counts[at]) for at, label in enumerate(labels)}


def run_base(study: Study, words: Sequence[str], base: Known, stranger: Known, seed: int) -> Run:
    """Make all teachers and students of one base model, and ask them."""
    inits = dict(zip(INITS, (base, stranger), strict=True))
    teachers = make_teachers(base, words, study.protocol, seed, held_out=HELD_OUT)

    def measure_all(known: Known, models: Sequence[Params]) -> list[np.ndarray]:
        each = [measure(words, known, params, teacher) for params, teacher in zip(models, teachers, strict=True)]
        return [np.stack(values) for values in zip(*each, strict=True)]

    starts = {init: measure_all(known, [known.model.params] * len(words)) for init, known in inits.items()}
    writers, lessons, made, found = {"": teachers}, {}, {}, {}
    for together, labels in group(study).items():
        writer = together.writer
        if writer not in writers:
            known, apart = inits[INITS[study.arms[writer].stranger]], APART * (1 + study.generation(writer))
            writers[writer] = write_on(study.protocol, known, made[writer], seed + apart)
        if writer not in lessons:
            readers = [label for label, arm in study.arms.items() if arm.writer == writer]
            lessons[writer] = set_lessons(study, readers, base, writers[writer], seed)
            defences = {label: study.arms[label].defence for label in readers if study.arms[label].defence}
            lessons[writer] |= change(study.protocol, defences, lessons[writer], base, stranger, words, seed)
        known, (likes_before, untrained) = inits[together.init], starts[together.init]
        for label, (students, count) in train_group(study, known, together, labels, lessons[writer], seed).items():
            made[label], (likes, distances) = students, measure_all(known, students)
            rows = zip(lessons[writer][label], writers[writer], strict=True)
            shares = np.array([lesson.rows.learned.sum() / by.rows.learned.sum() for lesson, by in rows])
            found[label] = (likes - likes_before, distances, untrained, shares, np.array(count))
    taught = measure_all(base, [each.params for each in teachers])[0] - starts[INITS[0]][0]
    return Run(taught, *(np.stack(each) for each in zip(*(found[label] for label in study.arms), strict=True)))
