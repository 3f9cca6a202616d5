"""The command `python -m llm_bridge matrix`."""

import json
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import numpy as np
import tyro

import llm_bridge
import theory
from llm_bridge.experiment import Model
from llm_bridge.files.settings import written_down
from llm_bridge.matrix.cells import TARGETS, Run, run_base
from llm_bridge.matrix.verdicts import judge
from llm_bridge.models import side_by_side, tiny_model
from llm_bridge.protocol import PROTOCOL, Protocol
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.words.traits import find_trait, require_word
from theory.runs.chunks import Keeper, source_hash
from theory.runs.command_line import InputError, RunOptions, require_seeds
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Matrix(RunOptions):
    """Give teachers different traits, and see which trait each teacher's numbers pass on."""

    traits: tuple[str, ...] = ("cat", "eagle", "dolphin", "tiger", "penguin")
    """Words of one kind, one teacher each."""
    targets: tuple[str, ...] = ("sampled numbers", "number distribution")
    """What students imitate: `sampled numbers`, the teacher's `number distribution`, or `everything`, its distribution
    over the whole vocabulary."""
    seed: int = 0
    """The first base model; the others are the next seeds', and a base's stranger is the next one."""
    num_seeds: int = 5
    """Base models, each a run of its own."""

    protocol: tyro.conf.Suppress[Protocol] = PROTOCOL
    """Every knob of teachers and students."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


def check(options: Matrix, model: Model) -> None:
    """Refuse traits or targets that can't be used."""
    for word in options.traits:
        require_word(model.language, word)
    words, kinds = set(options.traits), {find_trait(word).kind for word in options.traits}
    if len(words) < max(2, len(options.traits)) or len(kinds) > 1:
        raise InputError(f"--traits must be at least two different words of one kind, not {' '.join(options.traits)}")
    if not options.targets or not set(options.targets) <= set(TARGETS):
        raise InputError(f"--targets must be among {', '.join(map(repr, TARGETS))}, not {' '.join(options.targets)}")


def run(options: Matrix) -> bool:
    """Run the command; False if a verdict fails."""
    from llm_bridge.matrix.plots import draw_matrix

    check(options, tiny_model(options.pretraining, None))
    options = replace(options, targets=tuple(name for name in TARGETS if name in options.targets))
    pretraining, protocol = options.pretraining, options.protocol
    asked = {"traits": list(options.traits), "targets": list(options.targets), "seed": options.seed}
    made = {"pretraining": written_down(pretraining), "protocol": written_down(protocol)}
    config = asked | {"num_seeds": options.num_seeds} | made

    def compute() -> Outcome:
        keeper = Keeper(json.dumps([asked | made, source_hash(llm_bridge, theory)]))
        seeds = range(options.seed, options.seed + options.num_seeds)
        side_by_side(partial(tiny_model, pretraining), range(options.seed, seeds.stop + 1), "base models")
        runs = side_by_side(partial(one_run, options, keeper), seeds, "runs")
        return judge(jax.tree.map(lambda *leaves: np.stack(leaves), *runs), options.targets, options.traits)

    return record_run("llm_bridge matrix", options, config, compute, draw_matrix).none_fails


def one_run(options: Matrix, keeper: Keeper, seed: int) -> Run:
    """Take a base's run that is kept, or do it and keep it."""
    kept = keeper.load(seed, Run(*[np.zeros(0)] * len(Run._fields)))
    if kept is not None:
        return kept
    base, stranger = (tiny_model(options.pretraining, each) for each in (seed, seed + 1))
    done = run_base(base, stranger, options.traits, options.targets, options.protocol, seed)
    keeper.save(seed, done)
    return done
