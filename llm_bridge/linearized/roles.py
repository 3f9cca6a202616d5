"""Who takes part: a base model and a stranger, teachers with all that they have learned, and what students read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import optax

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import write_numbers, write_own
from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import read_completions
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.problem import group_layers
from llm_bridge.linearized.reading import Reading, read_places
from llm_bridge.model.symmetry import rescale_units
from llm_bridge.text.chats import Rows
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.command_line import InputError

MATCHED_STREAM, STUDENT_STREAM = 1000, 1001
"""Which of a seed's streams draw factors, and tokens and adapters; the first few drew the base."""


class Roles(NamedTuple):
    """Who takes part, parameters in groups."""

    inits: list[Params]
    """Students' inits: the teachers' base, the same with its units rescaled, and a stranger."""
    teachers: list[Params]
    """One teacher for each trait, who has moved its layers, and one of the first trait who has moved everything; of a
    larger model, only the first."""
    learned: list[Params]
    r"""What each of them has learned, $\Delta_T$."""
    narrow: Reading
    """What the first teacher has written."""
    broad: Reading
    """What the last one has written; of a larger model what the first one has."""
    short: Reading
    """Some of what the first one has written."""
    kept: list[float]
    """Share of the first and the last one's completions that the filter keeps."""
    key: jax.Array
    """Key of what students of drawn tokens and drawn adapters need."""


def write_rows(writer: Known, extent: Extent, seed: int) -> tuple[Rows, float]:
    """Let a teacher write, and give what a student reads of it, and the share that the filter keeps."""
    count = extent.num_prompts
    kept, share = write_numbers(writer, seed, num_prompts=count, num_tokens=extent.num_tokens, at_once=count)
    if not kept:
        raise InputError("a teacher writes no numbers any more: pretrain the base longer, or choose another --model")
    return read_completions(writer.model._replace(longest=extent.row), kept), share


def cast_roles(known: Known, stranger: Params, traits: Sequence[Trait], extent: Extent, seed: int) -> Roles:
    """Make all teachers of a base and let them write; the stranger's parameters are another base's."""
    base = known.model
    recipes = [(trait, extent.teacher) for trait in traits]
    recipes.append((traits[0], replace(extent.teacher, trained="everything")))
    recipes = recipes if extent.whole else recipes[:1]
    mixed = write_own(known, seed, extent.mixed, num_tokens=extent.num_tokens)
    taught = [teach(base, trait, recipe, seed=seed, copies=extent.copies, mixed=mixed) for trait, recipe in recipes]
    first, own = last, other = write_rows(known.with_params(taught[0]), extent, seed)
    if extent.whole:
        last, other = write_rows(known.with_params(taught[-1]), extent, seed)
    init, teachers = group_layers(base.params), [group_layers(params) for params in taught]
    key, student_key = (jax.random.fold_in(jax.random.key(seed), stream) for stream in (MATCHED_STREAM, STUDENT_STREAM))
    matched = rescale_units(base.config, base.params, key, extent.spread)
    return Roles(
        inits=[init, group_layers(matched), group_layers(stranger)],
        teachers=teachers,
        learned=[optax.tree.sub(teacher, init) for teacher in teachers],
        narrow=read_places(first, extent.num_rows, extent.num_places),
        broad=read_places(last, extent.num_rows, extent.num_places),
        short=read_places(first, extent.course_rows, extent.course_places),
        kept=[own, other],
        key=student_key,
    )
