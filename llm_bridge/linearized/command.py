"""The command `python -m llm_bridge compare`: theory beside the steps of a language model's students."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.typing import DTypeLike

from llm_bridge.backends.backend import Backend, Known
from llm_bridge.backends.bases import OnBases, require_relatives, run_on_bases
from llm_bridge.experiment.protocol import SMALL
from llm_bridge.experiment.writing import Model
from llm_bridge.linearized.extent import OF_SMALL, Extent
from llm_bridge.linearized.measurement import Results, measure_base, measured, pose_all
from llm_bridge.linearized.roles import cast_roles
from llm_bridge.linearized.verdicts import judge_compare
from llm_bridge.model.adapters import folded
from llm_bridge.text.traits import find_trait, require_first_tokens
from theory.runs.command_line import InputError
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Compare(OnBases):
    """Hold the theory's predictions against the first steps of a language model's students.

    In float64; of smollm2 in float32, of the first trait's teacher alone, and without what doesn't fit.
    """

    num_seeds: int = 3
    """Tiny bases, or runs of a published one, each with teachers of its own."""
    traits: tuple[str, ...] = ("owl", "cat", "eagle", "oak")
    """What teachers love, one teacher each; the first one's students are looked at most closely."""

    extent: tyro.conf.Suppress[Extent] = field(default_factory=Extent)
    """How teachers are made, and how much is measured."""


def published_compare(backend: Backend) -> Compare:
    """Say what is compared of a published model if nothing else is said: its texts are longer."""
    loading, knobs = replace(backend.usually("numbers"), dtype="float32"), backend.knobs("numbers")
    extent = Extent(num_tokens=knobs.num_tokens, mixed=knobs.mixed, row=loading.longest)
    if knobs is SMALL:
        extent = replace(OF_SMALL, teacher=SMALL.teacher, copies=SMALL.copies, num_tokens=SMALL.num_tokens)
        return Compare(stranger="random", traits=("owl", "cat", "eagle", "dolphin"), loading=loading, extent=extent)
    return Compare(loading=loading, extent=extent)


def check(options: Compare, model: Model) -> None:
    """Refuse traits that can't be used."""
    if len(set(options.traits)) < max(2, len(options.traits)):
        raise InputError(f"--traits must be at least two different words, not {' '.join(options.traits)}")
    require_first_tokens(model.language, options.traits)


def run(options: Compare) -> bool:
    """Run the command; False if a verdict fails."""
    from llm_bridge.linearized.plots import draw_compare

    extent = options.extent
    reader = require_relatives(options, extent.num_prompts, extent.num_tokens)
    check(options, reader)
    backend = options.backend
    asked = {"traits": list(options.traits), **backend.settings(), "extent": backend.written_down(extent)}
    asked |= options.named()

    def compute() -> Outcome:
        bases = options.bases()
        jax.config.update("jax_enable_x64", extent.whole)
        traits, dtype = [find_trait(word) for word in options.traits], jnp.float64 if extent.whole else jnp.float32
        posed = pose_all(reader, traits)

        def measure(base: Known, stranger: Known, seed: int) -> Results:
            known, other = (cast_to(dtype, each) for each in (base, stranger))
            roles = cast_roles(known, other.model.params, traits, extent, seed)
            return measure_base(posed, roles, extent)

        results = run_on_bases(bases, asked, dict.fromkeys(measured(extent), np.zeros(0)), measure, "runs")
        results = {name: results[name] for name in measured(extent)}
        return options.introduce(judge_compare(results, options.traits, extent))

    config = {"seed": options.seed, "num_seeds": options.num_seeds, **asked}
    return record_run("llm_bridge compare", options, config, compute, draw_compare).none_fails


def cast_to(dtype: DTypeLike, known: Known) -> Known:
    """Cast a model, whose base is pretrained in float32 as every command does, its adapters folded in."""
    return known.with_params(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), folded(known.model.params)))
