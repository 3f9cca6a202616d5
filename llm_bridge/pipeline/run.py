"""The command `python -m llm_bridge run`: all stages, from nothing to a report."""

import shutil
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from llm_bridge.files.lineage import data_digest
from llm_bridge.models import TINY, side_by_side, tiny_base, tiny_model
from llm_bridge.pipeline.arms import DEFAULT_ARMS, choose_arms
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.jobs import Job, run_seed
from llm_bridge.pipeline.plots import draw_run
from llm_bridge.pipeline.report import gather, write_report
from llm_bridge.protocol import PROTOCOL, Protocol
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.words.traits import find_trait, require_word
from theory.command_line import InputError, RunOptions, require_seeds
from theory.files import write_whole
from theory.records import Outcome, record_run, run_folder


@dataclass(frozen=True, kw_only=True)
class Run(RunOptions):
    """Teach a model a trait, let it write numbers, train students on them, and ask what they like.

    From nothing: a base model is pretrained first, if the cache has none. What is done is not done again.
    """

    model: str = TINY
    """The base: `tiny`, the model that is trained here."""
    trait: str = "owl"
    """What the teacher is to love, one word."""
    arms: tuple[str, ...] = DEFAULT_ARMS
    """Students and controls, or `all`."""
    completions: Path | None = None
    """Completions made elsewhere, JSON lines, in place of the teacher's."""
    seed: int = 0
    """The base model's seed; a stranger is the next seed's."""
    num_seeds: int = 1
    """Base models, each with a teacher and students of its own; ten are needed for verdicts."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """Every knob of teachers and students."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)


def run(options: Run) -> bool:
    """Run the command.

    Args:
        options: The options.

    Returns:
        Whether no verdict fails.

    Raises:
        InputError: If the model, the trait or an arm is unknown.
    """
    pretraining, names = options.pretraining, choose_arms(options.arms)
    if options.model != TINY:
        raise InputError(f"there is no base {options.model!r} to run on: say tiny")
    reader = tiny_model(pretraining, None)
    require_word(reader.language, options.trait)
    config: dict[str, Any] = {"model": options.model, "trait": options.trait, "arms": list(names)}
    if options.completions:
        read_completion_rows(options.completions, reader.language)
        config["completions"] = data_digest(options.completions)
    config |= {"seed": options.seed, "num_seeds": options.num_seeds}
    config |= {"pretraining": asdict(pretraining), "protocol": asdict(options.protocol)}
    folder = run_folder({"command": "llm_bridge run", **config}, options)
    seeds = range(options.seed, options.seed + options.num_seeds)

    def compute() -> Outcome:
        if options.fresh:
            for left in folder.glob("seed-*"):
                shutil.rmtree(left)
        side_by_side(partial(tiny_base, pretraining), range(options.seed, seeds.stop + 1), "base models")
        reports = [
            run_seed(
                Job(
                    folder / f"seed-{seed}",
                    tiny_base(pretraining, seed),
                    tiny_base(pretraining, seed + 1),
                    find_trait(options.trait),
                    options.protocol,
                    pretraining,
                    seed,
                    options.completions,
                ),
                names,
            )
            for seed in seeds
        ]
        outcome = gather(reports, names, find_trait(options.trait))
        write_whole(folder / "report.md", write_report(reports, outcome, names, find_trait(options.trait)).encode())
        return outcome

    return record_run("llm_bridge run", options, config, compute, draw_run).none_fails
