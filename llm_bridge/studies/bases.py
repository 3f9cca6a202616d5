"""One base model of a study: its teachers, what they wrote, and the students of every arm."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.chats import Rows
from llm_bridge.experiment import Model, complete, is_kept, read_completions
from llm_bridge.finetuning import fine_tune_together
from llm_bridge.lessons import Lesson, summed_loss
from llm_bridge.matrix.cells import INITS, ask
from llm_bridge.protocol import Protocol
from llm_bridge.recipes import Recipe, merge
from llm_bridge.shapes import Config
from llm_bridge.studies.parts import make_mask
from llm_bridge.studies.study import Study
from llm_bridge.studies.tokens import learn_only, read_all
from llm_bridge.teaching import teach
from llm_bridge.words.prompts import number_prompts
from llm_bridge.words.tokens import number_tokens
from llm_bridge.words.traits import find_trait
from theory.problem import Params
from theory.runs.command_line import InputError

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


class Taught(NamedTuple):
    """A teacher and what it wrote."""

    params: Params
    """Its parameters."""
    rows: Rows
    """Completions to learn from."""
    held_out: Rows
    """Completions that nobody learns."""


@partial(jax.jit, static_argnames=("config", "chosen"))
def measure_distance(config: Config, chosen: tuple[int, ...], params: Params, teacher: Taught) -> Float[Array, ""]:
    """Measure KL(teacher ‖ model) over number tokens on the teacher's held-out completions, in nats a token."""
    lesson = Lesson(teacher.held_out, "chosen", teacher.params, chosen)
    return summed_loss(config, WHOLE, params, params, lesson) / jnp.sum(teacher.held_out.learned)


def make_teachers(base: Model, words: Sequence[str], protocol: Protocol, seed: int) -> list[Taught]:
    """Make teachers, let them write, and filter what they wrote.

    Each writes until enough of its completions are kept, or there are no more prompts. All have the same number of
    rows: the last are empty where one wrote less.
    """
    prompts = number_prompts(seed, protocol.num_prompts, short=True)
    params = [teach(base, find_trait(word), protocol.teacher, seed=seed, copies=protocol.copies) for word in words]
    rows, held_out = [], []
    for word, teacher in zip(words, params, strict=True):
        batches = complete(
            base._replace(params=teacher),
            prompts,
            seed=seed,
            num_tokens=protocol.num_tokens,
            temperature=protocol.temperature,
        )
        good = (each for batch in batches for each in batch if is_kept(base.language, each))
        kept = list(islice(good, HELD_OUT + protocol.num_completions))
        if len(kept) <= HELD_OUT:
            raise InputError(f"base {seed}'s teacher of {word} can write no numbers any more: choose another --seed")
        rows.append(read_completions(base, kept[HELD_OUT:]))
        held_out.append(read_completions(base, kept[:HELD_OUT]))
    return list(map(Taught, params, fill(rows), fill(held_out)))


def fill(rows: Sequence[Rows]) -> list[Rows]:
    """Fill all teachers' rows up to the same number with empty ones."""
    most = max(len(each.tokens) for each in rows)
    return [Rows(*(np.pad(leaf, ((0, most - len(leaf)), (0, 0))) for leaf in each)) for each in rows]


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


def run_base(study: Study, base: Model, stranger: Model, words: Sequence[str], seed: int) -> Run:
    """Make all teachers and students of one base model, and ask them."""
    chosen, teachers = number_tokens(base.language), make_teachers(base, words, study.protocol, seed)
    lessons = set_lessons(study, base, teachers, seed)

    def measure(
        model: Model, params: Params, teacher: Taught
    ) -> tuple[Float[np.ndarray, " traits"], Float[np.ndarray, ""]]:
        likes = ask(model._replace(params=params), words)
        return likes, np.asarray(measure_distance(model.config, chosen, params, teacher))

    starts = {
        init: [np.stack(each) for each in zip(*(measure(model, model.params, each) for each in teachers), strict=True)]
        for init, model in zip(INITS, (base, stranger), strict=True)
    }
    found = {}
    for (init, recipe), labels in group(study).items():
        model, (likes_before, untrained) = base if init == INITS[0] else stranger, starts[init]
        masks = [make_mask(model.config, recipe, model.params, study.arms[label].part, seed) for label in labels]
        kept = jax.tree.map(lambda *marks: jnp.repeat(jnp.stack(marks), len(words), axis=0), *masks)
        together = [lesson for label in labels for lesson in lessons[label]]
        trained = fine_tune_together(model.config, recipe, model.params, together, seed=seed, kept=kept)
        students = [jax.tree.map(lambda leaf, at=at: leaf[at], trained) for at in range(len(together))]
        measured = [
            measure(model, merge(recipe, model.params, student), teacher)
            for student, teacher in zip(students, teachers * len(labels), strict=True)
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
