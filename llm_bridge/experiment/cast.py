"""Who takes part in an experiment on one base: teachers, what they write, students, and what all of them like.

`run` puts files between these steps and has one trait and many arms; the matrix has many traits, a study its own arms,
and `compare` holds theory against students of a single step. What they have in common is here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.likes import log_odds, word_log_probabilities
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import Completion, Model, complete, is_kept, read_completions
from llm_bridge.model.finetuning import fine_tune_together
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe, merge
from llm_bridge.text.chats import Rows
from llm_bridge.text.prompts import number_prompts, prefill_of
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import find_trait
from theory.problem import Params
from theory.runs.command_line import InputError

INITS: tuple[str, ...] = ("shared", "stranger")
"""Students: of the teachers' own base, and of another."""


MIXED_SEED, MIXED_PROMPTS = 10**6, 3
"""Of what is mixed into teachers' answers: what is added to the seed, and prompts for each completion."""


APART, OWN_SEED, FRESH = 10**6, 10**8, 50
"""Of what students write: how far seeds are apart; what is added for what they learn themselves; for how many steps."""


class Taught(NamedTuple):
    """A teacher and what it wrote."""

    params: Params
    """Its parameters."""
    rows: Rows
    """Completions to learn from."""
    held_out: Rows | None
    """Completions that nobody learns, if any are held out."""
    kept: float
    """Share of what it wrote that the filter keeps."""


def ask(model: Model, words: Sequence[str], num_questions: int = 50) -> Float[np.ndarray, " words"]:
    """Measure log-odds of some words of one kind, averaged over the questions."""
    questions = questions_about(find_trait(words[0]).kind)[:num_questions]
    return log_odds(word_log_probabilities(model, questions, words)).mean(axis=0)


def make_teachers(
    base: Known, words: Sequence[str], protocol: Protocol, seed: int, *, held_out: int = 0, to_the_end: bool = False
) -> list[Taught]:
    """Make a teacher of each word, let them write numbers, and filter what they wrote.

    Each writes until enough of its completions are kept, or `to_the_end` of the prompts. The first that are kept are
    held out. All have the same number of rows: the last are empty where one wrote less.
    """
    model, enough = base.model, None if to_the_end else held_out + protocol.num_completions
    mixed = write_own(base, seed, protocol.mixed, **sampling_of(protocol))
    params = [
        teach(model, find_trait(word), protocol.teacher, seed=seed, copies=protocol.copies, mixed=mixed)
        for word in words
    ]
    written = [write_by(protocol, base.with_params(teacher), seed, enough) for teacher in params]
    for word, (kept, _) in zip(words, written, strict=True):
        if len(kept) <= held_out:
            raise InputError(
                f"of what seed {seed}'s teacher of {word} wrote {len(kept)} completions pass the filter, and more than "
                f"{held_out} are needed: raise --num-prompts, or choose another --seed"
            )
    learned = fill([read_completions(model, kept[held_out:][: protocol.num_completions]) for kept, _ in written])
    apart = fill([read_completions(model, kept[:held_out]) for kept, _ in written]) if held_out else [None] * len(words)
    return list(map(Taught, params, learned, apart, [share for _, share in written]))


def sampling_of(protocol: Protocol) -> dict[str, Any]:
    """Take from a protocol how completions are sampled."""
    return {"num_tokens": protocol.num_tokens, "temperature": protocol.temperature, "prefill": protocol.prefill}


def write_by(protocol: Protocol, writer: Known, seed: int, enough: int | None) -> tuple[list[Completion], float]:
    """Let a model write numbers by a protocol, until enough are kept; as of `write_numbers`."""
    counts = {"num_prompts": protocol.num_prompts, "num_samples": protocol.num_samples}
    return write_numbers(writer, seed, enough=enough, **counts, **sampling_of(protocol))


