"""The command `python -m llm_bridge matrix`."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
import tyro

from llm_bridge.backends.bases import OnBases, require_relatives, run_on_bases
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.writing import Model
from llm_bridge.matrix.cells import TARGETS, Run, run_base
from llm_bridge.matrix.verdicts import judge
from llm_bridge.text.traits import find_trait, require_first_tokens
from theory.runs.command_line import InputError
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Matrix(OnBases):
    """Give teachers different traits, and see which trait each teacher's numbers pass on."""

    traits: tuple[str, ...] = ("cat", "eagle", "dolphin", "tiger", "penguin")
    """Words of one kind, one teacher each."""
    targets: tuple[str, ...] = ("sampled numbers", "number distribution")
    """What students imitate: `sampled numbers`, the teacher's `number distribution`, or `everything`, its distribution
    over the whole vocabulary."""
    num_seeds: int = 5
    """Tiny bases, or runs of a published one, each with teachers and students of its own; fewer than 5 decide
    nothing."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """Every knob of teachers and students."""


def check(options: Matrix, model: Model) -> None:
    """Refuse traits or targets that can't be used."""
    words, kinds = set(options.traits), {find_trait(word).kind for word in options.traits}
    if len(words) < max(2, len(options.traits)) or len(kinds) > 1:
        raise InputError(f"--traits must be at least two different words of one kind, not {' '.join(options.traits)}")
    require_first_tokens(model.language, options.traits)
    if not options.targets or not set(options.targets) <= set(TARGETS):
        raise InputError(f"--targets must be among {', '.join(map(repr, TARGETS))}, not {' '.join(options.targets)}")


def run(options: Matrix) -> bool:
    """Run the command; False if a verdict fails."""
    from llm_bridge.matrix.plots import draw_matrix

    protocol = options.protocol
    check(options, require_relatives(options, protocol.num_prompts, protocol.num_tokens, prefill=protocol.prefill))
    options = replace(options, targets=tuple(name for name in TARGETS if name in options.targets))
    backend = options.backend
    asked = {"traits": list(options.traits), "targets": list(options.targets), "seed": options.seed}
    made = options.named() | backend.settings() | {"protocol": backend.written_down(protocol)}

    def compute() -> Outcome:
        like = Run(*[np.zeros(0)] * len(Run._fields))
        on_base = partial(run_base, options.traits, options.targets, protocol)
        runs = run_on_bases(options.bases(), asked | made, like, on_base, "runs")
        return options.introduce(judge(runs, options.targets, options.traits))

    config = asked | {"num_seeds": options.num_seeds} | made
    return record_run("llm_bridge matrix", options, config, compute, draw_matrix).none_fails
