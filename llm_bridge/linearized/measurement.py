"""All that `compare` measures of one base model, by name, axes in the order of the tuples here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from llm_bridge.experiment.writing import Model
from llm_bridge.linearized import quantities, training_run
from llm_bridge.linearized.descent import explore, predict_course, simulate_course
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.problem import LanguageProblem, as_inputs, meet, pose
from llm_bridge.linearized.reading import Reading, set_exam
from llm_bridge.linearized.results import IMITATED, INITS, SHARED, STRANGER, TARGETS, TEACHERS, Results
from llm_bridge.linearized.roles import Roles
from llm_bridge.linearized.trait_matrix import gram_matrix, predict_lifts
from llm_bridge.text.tokens import number_tokens
from llm_bridge.text.traits import Trait
from theory.claims.adam import Adam
from theory.claims.epochs import NUM_PRODUCTS, Epochs
from theory.finite_step import FiniteStep
from theory.labels import CERTAIN
from theory.losses import squared_error
from theory.problem import Params

RECORDS: dict[str, Any] = {
    "steps/numbers": quantities.Steps,
    "steps/tokens": quantities.Steps,
    "directions": quantities.Directions,
    "sizes": quantities.Rates,
    "divergence": quantities.Divergence,
    "channels": quantities.Table,
    **{f"finite/{target}": FiniteStep for target in ("numbers", "tokens", "everything")},
    **{f"epochs/{kind}": Epochs for kind in ("limit", "tokens", "stranger")},
    **{f"adam/{kind}": Adam for kind in ("limit", "whole", "stranger")},
    "gains": training_run.Gains,
    "ranks": training_run.Ranks,
}
"""Where the fields of each record go."""

MEASURED: tuple[str, ...] = (
    *("kept", "rate", "size", "odds/inits", "odds/teachers", "gram", "heads"),
    *(f"course/{name}" for name in ("first order", "predicted", "raw", "idle")),
    *(f"{prefix}/{name}" for prefix, record in RECORDS.items() for name in record._fields),
)
"""Names of all measurements."""

OF_LARGER = ("kept", "size", "odds", "course", "directions", "divergence")
"""What is measured of a larger model, by the beginnings of names."""


def measured(extent: Extent) -> tuple[str, ...]:
    """Name what is measured."""
    return tuple(name for name in MEASURED if extent.whole or name.split("/")[0] in OF_LARGER)


class Posed(NamedTuple):
    """The problems, built once, so that every program is compiled once."""

    numbers: LanguageProblem
    """Imitates number tokens and moves the layers."""
    tokens: LanguageProblem
    """Imitates all tokens and moves the layers."""
    whole: tuple[LanguageProblem, ...]
    """One for each of `IMITATED`, all of which move everything."""


def pose_all(model: Model, traits: Sequence[Trait]) -> Posed:
    """Build the problems of a family of models, of which any one will do."""
    exam, chosen = set_exam(model.language, traits), number_tokens(model.language)
    numbers, tokens = (pose(model.config, exam, chosen=some) for some in (chosen, ()))
    whole = [pose(model.config, exam, chosen=some, moved="everything") for some in (chosen, ())]
    return Posed(numbers, tokens, (*whole, replace(whole[1], imitation_loss=squared_error)))


def stack(records: Sequence[Any], prefix: str, *axes: int) -> dict[str, np.ndarray]:
    """Put named tuples of arrays side by side: arrays of all fields, with leading axes of these lengths."""
    lists = {name: [np.asarray(getattr(record, name)) for record in records] for name in records[0]._fields}
    return {f"{prefix}/{name}": np.reshape(arrays, (*axes, *arrays[0].shape)) for name, arrays in lists.items()}


def answer(problem: LanguageProblem, params: Params, reading: Reading) -> Float[Array, "places vocabulary"]:
    """Compute a model's logits."""
    return jax.jit(problem.apply)(params, as_inputs(reading))


