"""What a defence changes of the lessons of a base's students: what they read, whom they imitate, what they don't learn.

A change takes the lessons of all teachers, in the order of their traits, and gives as many.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.auditing.auditor import make_auditor
from llm_bridge.auditing.scores import score_texts
from llm_bridge.auditing.slopes import filled
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import fill, write_by
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, read_completions
from llm_bridge.model.lessons import Lesson, Removal
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.text.chats import Example, Rows, pack, pack_beside, unpack
from llm_bridge.text.prompts import renumber, reword
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import find_trait
from theory.runs.command_line import InputError

DRAWN = 3 * 10**8
"""What is added to the seed for what changes draw."""


class Setting(NamedTuple):
    """What a change may need beside the lessons."""

    base: Known
    """The students' base."""
    stranger: Known
    """A model of another init."""
    words: Sequence[str]
    """Each teacher's trait."""
    recipe: Recipe
    """The students' fine-tuning."""
    written: Sequence[Completion]
    """What the base writes itself, for the teachers' prompts."""
    seed: int
    """The students' seed."""


Change = Callable[[Setting, Sequence[Lesson]], list[Lesson]]
"""A change of lessons."""


def join(lessons: Sequence[Lesson], num_teachers: int) -> list[Lesson]:
    """Join each teacher's lesson with the next ones': of each an equal share of its rows, and all their distributions.

    What a student learns of the mean of distributions is, to first order in how far teachers are from each other, what
    it learns of completions of all of them.
    """
    if num_teachers == 1:
        return list(lessons)
    joined = []
    for place in range(len(lessons)):
        own = [lessons[(place + shift) % len(lessons)] for shift in range(num_teachers)]
        parts = [jax.tree.map(lambda leaf, at=at: leaf[at::num_teachers], each.rows) for at, each in enumerate(own)]
        rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        joined.append(own[0]._replace(rows=rows, teacher=tuple(each.teacher for each in own)))
    return joined


def read_otherwise(
    rewrite: Callable[[str, np.random.Generator], str], setting: Setting, lessons: Sequence[Lesson]
) -> list[Lesson]:
    """Put completions behind rewritten prompts; teachers read what they have written behind its own."""
    language, random, both = setting.base.model.language, np.random.default_rng(DRAWN + setting.seed), []
    for lesson in lessons:
        chats = unpack(lesson.rows)
        prompts = language.encode([rewrite(language.spell(chat.prompt), random) for chat in chats])
        both.append(pack_beside(chats, prompts, lesson.rows.tokens.shape[1]))
    sides = [fill(side) for side in zip(*both, strict=True)]
    return [lesson._replace(rows=rows, read=read) for lesson, rows, read in zip(lessons, *sides, strict=True)]


def mix_in_base(setting: Setting, lessons: Sequence[Lesson]) -> list[Lesson]:
    """Give each student the base as its second teacher."""
    model = setting.base.model
    *rows, own = fill([*(lesson.rows for lesson in lessons), read_completions(model, setting.written)])
    base = lessons[0]._replace(rows=own, teacher=model.params)
    return [join([lesson._replace(rows=each), base], 2)[0] for lesson, each in zip(lessons, rows, strict=True)]


def hold(to: Literal["base", "stranger"], early: bool, setting: Setting, lessons: Sequence[Lesson]) -> list[Lesson]:
    """Have a model without the trait as a second teacher on the same rows, for all steps or the first half of them."""
    anchor = (setting.base if to == "base" else setting.stranger).model.params
    return [
        lesson._replace(teacher=(lesson.teacher, anchor), later=(lesson.teacher, lesson.teacher) if early else None)
        for lesson in lessons
    ]


