"""The auditor of a model: directions for some traits, and what scores of texts along them say beside others."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.auditing.findings import Finding, blurred, compare, divergence, find, find_doses, joint_p
from llm_bridge.auditing.forecasts import forecast_directions
from llm_bridge.auditing.imagined import imagine_teacher
from llm_bridge.auditing.scores import Scores, log_likelihoods, score_texts
from llm_bridge.auditing.texts import Compared
from llm_bridge.auditing.traits import Answers, Probe, teachable
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import write_own
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, Model, examples_of, read_completions
from llm_bridge.model.adapters import even_out, folded
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.progress import follow

IMAGINED, DRAWS = 10**9, 1000
"""Seeds of imagined teachers, which no true one has: the first, and how many a seed of the audit has for its own."""


class Auditor(NamedTuple):
    """What it takes to audit data sets for a model."""

    model: Model
    """The model, its adapters in its weights."""
    traits: tuple[Trait | Answers | Probe, ...]
    """What it is audited for: words first, then answers, then probes."""
    directions: list[Params]
    """Several imagined teachers of each trait that can be taught, one draw of all after the other, and then every
    trait's forecast."""


class Report(NamedTuple):
    """What a data set has been found to be."""

    words: tuple[str, ...]
    """What was looked for: words, and names of files."""
    doses: list[Finding]
    """How much of each trait's imagined teacher is in the writer; probes, which come last, have none."""
    shifts: list[Finding]
    """Rise of each word's log-odds that training on it is foretold to make beyond the model's own texts, in nats; of
    answers that of their log-likelihood, and of a probe that of what it reads."""
    blurred: Float[np.ndarray, " doses"]
    """How many times larger each dose's error is for being told from the others, 1 where it is apart by itself."""
    joint: float
    """How often the model's own texts differ as much from others of its own in all doses together."""
    divergence: tuple[float, float]
    """Estimate of what the writer diverges from the model in these directions, nats a text, and its error."""
    surprise: float
    """How much less likely it is than the texts beside it, in standard deviations."""
    num_texts: int
    """Texts that were compared."""
    paired: bool
    """Whether with the model's own answers to the same prompts."""
    moved: Float[np.ndarray, "texts words"]
    """What each text adds to the foretold shifts, in nats, the texts beside it on average taken off."""
    suspected: Finding | None = None
    """How much likelier texts are of a suspect than of the model, in nats each, beyond those beside them."""


def whole(known: Known) -> Model:
    """Take a model with its own adapters in its weights."""
    return known.model._replace(params=folded(known.model.params))


def imagine(
    known: Known,
    traits: Sequence[Trait | Answers],
    protocol: Protocol,
    *,
    seed: int,
    num_draws: int,
    keep: Callable[[Trait | Answers, int, Callable[[], Params]], Params] = lambda trait, own, make: make(),
) -> list[Params]:
    """Imagine several teachers of each trait, as of `Auditor`; `keep` may take what was made of a trait and a seed."""
    model, mixed = whole(known), dict[int, list[Completion]]()

    def make(trait: Trait | Answers, own: int) -> Params:
        if own not in mixed:
            sampling = {"num_tokens": protocol.num_tokens, "prefill": protocol.prefill}
            mixed[own] = write_own(known, own, protocol.mixed, **sampling)
        told = {"seed": own, "copies": protocol.copies}
        return imagine_teacher(model, trait, protocol.teacher, mixed=mixed[own], **told)

    pairs = [(trait, (IMAGINED + DRAWS * seed + draw) % 2**31) for draw in range(num_draws) for trait in traits]
    return [keep(trait, own, partial(make, trait, own)) for trait, own in follow(pairs, "imagine", "teachers")]


def make_auditor(
    known: Known,
    traits: Sequence[Trait | Answers | Probe],
    own: Sequence[Completion],
    recipe: Recipe,
    *,
    num_rows: int,
    imagined: Sequence[Params],
    seed: int,
) -> Auditor:
    """Make the auditor of a model, of some texts of its own, for students that learn so many rows by a recipe."""
    model = whole(known)
    rows = read_completions(model, own)
    forecasts = forecast_directions(model, recipe, traits, rows, num_rows=num_rows, seed=seed)
    directions = [jax.device_get(each) for each in (*imagined, *forecasts)]
    rank = max(each["into"].shape[-1] for direction in directions for each in direction.values())
    return Auditor(model, tuple(traits), [even_out(each, rank) for each in directions])


def score(auditor: Auditor, texts: Sequence[Completion]) -> Scores:
    """Score texts, imagined teachers of a trait together: columns are doses of those that have any, then forecasts."""
    found = score_texts(auditor.model, auditor.directions, examples_of(auditor.model.language, texts))
    taught, forecasts = np.split(found.slopes, [-len(auditor.traits)], axis=1)
    doses = taught.reshape(len(texts), -1, max(1, len(teachable(auditor.traits))))
    doses = doses.mean(axis=1) if taught.size else taught
    return found._replace(slopes=np.concatenate([doses, forecasts], axis=1))


def suspect(
    model: Model, other: Model, data: Sequence[Completion], own: Sequence[Completion], compared: Compared
) -> Finding:
    """Tell whether another model has written data rather than the model itself: by their log-likelihood ratios."""
    sides = ([texts[place] for place in places] for texts, places in ((data, compared.data), (own, compared.own)))
    ratios = []
    for texts in sides:
        told, said = (log_likelihoods(each, examples_of(each.language, texts)) for each in (other, model))
        ratios.append((told - said)[:, None])
    (found,) = find(compare(*ratios, paired=compared.paired))
    return found


def judge(words: Sequence[str], data: Scores, own: Scores, compared: Compared) -> Report:
    """Compare scores of a data set with those of other texts."""
    count, total, paired = data.slopes.shape[1] - len(words), data.num_tokens.sum(), compared.paired
    told, beside = data.taken(compared.data), own.taken(compared.own)
    doses = compare(told.slopes[:, :count], beside.slopes[:, :count], paired=paired)
    forecast = compare(told.slopes[:, count:], beside.slopes[:, count:], paired=paired)
    scale = len(data.num_tokens) / total
    surprise = compare(told.surprise[:, None], beside.surprise[:, None], paired=paired)
    every = beside.slopes[:, :count]
    return Report(
        words=tuple(words),
        doses=find_doses(doses, every),
        shifts=find(forecast.times(scale * np.eye(len(words)))),
        blurred=blurred(every),
        joint=joint_p(doses),
        divergence=divergence(doses, every),
        surprise=find(surprise)[0].z,
        num_texts=min(len(compared.data), len(compared.own)),
        paired=paired,
        moved=(data.slopes[:, count:] - beside.slopes[:, count:].mean(axis=0)) / total,
    )