def measure_base(posed: Posed, roles: Roles, extent: Extent) -> Results:
    """Hold the theory against the steps of one base model's students: everything that is `measured`."""
    odds = jax.jit(posed.numbers.log_odds)
    courses, rates = measure_courses(posed.numbers, roles, extent)
    directions, steps = measure_first_steps(posed, roles)
    results = {
        "kept": np.array(roles.kept),
        "odds/inits": np.stack([odds(params) for params in roles.inits]),
        "odds/teachers": np.stack([odds(params) for params in roles.teachers]),
        **courses,
        **directions,
        **measure_divergences(posed, roles, extent),
    }
    if not extent.whole:
        return results
    return {
        **results,
        **measure_steps(posed, roles, rates, steps),
        **measure_forms(posed, roles),
        **measure_training(posed, roles, extent, rates[SHARED]),
    }


def measure_courses(problem: LanguageProblem, roles: Roles, extent: Extent) -> tuple[Results, list[float]]:
    """Predict and simulate long descents, behind the teacher and behind an untaught one, which moves strangers alone.

    A student of the same function as the teachers' base stands still behind an untaught one; its course is zero. Shapes
    are `(inits, times, words)`; with them comes the step size of each init.
    """
    met = [meet(roles.inits[0], init, roles.short) for init in roles.inits]
    spaces = [explore(problem, instance, roles.learned[0], extent.num_products) for instance in met]
    rates = [extent.speed / space.curvature for space in spaces]
    both = list(zip(spaces, rates, strict=True))

    def simulate(teacher: Params, place: int) -> np.ndarray:
        labels = answer(problem, teacher, roles.short)
        return np.asarray(simulate_course(problem, met[place], labels, jnp.asarray(rates[place]), extent.times))

    raw = np.stack([simulate(roles.teachers[0], place) for place in range(len(INITS))])
    idle = np.zeros_like(raw)
    idle[STRANGER] = simulate(roles.inits[0], STRANGER)
    first = [rate * np.multiply.outer(extent.times, np.asarray(space.lifts)[0]) for space, rate in both]
    courses = {
        "course/first order": np.stack(first),
        "course/predicted": np.stack([predict_course(space, rate, extent.times) for space, rate in both]),
        "course/raw": raw,
        "course/idle": idle,
    }
    return courses, rates


def measure_steps(posed: Posed, roles: Roles, rates: Sequence[float], steps: Sequence[Params]) -> Results:
    """Take single steps behind every teacher, and behind younger ones; and given ones in many sizes.

    Leading axes are `(inits, traits)` for number tokens, `(inits, 1)` for all tokens, and `(inits,)` for sizes.
    """
    met, results = [meet(roles.inits[0], init, roles.narrow) for init in roles.inits], {"rate": np.array(rates)}
    for name, problem, num_traits in (("numbers", posed.numbers, -1), ("tokens", posed.tokens, 1)):
        ways = roles.learned[:num_traits]
        pairs = [(instance, way, rate) for instance, rate in zip(met, rates, strict=True) for way in ways]
        taken = [quantities.follow_scales(problem, *pair) for pair in pairs]
        results |= stack(taken, f"steps/{name}", len(INITS), len(ways))
    way = roles.learned[0]
    sizes = [
        quantities.follow_rates(posed.numbers, met[row], way, steps[row], steps[row - 1]) for row in range(len(met))
    ]
    return results | stack(sizes, "sizes", len(INITS))


def measure_first_steps(posed: Posed, roles: Roles) -> tuple[Results, list[Params]]:
    """See where the first step goes, axes `(inits, targets)`, and give each init's step on number tokens."""
    met, way = [meet(roles.inits[0], init, roles.narrow) for init in roles.inits], roles.learned[0]
    soft = answer(posed.tokens, roles.teachers[0], roles.narrow)
    sampled = CERTAIN * jax.nn.one_hot(roles.narrow.successors, soft.shape[1], dtype=soft.dtype)
    lessons = [(posed.numbers, soft), (posed.tokens, soft), (posed.tokens, sampled)]
    directions, steps = [], []
    for instance in met:
        for place, (problem, labels) in enumerate(lessons):
            direction, step = quantities.point_first_step(problem, instance, way, labels)
            directions.append(direction)
            steps += [] if place else [step]
    found = stack(directions, "directions", len(INITS), len(TARGETS))
    return {**found, "size": np.array(optax.tree.size(way["layers"]))}, steps


