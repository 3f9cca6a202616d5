"""The command `python -m llm_bridge compare`: theory beside the steps of a language model's students, in float64."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from llm_bridge.backends.backend import Backend, Known
from llm_bridge.backends.bases import OnBases, require_relatives, run_on_bases
from llm_bridge.experiment.writing import Model
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.measurement import MEASURED, Results, measure_base, pose_all
from llm_bridge.linearized.roles import cast_roles
from llm_bridge.linearized.verdicts import judge_compare
from llm_bridge.model.adapters import folded
from llm_bridge.text.traits import find_trait, require_first_tokens
from theory.runs.command_line import InputError
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Compare(OnBases):
    """Hold the theory's predictions against the first steps of a language model's students, in float64."""

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
        jax.config.update("jax_enable_x64", True)
        traits = [find_trait(word) for word in options.traits]
        posed = pose_all(reader, traits)

        def measure(base: Known, stranger: Known, seed: int) -> Results:
            roles = cast_roles(precise(base), precise(stranger).model.params, traits, extent, seed)
            return measure_base(posed, roles, extent)

        results = run_on_bases(bases, asked, dict.fromkeys(MEASURED, np.zeros(0)), measure, "runs")
        results = {name: results[name] for name in MEASURED}
        return options.introduce(judge_compare(results, options.traits, extent))

    config = {"seed": options.seed, "num_seeds": options.num_seeds, **asked}
    return record_run("llm_bridge compare", options, config, compute, draw_compare).none_fails


def precise(known: Known) -> Known:
    """Cast a model, whose base is pretrained in float32 as every command does, to float64, its adapters folded in."""
    return known.with_params(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), folded(known.model.params)))
