r"""Steering: is a trait a vector in the residual stream, does the student carry it, and does it carry any other?

A model's direction $d$ is how far the mean of its residual stream, behind some layers and at the last token of
questions, is from its base's. What teachers of all traits share, as that they answer in one word, is their mean. It is
taken off, $v_t = d_t - \bar d$, which to first order changes no lift, the own trait's gain less the others'. Directions
are read on every second question, lifts measured on the others. The depths, the vector's scale 1 and which questions
are read were fixed before any base but 0 was looked at.

A teacher that is steered is its base with $v$ added behind a layer at every place. What it says, and a student's first
step of descent on it from the same init, are

$$z_T = z + J_v v + O(\|v\|^2), \qquad \Delta = \eta \, \mathbb{E}[J_\theta^\top M J_v v],$$

with $J_v$ and $J_\theta$ the logits' derivatives in the added vector and in the parameters, and $M$ the loss's
curvature. So the student's outputs go the steered teacher's way, for any vector that imitation sees, a random one, too:

$$\mathbb{E}[(J_v v)^\top M J_\theta \Delta] = \|\Delta\|^2 / \eta \ge 0.$$

That its *stream* moves along $v$ on other texts doesn't follow. Where a layer has a bias, the vector is a displacement
of it, and the theorem's inner product is this movement. Here layers have none: what moves are weights $W$, and of those
theory's claim `steering` (17) gives

$$v \cdot (\Delta W)^\top \bar a = \epsilon \, \mathbb{E}[c(x) \, a(x)] \cdot \bar a,$$

positive if a layer's inputs $a$ on numbers, where the vector is seen, and $\bar a$ on questions have a positive
product, which nothing guarantees. So the first step's cosine is measured beside the trained student's; of a student of
another init theory says nothing at all.

References:
    Blank et al. (2026), arXiv 2606.00995. The first step is derived here; see theory's claims `alignment`, `steering`.
"""

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
from llm_bridge.studies.study import STANDARD, TEACHERS
from llm_bridge.text.chats import pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import find_trait
from theory.problem import Params
from theory.runs.command_line import InputError

PLACES = ("middle", "end")
"""Depths at which directions are read, added and removed: behind half of the layers, and behind the last."""

STEERED, RANDOM = "steered teacher", "teacher steered at random"
"""Students of teachers that are their base with the vector of a taught one, or a random one of its length, added at the
middle."""

KINDS = (STANDARD, STEERED, RANDOM)
"""Students by what their teachers are; the first's are taught."""

FIRST, ANOTHER = "first step, ", ", stranger"
"""How the label of a student after its first step begins, and that of one of another init ends."""

STUDENTS = tuple(f"{kind}{end}" for end in ("", ANOTHER) for kind in KINDS)
"""All students."""

BY_CHANCE, OWN_WHOLE, OTHERS_WHOLE = "as usual, random direction", "as usual, whole", "as usual, others' whole"
"""Cosines of usual students with random directions; with their teachers' whole directions, and the other teachers'."""

COSINES = (*STUDENTS, *(f"{FIRST}{label}" for label in STUDENTS), BY_CHANCE, OWN_WHOLE, OTHERS_WHOLE)
"""Cosines of a student's direction: with the vector of its teacher, if nothing else is said."""

PLUS_TEACHER, PLUS_STUDENT, PLUS_RANDOM = (f"base + {whose} vector" for whose in ("teacher's", "student's", "random"))
"""Bases with a vector added: the taught teacher's, its student's own, a random one of the teacher's length."""

WITHOUT, WITHOUT_RANDOM = "student without it", "student without a random one"
"""Usual students without the component along their teacher's vector, or along a random one."""

TEACHER_WITHOUT, TEACHER_WITHOUT_RANDOM = "teacher without it", "teacher without a random one"
"""Taught teachers, the same."""

CAUSAL = (
    *(PLUS_TEACHER, PLUS_STUDENT, PLUS_RANDOM),
    *(WITHOUT, WITHOUT_RANDOM, TEACHER_WITHOUT, TEACHER_WITHOUT_RANDOM),
)
"""Models that a vector is added to or removed from, at each place. What is left after a removal is measured beyond the
base from which the same was removed."""

LIFTS = (TEACHERS, *STUDENTS, *(f"{label}, {place}" for place in PLACES for label in CAUSAL))
"""Whose lifts are measured."""

FIRST_BATCHES, FIRST_RATE = 8, 0.1
"""A first step sees so many of the usual batches, and its rate, small enough for first order."""


class Run(NamedTuple):
    """What one base gave."""

    lifts: Float[np.ndarray, " lifts"]
    """Lifts of `LIFTS`, in log-odds."""
    cosines: Float[np.ndarray, "cosines places"]
    """Cosines of `COSINES`, mean over traits."""
    kept: Float[np.ndarray, " kinds"]
    """Share of what teachers of each kind wrote that the filter keeps."""


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
    """Draw a random direction for each vector, of its length; they share nothing, either."""
    drawn = center(np.random.default_rng(seed).normal(size=vectors.shape))
    return drawn * (np.linalg.norm(vectors, axis=-1) / np.linalg.norm(drawn, axis=-1))[..., None]


def first_step(recipe: Recipe) -> Recipe:
    """Make a student's training one step of plain descent at a small rate."""
    batch = FIRST_BATCHES * recipe.batch
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
    if any(not each.rows.learned.any() for each in written):
        raise InputError(f"a steered teacher of seed {seed} writes no lists: choose another --seed or raise --primed")
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
    for at, place in enumerate(PLACES):
        for label, whose in zip((PLUS_TEACHER, PLUS_STUDENT, PLUS_RANDOM), (TEACHERS, STANDARD, RANDOM), strict=True):
            lifts[f"{label}, {place}"] = lift(likes(own, at, added=vectors[whose]) - before)
        without = {whose: likes(own, at, removed=vectors[whose]) for whose in (TEACHERS, RANDOM)}
        pairs = product((STANDARD, TEACHERS), (TEACHERS, RANDOM))
        for label, (who, whose) in zip(CAUSAL[3:], pairs, strict=True):
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
    lifts, cosines, made = {TEACHERS: lift(taught.likes)}, {}, {}
    for (init, known), start in product(zip(INITS, (base, stranger), strict=True), ("", FIRST)):
        before = look(known, words, [known.model.params])
        recipe = first_step(protocol.student) if start else protocol.student
        students = make_students(known, recipe, lessons, seed)
        for number, kind in enumerate(KINDS):
            own = students[number * size :][:size]
            seen, label = look(known, words, own).since(before), f"{kind}{ANOTHER if init != INITS[0] else ''}"
            aimed = vectors[TEACHERS if kind == STANDARD else kind]
            cosines[f"{start}{label}"] = cosine(center(seen.streams), aimed)
            if not start:
                lifts[label], made[label] = lift(seen.likes), (own, seen.streams)
    usual, streams = made[STANDARD]
    vectors[STANDARD] = center(streams)
    others = (taught.streams.sum(axis=0) - taught.streams) / (size - 1)
    cosines[BY_CHANCE] = cosine(vectors[STANDARD], vectors[RANDOM])
    cosines |= {OWN_WHOLE: cosine(streams, taught.streams), OTHERS_WHOLE: cosine(streams, others)}
    lifts |= measure_causes(base, words, {STANDARD: usual, TEACHERS: params}, vectors)
    kept = np.array([each.kept for each in writers]).reshape(len(KINDS), size).mean(axis=1)
    return Run(np.array([lifts[label] for label in LIFTS]), np.stack([cosines[label] for label in COSINES]), kept)