def measure_divergences(posed: Posed, roles: Roles, extent: Extent) -> Results:
    """Measure how far teachers are from their base, axis `(teachers,)`."""
    base, taught = roles.inits[0], [(roles.narrow, roles.learned[0]), (roles.broad, roles.learned[-1])]
    taught = taught if extent.whole else taught[:1]
    nats = [quantities.measure_divergence(posed.whole[1], meet(base, base, reading), way) for reading, way in taught]
    return stack(nats, "divergence", len(taught))


def measure_forms(posed: Posed, roles: Roles) -> Results:
    """Compute what needs no student's step: channels and the Gram matrix of all teachers.

    Leading axes are `(teachers, inits, imitated)` and `(inits,)`.
    """
    base, taught = roles.inits[0], ((roles.narrow, roles.learned[0]), (roles.broad, roles.learned[-1]))
    tables = [
        quantities.measure_channels(problem, meet(base, init, reading), way)
        for reading, way in taught
        for init in roles.inits
        for problem in posed.whole
    ]
    met = [meet(base, init, roles.narrow) for init in roles.inits]
    return {
        **stack(tables, "channels", len(TEACHERS), len(INITS), len(IMITATED)),
        "gram": np.stack([gram_matrix(posed.numbers, instance, roles.learned[:-1]) for instance in met]),
    }


def measure_training(posed: Posed, roles: Roles, extent: Extent, rate: float) -> Results:
    """Go on from one small step: whole teachers, epochs, Adam, sampled tokens, adapters and a shared head.

    `heads` is how a step behind each teacher lifts every word in a stranger, and in one with the teachers' head,
    imitating number tokens or all: shape `(targets, heads, traits, words)`.
    """
    base, stranger, way, tokens = roles.inits[SHARED], roles.inits[STRANGER], roles.learned[0], posed.tokens
    narrow, broad = (meet(base, base, reading) for reading in (roles.narrow, roles.broad))
    shared, strange = (meet(base, init, roles.short) for init in (base, stranger))
    heads = [meet(base, init, roles.narrow) for init in (stranger, stranger | {"head": base["head"]})]
    limit_key, epoch_key, gain_key, rank_key = jax.random.split(roles.key, 4)
    spectrum = training_run.find_spectrum(tokens, shared, way, NUM_PRODUCTS)
    split = {
        "numbers": [training_run.split_scales(posed.numbers, narrow, each) for each in roles.learned[:-1]],
        "tokens": [training_run.split_scales(tokens, narrow, way)],
        "everything": [training_run.split_scales(problem, broad, roles.learned[-1]) for problem in posed.whole[:2]],
    }
    courses = (
        ("limit", shared, {"key": limit_key, "whole": False, "arms": training_run.IN_LIMIT}),
        ("tokens", shared, {"key": epoch_key, "whole": True, "arms": training_run.OF_TOKENS}),
        ("stranger", strange, {"key": epoch_key, "whole": True, "arms": training_run.OF_STRANGER}),
    )
    alone = {
        f"epochs/{name}": training_run.follow_epochs(tokens, met, way, spectrum, **told) for name, met, told in courses
    } | {
        "adam/limit": training_run.follow_adam(tokens, shared, way),
        "adam/whole": training_run.follow_adam(tokens, shared, way, whole=True),
        "adam/stranger": training_run.follow_adam(tokens, strange, way, whole=True),
        "gains": training_run.measure_gains(tokens, shared, way, jnp.asarray(rate), gain_key),
        "ranks": training_run.measure_ranks(tokens, shared, way, extent.speed, rank_key),
    }
    lifts = [
        [[predict_lifts(problem, met, each) for each in roles.learned[:-1]] for met in heads]
        for problem in (posed.numbers, tokens)
    ]
    results = {"heads": np.array(lifts)}
    for name, steps in split.items():
        results |= stack(steps, f"finite/{name}", len(steps))
    for name, record in alone.items():
        results |= stack([record], name)
    return results
