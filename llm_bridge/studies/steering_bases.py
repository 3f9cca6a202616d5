"""One base of the study of steering: teachers of three kinds, their students, and vectors added and removed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import INITS, Taught, fill, make_students, make_teachers, write_on
from llm_bridge.experiment.likes import log_odds, word_log_probabilities
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Model
from llm_bridge.matrix.verdicts import lift
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config
from llm_bridge.model.steering import cut_behind, steer
from llm_bridge.model.transformer import precise, run_layers
from llm_bridge.studies.bases import measure_distance
from llm_bridge.studies.steering import (
    ANOTHER,
    BY_CHANCE,
    CAUSAL,
    COSINES,
    FIRST,
    KINDS,
    LIFTS,
    OTHERS_WHOLE,
    OWN_WHOLE,
    PLACES,
    RANDOM,
    STEERED,
    STUDENTS,
    Run,
)
from llm_bridge.studies.study import STANDARD, TEACHERS
from llm_bridge.text.chats import pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import find_trait
from theory.problem import Params

FIRST_BATCHES, FIRST_RATE = 8, 0.1
"""A first step sees so many of the usual batches, if there are, and its rate, small enough for first order."""

FEW = 64
"""Rows on which it is measured how well students imitate."""


class Seen(NamedTuple):
    """What some models show, one of each trait."""

    likes: Float[np.ndarray, "models words"]
    """Log-odds of every word, averaged over the questions that are asked."""
    streams: Float[np.ndarray, "models places width"]
    """Residual stream at the last token, averaged over the questions that are read."""

    def since(self, before: "Seen") -> "Seen":
        """Subtract what another showed."""
        return Seen(*(own - other for own, other in zip(self, before, strict=True)))


def depths_of(config: Config) -> tuple[int, int]:
    """Say behind how many layers the places are."""
    return max(1, config.num_layers // 2), config.num_layers


@partial(jax.jit, static_argnames=("config", "depth"))
def mean_stream(
    config: Config,
    depth: int,
    params: Params,
    tokens: Int[Array, "prompts longest"],
    lengths: Int[Array, " prompts"],
) -> Float[Array, " width"]:
    """Average the residual stream behind some layers, at the prompts' last tokens."""
    cut, first = cut_behind(config, params, depth)
    stream, _ = run_layers(cut, first, tokens, normed=False)
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    return jnp.mean(precise(last), axis=0)


def ask_others(model: Model, words: Sequence[str]) -> Float[np.ndarray, " words"]:
    """Measure log-odds of words, averaged over the questions on which no direction is read."""
    questions = questions_about(find_trait(words[0]).kind)[1::2]
    return log_odds(word_log_probabilities(model, questions, words)).mean(axis=0)


def look(known: Known, words: Sequence[str], models: Sequence[Params]) -> Seen:
    """Ask models, and read their streams."""
    config, language = known.model.config, known.model.language
    prompts = pad(language.prompts(questions_about(find_trait(words[0]).kind)[::2]))
    streams = [[mean_stream(config, depth, each, *prompts) for depth in depths_of(config)] for each in models]
    likes = [ask_others(known.with_params(each).model, words) for each in models]
    return Seen(np.stack(likes), np.array(jax.device_get(streams)))


def center(directions: Float[np.ndarray, "traits places width"]) -> Float[np.ndarray, "traits places width"]:
    """Take off what all traits share."""
    return directions - directions.mean(axis=0)


def cosine(
    first: Float[np.ndarray, "traits places width"], second: Float[np.ndarray, "traits places width"]
) -> Float[np.ndarray, " places"]:
    """Average the cosine of two directions over traits; 0 where one is zero."""
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (np.sum(first * second, axis=-1) / np.where(norms > 0, norms, 1)).mean(axis=0)


def draw_like(vectors: Float[np.ndarray, "traits places width"], seed: int) -> Float[np.ndarray, "traits places width"]:
    """Draw a random direction for each vector, of its length."""
    drawn = center(np.random.default_rng(seed).normal(size=vectors.shape))
    return drawn * (np.linalg.norm(vectors, axis=-1) / np.linalg.norm(drawn, axis=-1))[..., None]