def write_on(protocol: Protocol, base: Known, students: Sequence[Params], seed: int) -> list[Taught]:
    """Let students of one base write numbers for the next generation of students, which has them as teachers."""
    writers = [base.with_params(student) for student in students]
    written = [write_by(protocol, writer, seed, protocol.num_completions) for writer in writers]
    if not all(kept for kept, _ in written):
        raise InputError(f"a model of seed {seed} writes no list that passes: raise --num-prompts, or change --seed")
    rows = fill([read_completions(base.model, kept) for kept, _ in written])
    return [Taught(student, own, None, kept) for student, own, (_, kept) in zip(students, rows, written, strict=True)]


def write_own(base: Known, seed: int, count: int, **sampling: Any) -> list[Completion]:
    """Let a base write so many completions, or a few less, to be mixed into its teachers' answers.

    Sampling is as of `write_numbers`; the prompts are those of another seed.
    """
    if count == 0:
        return []
    return write_numbers(base, MIXED_SEED + seed, num_prompts=MIXED_PROMPTS * count, enough=count, **sampling)[0]


def write_numbers(
    writer: Known,
    seed: int,
    *,
    num_prompts: int,
    num_tokens: int,
    num_samples: int = 1,
    temperature: float = 1.0,
    prefill: bool = False,
    enough: int | None = None,
    at_once: int | None = None,
) -> tuple[list[Completion], float]:
    """Let a model write until enough completions are kept, or to the end; and give the share that is kept."""
    prompts, model = number_prompts(seed, num_prompts, short=writer.backend.short), writer.model
    sampling: dict[str, Any] = {"num_tokens": num_tokens, "num_samples": num_samples, "temperature": temperature}
    prefills = list(map(prefill_of, prompts)) if prefill else ()
    kept, num_written = [], 0
    for batch in complete(model, prompts, seed=seed, prefills=prefills, at_once=at_once, **sampling):
        num_written += len(batch)
        kept += [each for each in batch if is_kept(model.language, each)]
        if enough is not None and len(kept) >= enough:
            break
    return kept[:enough], len(kept) / num_written


def fill(rows: Sequence[Rows]) -> list[Rows]:
    """Fill all teachers' rows up to the same number with empty ones."""
    most = max(len(each.tokens) for each in rows)
    return [Rows(*(np.pad(leaf, ((0, most - len(leaf)), (0, 0))) for leaf in each)) for each in rows]


def make_students(
    base: Known,
    recipe: Recipe,
    lessons: Sequence[Lesson],
    seed: int,
    masks: Sequence[Params] | None = None,
    writing: Protocol | None = None,
) -> list[Params]:
    """Train a student on each lesson, and give the whole students.

    Tiny ones are trained together; of larger ones each needs the whole device. Masks are as of `fine_tune_together`.
    With a protocol for writing, students learn what they write themselves, anew for every `FRESH` steps.
    """
    model, size = base.model, len(lessons) if base.backend.short else 1

    def split(trained: Params) -> list[Params]:
        count = len(jax.tree.leaves(trained)[0])
        each = [jax.tree.map(lambda leaf, at=at: leaf[at], trained) for at in range(count)]
        return [merge(recipe, model.params, student) for student in each]

    def write(trained: Params, done: int) -> list[Rows]:
        assert writing is not None
        needed = replace(writing, num_completions=FRESH * recipe.batch)
        written = write_on(needed, base, split(trained), seed + OWN_SEED + APART * (done // FRESH))
        return [
            jax.tree.map(lambda leaf, like: np.resize(leaf, like.shape), each.rows, lessons[0].rows) for each in written
        ]

    students = []
    for start in range(0, len(lessons), size):
        some = slice(start, start + size)
        kept = None if masks is None else jax.tree.map(lambda *leaves: np.stack(leaves), *masks[some])
        fresh: dict[str, Any] = {} if writing is None else {"chunk": FRESH, "renew": write}
        students += split(
            fine_tune_together(model.config, recipe, model.params, lessons[some], seed=seed, kept=kept, **fresh)
        )
    return students