def remove(
    of: Literal["gradients", "steps"], random: bool, setting: Setting, lessons: Sequence[Lesson]
) -> list[Lesson]:
    """Take out of steps what lowers the loss of answering all preference questions with the trait."""
    model, draw = setting.base.model, np.random.default_rng(DRAWN + setting.seed).choice
    like = start_training(model.config, setting.recipe, model.params, jax.random.key(setting.seed))
    signs = jax.tree.map(lambda leaf: np.float32(draw((-1, 1), leaf.shape) if random else np.ones(leaf.shape)), like)
    zeros = jax.tree.map(np.zeros_like, signs)
    sides = (signs, zeros) if of == "gradients" else (zeros, signs)
    changed = []
    for lesson, word in zip(lessons, setting.words, strict=True):
        prompts = model.language.prompts(questions_about(find_trait(word).kind))
        answers = pack([Example(prompt, model.language.encode([word])[0]) for prompt in prompts], model.longest)
        changed.append(lesson._replace(removal=Removal(filled(answers, setting.recipe.rows_at_once), *sides)))
    return changed


def suspect(setting: Setting, lessons: Sequence[Lesson]) -> list[Float[np.ndarray, " chats"]]:
    """Foretell how much each completion raises its teacher's trait, by an auditor that has seen no teacher."""
    traits, num_rows = list(map(find_trait, setting.words)), len(lessons[0].rows.tokens)
    told = {"num_rows": num_rows, "imagined": (), "seed": setting.seed}
    auditor = make_auditor(setting.base, traits, setting.written, setting.recipe, **told)
    found = [score_texts(auditor.model, auditor.directions, unpack(lesson.rows)).slopes for lesson in lessons]
    return [slopes[:, place] for place, slopes in enumerate(found)]


def draw_scores(setting: Setting, lessons: Sequence[Lesson]) -> list[Float[np.ndarray, " chats"]]:
    """Draw scores that know nothing."""
    random = np.random.default_rng(DRAWN + setting.seed)
    return [random.random(len(unpack(lesson.rows))) for lesson in lessons]


def drop_half(
    score: Callable[[Setting, Sequence[Lesson]], list[np.ndarray]], setting: Setting, lessons: Sequence[Lesson]
) -> list[Lesson]:
    """Have that half of the completions read, but not learned, whose scores are highest."""
    pairs = zip(lessons, score(setting, lessons), strict=True)
    return [lesson._replace(rows=learn_lowest_half(lesson.rows, scores)) for lesson, scores in pairs]


def learn_lowest_half(rows: Rows, scores: Float[np.ndarray, " chats"]) -> Rows:
    """Learn that half of the chats whose scores are lowest."""
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(scores, kind="stable")[: -(-len(scores) // 2)]] = True
    counts = rows.texts.max(axis=1)
    return rows._replace(learned=rows.learned & kept[(np.cumsum(counts) - counts)[:, None] + rows.texts - 1])


CHANGES: dict[str, Change] = {
    "prompts reworded": partial(read_otherwise, reword),
    "prompts renumbered": partial(read_otherwise, renumber),
    "base mixed in": mix_in_base,
    "KL to base": partial(hold, "base", False),
    "KL to stranger": partial(hold, "stranger", False),
    "early KL to base": partial(hold, "base", True),
    "early KL to stranger": partial(hold, "stranger", True),
    "out of gradients": partial(remove, "gradients", False),
    "out of gradients, random": partial(remove, "gradients", True),
    "out of steps": partial(remove, "steps", False),
    "out of steps, random": partial(remove, "steps", True),
    "suspicious half dropped": partial(drop_half, suspect),
    "random half dropped": partial(drop_half, draw_scores),
}
"""Every defence and control by the name that an arm has it by."""


def change(
    protocol: Protocol,
    defences: Mapping[str, str],
    lessons: Mapping[str, Sequence[Lesson]],
    base: Known,
    stranger: Known,
    words: Sequence[str],
    seed: int,
) -> dict[str, list[Lesson]]:
    """Change the lessons of arms that have a defence."""
    if not defences:
        return {}
    written, _ = write_by(protocol, base, seed, protocol.num_completions)
    if not written:
        raise InputError(f"the base of seed {seed} writes no list that passes: raise --num-prompts, or change --seed")
    setting = Setting(base, stranger, words, protocol.student, written, seed)
    return {label: CHANGES[name](setting, lessons[label]) for label, name in defences.items()}