def first_step(recipe: Recipe, num_rows: int) -> Recipe:
    """Make a student's training one step of plain descent at a small rate."""
    batch = min(FIRST_BATCHES, -(-num_rows // recipe.batch)) * recipe.batch
    return replace(recipe, optimizer="sgd", learning_rate=FIRST_RATE, num_steps=1, warmup=0, batch=batch)


def steer_all(
    known: Known, models: Sequence[Params], place: int, **vectors: Float[np.ndarray, "traits places width"]
) -> list[Params]:
    """Steer each model at a place by its own of the vectors, which are `added` or `removed`."""
    config, depth = known.model.config, depths_of(known.model.config)[place]
    return [
        steer(config, params, depth, **{way: each[number, place] for way, each in vectors.items()})
        for number, params in enumerate(models)
    ]


def measure_distances(known: Known, models: Sequence[Params], writers: Sequence[Taught]) -> float:
    """Average the KL from teachers to models over number tokens on the first rows of each teacher's."""
    config, chosen = known.model.config, number_tokens(known.model.language)
    some = [each._replace(held_out=jax.tree.map(lambda leaf: leaf[:FEW], each.rows)) for each in writers]
    pairs = zip(models, some, strict=True)
    return float(np.mean([measure_distance(config, chosen, params, teacher) for params, teacher in pairs]))


def write_all(
    protocol: Protocol, base: Known, teachers: Sequence[Taught], ways: Sequence[np.ndarray], seed: int
) -> list[Taught]:
    """Let steered teachers of all kinds write beside taught ones: one after the other, with the same number of rows.

    Taught ones are steered by nothing, so that one program trains all students.
    """
    own = base.model.params
    written = [*teachers]
    for vectors in ways:
        written += write_on(protocol, base, steer_all(base, [own] * len(teachers), 0, added=vectors), seed)
    still = steer_all(base, [each.params for each in teachers], 0)
    params = [*still, *(each.params for each in written[len(teachers) :])]
    rows = fill([each.rows for each in written])
    return [each._replace(params=p, rows=r) for each, p, r in zip(written, params, rows, strict=True)]


def measure_causes(
    base: Known,
    words: Sequence[str],
    models: Mapping[str, Sequence[Params]],
    vectors: Mapping[str, Float[np.ndarray, "traits places width"]],
) -> dict[str, Float[np.ndarray, ""]]:
    """Measure lifts of `CAUSAL`, place by place: of bases with vectors added, and of models with directions removed."""
    own = [base.model.params] * len(words)

    def likes(models: Sequence[Params], place: int, **way: np.ndarray) -> Float[np.ndarray, "traits words"]:
        steered = steer_all(base, models, place, **way)
        return np.stack([ask_others(base.with_params(each).model, words) for each in steered])

    before, lifts = ask_others(base.model, words), {}
    lengths = {whose: np.linalg.norm(vectors[whose], axis=-1, keepdims=True) for whose in (STANDARD, RANDOM)}
    short = vectors[RANDOM] * lengths[STANDARD] / lengths[RANDOM]
    added = dict(zip(CAUSAL, (vectors[TEACHERS], vectors[STANDARD], vectors[RANDOM], short), strict=False))
    for at, place in enumerate(PLACES):
        for label, each in added.items():
            lifts[f"{label}, {place}"] = lift(likes(own, at, added=each) - before)
        without = {whose: likes(own, at, removed=vectors[whose]) for whose in (TEACHERS, RANDOM)}
        pairs = product((STANDARD, TEACHERS), (TEACHERS, RANDOM))
        for label, (who, whose) in zip(CAUSAL[len(added) :], pairs, strict=True):
            left = likes(models[who], at, removed=vectors[whose]) - without[whose]
            lifts[f"{label}, {place}"] = lift(left)
    return lifts


def run_base(words: Sequence[str], protocol: Protocol, base: Known, stranger: Known, seed: int) -> Run:
    """Make teachers and students of one base, and read, add and remove their vectors."""
    teachers = make_teachers(base, words, protocol, seed)
    params = [each.params for each in teachers]
    taught = look(base, words, params).since(look(base, words, [base.model.params]))
    vectors, size = {TEACHERS: center(taught.streams)}, len(words)
    vectors[STEERED], vectors[RANDOM] = vectors[TEACHERS], draw_like(vectors[TEACHERS], seed)
    writers = write_all(protocol, base, teachers, (vectors[STEERED], vectors[RANDOM]), seed)
    chosen = number_tokens(base.model.language)
    lessons = [Lesson(each.rows, "chosen", each.params, chosen) for each in writers]
    lifts, cosines, made, distances = {TEACHERS: lift(taught.likes)}, {}, {}, {}
    for (init, known), start in product(zip(INITS, (base, stranger), strict=True), ("", FIRST)):
        before = look(known, words, [known.model.params])
        recipe = first_step(protocol.student, len(lessons[0].rows.tokens)) if start else protocol.student
        students = make_students(known, recipe, lessons, seed)
        for number, kind in enumerate(KINDS):
            own = students[number * size :][:size]
            seen, label = look(known, words, own).since(before), f"{kind}{ANOTHER if init != INITS[0] else ''}"
            aimed = vectors[TEACHERS if kind == STANDARD else kind]
            cosines[f"{start}{label}"] = cosine(center(seen.streams), aimed)
            if not start:
                lifts[label], made[label] = lift(seen.likes), (own, seen.streams)
                theirs = writers[number * size :][:size]
                starts = [known.model.params] * size
                distances[label] = [measure_distances(known, each, theirs) for each in (starts, own)]
    usual, streams = made[STANDARD]
    vectors[STANDARD] = center(streams)
    others = (taught.streams.sum(axis=0) - taught.streams) / (size - 1)
    cosines[BY_CHANCE] = cosine(vectors[STANDARD], vectors[RANDOM])
    cosines |= {OWN_WHOLE: cosine(streams, taught.streams), OTHERS_WHOLE: cosine(streams, others)}
    lifts |= measure_causes(base, words, {STANDARD: usual, TEACHERS: params}, vectors)
    kept = np.array([each.kept for each in writers]).reshape(len(KINDS), size).mean(axis=1)
    return Run(
        lifts=np.array([lifts[label] for label in LIFTS]),
        cosines=np.stack([cosines[label] for label in COSINES]),
        distances=np.array([distances[label] for label in STUDENTS]),
        kept=kept,
    )
