"""The base models that an experiment runs on, each a run of its own, and their strangers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import jax
import numpy as np
import tyro

import llm_bridge
import theory
from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.backends.tiny import TINY
from llm_bridge.carriers.numbers import numbers
from llm_bridge.carriers.reading import require_prompts
from llm_bridge.experiment.writing import Model, can_imitate
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.chunks import Keeper, source_hash
from theory.runs.command_line import InputError, RunOptions, require_seeds
from theory.runs.records import Outcome

Result = TypeVar("Result")
"""What an experiment gives on one base."""


@dataclass(frozen=True, kw_only=True)
class OnBases(RunOptions):
    """What every experiment can be told of its bases."""

    model: str = TINY
    """The base: `tiny`, the model that is trained here; a folder of a Hugging Face checkpoint; a GGUF file; `smollm2`,
    of the extra `smol`; or a repository of the hub, as `owner/name` or `owner/name@revision`."""
    stranger: str | None = None
    """Another published model, of another init; `random`, the base's shape at random weights; or `rescaled`, the base's
    function with other weights, every unit scaled. For the tiny model it is the next seed's."""
    seed: int = 0
    """Root of all randomness; the tiny base's seed, whose stranger is the next seed's."""
    num_seeds: int = 1
    """Tiny bases, or runs of a published one, each with teachers and students of its own."""

    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=Loading)
    """How a published model is run."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How tiny bases are made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.num_seeds)

    @property
    def backend(self) -> Backend:
        """The base's kind."""
        return find_backend(self.model, self.pretraining, self.loading)

    @property
    def seeds(self) -> range:
        """The seeds, one a run."""
        return range(self.seed, self.seed + self.num_seeds)

    def named(self) -> dict[str, str]:
        """Name a published base and its stranger so that the names mean the same weights for ever."""
        if self.model == TINY:
            return {}
        other = self.backend.stranger(self.stranger)
        return {"model": self.backend.identity()} | ({"stranger": other.identity()} if other else {})

    def bases(self) -> list[tuple[int, Known, Known | None]]:
        """Take the base of each run and its stranger."""
        return self.backend.bases(self.seeds, self.backend.stranger(self.stranger))

    def introduce(self, outcome: Outcome) -> Outcome:
        """Say above the table of a published base's outcome which models it is about."""
        about = "".join(f"{role}: {name}\n" for role, name in self.named().items())
        return outcome._replace(table=f"{about}\n{outcome.table}") if about else outcome


def require_relatives(options: OnBases, num_prompts: int, num_tokens: int, *, prefill: bool = False) -> Model:
    """Refuse a base without a stranger of its shape and tokens, or without room for numbers, and take its reader.

    Nothing is loaded before.
    """
    reader, other = options.backend.reader(), options.backend.stranger(options.stranger)
    if other is None:
        raise InputError(
            "strangers are the control here: name by --stranger a model of the same shape and another init"
        )
    if not can_imitate(other.reader(), reader):
        raise InputError(
            f"{other.name} has another shape or other tokens than {options.model}: name another --stranger"
        )
    if prefill or not options.backend.short:
        carrier = numbers(short=options.backend.short, prefill=prefill)
        prompts = carrier.prompts(options.seed, num_prompts)
        require_prompts(reader, "numbers", prompts, num_tokens, prefills=carrier.prefills(prompts))
    return reader


def run_on_bases(
    bases: Sequence[tuple[int, Known, Known | None]],
    made: Any,
    like: Result,
    run: Callable[[Known, Known, int], Result],
    title: str,
) -> Result:
    """Run an experiment on every base and stack what comes out; a base's run is kept once it is done.

    Tiny ones run side by side; of larger ones each needs the whole machine. `made` is what results depend on, as far as
    JSON can hold it, `like` a tree such as a run gives.
    """
    keeper = Keeper(json.dumps([made, source_hash(llm_bridge, theory)]))

    def one(job: tuple[int, Known, Known | None]) -> Result:
        seed, base, stranger = job
        assert stranger is not None
        return keeper.kept(seed, like, lambda: run(base, stranger, seed))

    tiny = all(base.backend.short for _, base, _ in bases)
    runs = side_by_side(one, bases, title, tiny=tiny)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
