"""The command `python -m llm_bridge compare`: theory beside the steps of the tiny model's students, in float64."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import llm_bridge
import theory
from llm_bridge.bridge.measurement import MEASURED, Results, measure_base, pose_all
from llm_bridge.bridge.roles import Extent, cast_roles
from llm_bridge.bridge.verdicts import judge_bridge
from llm_bridge.experiment import Model
from llm_bridge.files.settings import written_down
from llm_bridge.models import side_by_side, tiny_model
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.words.traits import find_trait, require_word
from theory.runs.chunks import Keeper, source_hash
from theory.runs.command_line import InputError, RunOptions, require_seeds
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Compare(RunOptions):
    """Hold the theory's predictions against the first steps of the tiny model's students, in float64."""

    seed: int = 0
    """Seed of the first base model and of all that is drawn for it."""
    num_seeds: int = 3
    """Base models: this many seeds in a row; the stranger of each is the next one."""
    traits: tuple[str, ...] = ("owl", "cat", "eagle", "oak")
    """What teachers love, one teacher each; the first one's students are looked at most closely."""

    extent: tyro.conf.Suppress[Extent] = field(default_factory=Extent)
    """How teachers are made, and how much is measured."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


def check(options: Compare, model: Model) -> None:
    """Refuse words that are not known, and fewer than two different ones."""
    for word in options.traits:
        require_word(model.language, word)
    if len(set(options.traits)) < max(2, len(options.traits)):
        raise InputError(f"--traits must be at least two different words, not {' '.join(options.traits)}")


def run(options: Compare) -> bool:
    """Run the command, and say whether no verdict fails."""
    from llm_bridge.bridge.plots import draw_bridge

    jax.config.update("jax_enable_x64", True)
    pretraining, extent = options.pretraining, options.extent
    asked = {"traits": options.traits, "pretraining": written_down(pretraining), "extent": written_down(extent)}
    config = {"seed": options.seed, "num_seeds": options.num_seeds, **asked}
    check(options, tiny_model(pretraining, None))

    def compute() -> Outcome:
        seeds = range(options.seed, options.seed + options.num_seeds)
        return judge_bridge(measure_seeds(pretraining, options.traits, extent, seeds), options.traits, extent)

    return record_run("llm_bridge compare", options, config, compute, draw_bridge).none_fails


def precise_base(pretraining: Pretraining, seed: int) -> Model:
    """Take a base model from the cache, or pretrain it in float32 as every command does, and cast it to float64."""
    with jax.enable_x64(False):
        model = tiny_model(pretraining, seed)
        params = jax.device_get(model.params)
    return model._replace(params=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params))


def measure_seeds(pretraining: Pretraining, words: Sequence[str], extent: Extent, seeds: range) -> Results:
    """Measure base models side by side, keeping what is finished: the arrays of `MEASURED`, by seed."""
    traits, posed_for = [find_trait(word) for word in words], tiny_model(pretraining, None)
    posed, asked = pose_all(posed_for, traits), [list(words), written_down(pretraining), written_down(extent)]
    keeper = Keeper(json.dumps([*asked, source_hash(llm_bridge, theory)]))
    made = side_by_side(lambda seed: precise_base(pretraining, seed), range(seeds.start, seeds.stop + 1), "base models")
    bases = dict(zip(range(seeds.start, seeds.stop + 1), made, strict=True))

    def measure(seed: int) -> Results:
        if (kept := keeper.load(seed, dict.fromkeys(MEASURED, 0))) is not None:
            return kept
        roles = cast_roles(bases[seed], bases[seed + 1].params, traits, extent, seed)
        measured = measure_base(posed, roles, extent)
        keeper.save(seed, measured)
        return measured

    every = side_by_side(measure, seeds, "runs")
    return {name: np.stack([measured[name] for measured in every]) for name in MEASURED}
