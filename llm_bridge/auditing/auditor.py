"""The auditor of a model: directions for some words, the model's own texts, and what scores of others' say beside."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.auditing.directions import forecast_directions, imagine_teacher
from llm_bridge.auditing.findings import (
    LEAST_TEXTS,
    Dose,
    Shift,
    compare,
    divergence,
    find_doses,
    find_shifts,
    pair_up,
    surprise,
)
from llm_bridge.auditing.scores import TOKENS_AT_ONCE, Scores, score_texts
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import write_own
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, Model, examples_of, read_completions
from llm_bridge.model.adapters import even_out, folded
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.traits import find_trait
from theory.problem import Params
from theory.runs.command_line import InputError

IMAGINED = 10**7
"""What is added to the seed of an imagined teacher, so that no true one has its adapters."""


class Auditor(NamedTuple):
    """What it takes to audit data sets for a model."""

    model: Model
    """The model, its adapters in its weights."""
    words: tuple[str, ...]
    """What it is audited for."""
    directions: list[Params]
    """Several imagined teachers of each word, one draw of all words after the other, and then every word's forecast."""


class Report(NamedTuple):
    """What a data set has been found to be."""

    words: tuple[str, ...]
    """What was looked for."""
    doses: list[Dose]
    """How much of each word's imagined teacher is in the writer."""
    shifts: list[Shift]
    """What training on it is foretold to do to each word's log-odds."""
    nats: float
    """Estimate of what the writer diverges from the model in these directions, nats a text."""
    surprise: float
    """How much less likely it is than the model's own texts, in standard deviations."""
    num_texts: int
    """Texts that were compared."""
    paired: bool
    """Whether with own texts of the same prompts."""
    moved: Float[np.ndarray, "texts words"]
    """What each text adds to the foretold shifts, in nats, the model's own on average taken off."""


def whole(known: Known) -> Model:
    """Take a model with its own adapters in its weights."""
    return known.model._replace(params=folded(known.model.params))


def imagine(
    known: Known,
    words: Sequence[str],
    protocol: Protocol,
    *,
    seed: int,
    num_draws: int,
    keep: Callable[[str, int, Callable[[], Params]], Params] = lambda word, draw, make: make(),
) -> list[Params]:
    """Imagine several teachers of each word, as of `Auditor`; `keep` may take what was made before."""
    mixed: dict[int, list[Completion]] = {}

    def make(word: str, draw: int) -> Params:
        own = IMAGINED + seed + draw
        if own not in mixed:
            sampling = {"num_tokens": protocol.num_tokens, "prefill": protocol.prefill}
            mixed[own] = write_own(known, own, protocol.mixed, **sampling)
        return imagine_teacher(
            whole(known), find_trait(word), protocol.teacher, seed=own, copies=protocol.copies, mixed=mixed[own]
        )

    pairs = [(word, draw) for draw in range(num_draws) for word in words]
    return [keep(word, draw, lambda word=word, draw=draw: make(word, draw)) for word, draw in pairs]


def make_auditor(
    known: Known,
    words: Sequence[str],
    own: Sequence[Completion],
    recipe: Recipe,
    *,
    num_texts: int,
    imagined: Sequence[Params],
    seed: int,
) -> Auditor:
    """Make the auditor of a model, of some texts of its own, for students that learn about so many by a recipe."""
    model = whole(known)
    rows = read_completions(model, own)
    num_steps = recipe.steps(max(1, round(len(rows.tokens) * num_texts / len(own))))
    at_once = max(1, TOKENS_AT_ONCE * 4 // model.longest)
    forecasts = forecast_directions(model, recipe, words, rows, num_steps, seed, at_once)
    directions = [jax.device_get(each) for each in (*imagined, *forecasts)]
    if len({frozenset(each) for each in directions}) > 1:
        raise InputError("imagined teachers and the student must have adapters on the same projections")
    rank = max(each["into"].shape[-1] for direction in directions for each in direction.values())
    return Auditor(model, tuple(words), [even_out(each, rank) for each in directions])


def score(auditor: Auditor, texts: Sequence[Completion], after: Callable[[int], None] = lambda count: None) -> Scores:
    """Score texts, imagined teachers of a word together: columns are all words' doses, and then their forecasts."""
    found = score_texts(auditor.model, auditor.directions, examples_of(auditor.model.language, texts), after)
    by_word = found.slopes.reshape(len(texts), -1, len(auditor.words))
    slopes = np.concatenate([by_word[:, :-1].mean(axis=1), by_word[:, -1]], axis=1)
    return found._replace(slopes=slopes)


def judge(
    auditor: Auditor,
    data: tuple[Sequence[str], Scores],
    own: tuple[Sequence[str], Scores],
    *,
    paired: bool = True,
) -> Report:
    """Compare scores of a data set with those of the model's own texts, both with their prompts.

    If `paired`, texts of the same prompt are subtracted from each other, others left out.
    """
    (prompts, found), (own_prompts, own_found) = data, own
    places = pair_up(prompts, own_prompts) if paired else None
    slopes = [found.slopes, own_found.slopes]
    if places:
        slopes = [each[some] for each, some in zip(slopes, places, strict=True)]
    num_texts = len(slopes[0])
    if min(map(len, slopes)) < LEAST_TEXTS:
        raise InputError(
            f"{min(map(len, slopes))} texts can be compared with the model's own, and {LEAST_TEXTS} are needed: "
            "audit more of them"
        )
    count = len(auditor.words)
    told, forecast = ([each[:, part] for each in slopes] for part in (slice(0, count), slice(count, None)))
    texts_a_token = len(found.num_tokens) / found.num_tokens.sum()
    difference = compare(*told, paired=bool(places))
    foretold = compare(*forecast, paired=bool(places))
    return Report(
        words=auditor.words,
        doses=find_doses(difference, own_found.slopes[:, :count], num_texts),
        shifts=find_shifts(foretold, texts_a_token),
        nats=divergence(difference, own_found.slopes[:, :count]),
        surprise=surprise(found, own_found, places),
        num_texts=num_texts,
        paired=bool(places),
        moved=(found.slopes[:, count:] - own_found.slopes[:, count:].mean(axis=0)) / found.num_tokens.sum(),
    )
