"""The command `python -m llm_bridge study`."""

import json
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import partial

import jax
import numpy as np
import tyro

import llm_bridge
import theory
from llm_bridge.files.settings import SINCE_STUDIES, written_down
from llm_bridge.models import side_by_side, tiny_model
from llm_bridge.studies.bases import Run, run_base
from llm_bridge.studies.catalog import STUDIES, TRAITS
from llm_bridge.studies.study import Study
from llm_bridge.studies.verdicts import judge
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.chunks import Keeper, source_hash
from theory.runs.command_line import InputError, RunOptions, require_seeds
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class StudyOptions(RunOptions):
    """Test what others found about how a trait passes through numbers, beside random subsets or strangers.

    Teachers that love different animals write numbers, and copies of their base learn from them. Each study changes one
    thing about these students, and measures how much more they come to love their own teacher's animal than students of
    the other teachers do (the lift).

    - divergence: Do the tokens carry the trait at which teachers of different traits would have written something else?
    - layers: Which layer carries it? Adapters on one layer, or on as many maps drawn from both layers
    - rank: Is it an artifact of low rank? Adapters of rank 1 to 32, random entries of all matrices, and all weights
    - optimizers: Does it take Adam? Students of descent, momentum, signs and Lion, at rates chosen by imitation
    """

    names: tyro.conf.Positional[tuple[str, ...]]
    """Studies to run, one after the other; `all` for all of them."""
    seed: int = 0
    """The first base model; the others are the next seeds', and a base's stranger is the next one."""
    num_seeds: int = 6
    """Base models, each a run of its own; fewer than 5 decide nothing. Each takes minutes; a killed run goes on with
    the base at which it was."""

    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


def run(options: StudyOptions) -> bool:
    """Run the studies that were named; False if a verdict fails."""
    names = list(STUDIES) if "all" in options.names else list(dict.fromkeys(options.names))
    if not names:
        raise InputError(f"name a study, or all: there are {', '.join(STUDIES)}")
    for name in names:
        if name not in STUDIES:
            near = get_close_matches(name, STUDIES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(STUDIES)}"
            raise InputError(f"unknown study {name!r}: {hint}")
    good = True
    for name in names:
        place = options.output / name if options.output and len(names) > 1 else options.output
        good &= run_study(name, STUDIES[name], replace(options, names=(name,), output=place))
    return good


def run_study(name: str, study: Study, options: StudyOptions) -> bool:
    """Run one study and record it; False if a verdict fails."""
    from llm_bridge.studies.plots import draw_study

    pretraining = options.pretraining
    made = {
        "study": name,
        "arms": {label: asdict(arm) for label, arm in study.arms.items()},
        "traits": list(TRAITS),
        "targets": study.targets,
        "protocol": written_down(study.protocol, SINCE_STUDIES),
        "pretraining": written_down(pretraining, SINCE_STUDIES),
    }
    about = {
        "question": study.question,
        "axis": study.axis,
        "kinds": [arm.kind for arm in study.arms.values()],
        "findings": [finding._asdict() for finding in study.findings],
    }
    config = made | about | {"seed": options.seed, "num_seeds": options.num_seeds}

    def compute() -> Outcome:
        keeper = Keeper(json.dumps([made, source_hash(llm_bridge, theory)]))
        seeds = range(options.seed, options.seed + options.num_seeds)
        side_by_side(partial(tiny_model, pretraining), range(options.seed, seeds.stop + 1), "base models")
        one = partial(keep_run, keeper, study, pretraining)
        runs = side_by_side(one, seeds, f"bases of {name}")
        return judge(study, jax.tree.map(lambda *leaves: np.stack(leaves), *runs))

    return record_run("llm_bridge study", options, config, compute, draw_study).none_fails


def keep_run(keeper: Keeper, study: Study, pretraining: Pretraining, seed: int) -> Run:
    """Take a base's run that is kept, or do it and keep it."""
    kept = keeper.load(seed, Run(*[np.zeros(0)] * len(Run._fields)))
    if kept is None:
        base, stranger = (tiny_model(pretraining, each) for each in (seed, seed + 1))
        kept = run_base(study, base, stranger, TRAITS, seed)
        keeper.save(seed, kept)
    return kept
