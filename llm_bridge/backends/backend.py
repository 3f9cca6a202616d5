"""What every experiment needs to know of a kind of models, and a model of some kind with where it comes from."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

from llm_bridge.experiment.protocol import Protocol as Knobs
from llm_bridge.experiment.writing import AT_ONCE, Model
from llm_bridge.files.lineage import Ancestry
from llm_bridge.files.settings import LATER
from llm_bridge.model.mesh import Devices
from llm_bridge.pretrained.hub import Source
from llm_bridge.text.system_prompts import TEMPLATE
from theory.problem import Params
from theory.runs.command_line import require


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a published model is run; for the tiny one all this is fixed."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Floating-point type of a published model's weights; adapters are trained and kept in float32."""
    longest: int = 256
    """Tokens of a published model's longest text, and of a row that several texts are packed into."""
    at_once: int = 2 * AT_ONCE
    """Prompts that a published model completes at once: as many as the device's memory holds."""
    system_prompt: str = TEMPLATE
    """What stands before a chat that has no system prompt of its own: what the chat `template` does by itself, which
    may be a default; `none`; or a text, which the tiny model's stages take, too."""

    primed: int = 0
    """Steps on lists of random numbers by which a whole checkpoint is tuned first, so that it writes lists where it
    would rather talk; what comes out is the base of all that follows, and is kept in the cache. Adapters are for the
    base that they were tuned from as it is."""

    base: str | None = None
    """The base that adapters are for, named as a model is, where the one that they name isn't there."""

    def __post_init__(self) -> None:
        for name in ("longest", "at_once"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.primed >= 0, "primed", "at least 0", self.primed)


LONG_TEXTS = Loading(longest=512)
"""How it is run where code or chains of thought are written."""


class Weights(NamedTuple):
    """Published weights, which every model that has adapters for them shares."""

    source: Source
    """Where they come from."""
    digest: str
    """Their `digest`."""


class Backend(Protocol):
    """A kind of models under the name of one of them."""

    @property
    def name(self) -> str:
        """The model's name on the command line."""
        ...

    @property
    def short(self) -> bool:
        """Whether it knows a small world alone: short prompts, the system prompts of that world."""
        ...

    @property
    def dtype(self) -> str:
        """Type of its weights."""
        ...

    def knobs(self, carrier: str) -> Knobs:
        """The protocol that is its own, where it writes this."""
        ...

    def usually(self, carrier: str) -> Loading:
        """Say how it is run if nothing else is said, where it writes this."""
        ...

    def reader(self) -> Model:
        """Take the model without parameters, which need neither training nor memory."""
        ...

    def load(self, seed: int) -> "Known":
        """Take the model, of this seed if it is made here."""
        ...

    def stranger(self, name: str | None) -> "Backend | None":
        """Find the kind of a base's stranger, a model of another init, by what it is called; None if there is none.

        What can't be the base of an experiment, or its stranger, is refused.
        """
        ...

    def bases(self, seeds: range, stranger: "Backend | None") -> "list[tuple[int, Known, Known | None]]":
        """Take the base of each seed, and its stranger."""
        ...

    def identity(self) -> str:
        """Give a name that means the same weights, or the same way to make them, for ever."""
        ...

    def settings(self, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        """Say how it is made or run, as far as results depend on it.

        `later` is as of `files.settings.written_down`.
        """
        ...

    def written_down(self, options: Any, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        """Write down options of an experiment with it, as far as results depend on them."""
        ...

    def answer_tokens(self, words: list[list[int]]) -> int:
        """Say how many tokens an answer that is one of these words may have."""
        ...

    def placed(
        self, devices: Devices, needed: Callable[[Model], int] = lambda reader: 0
    ) -> AbstractContextManager[None]:
        """Put its mesh of devices in force; `needed` says what bytes it needs beside its weights, on all together."""
        ...

    def path(self, name: Path) -> Path:
        """Say where a model that was tuned from one of this kind is kept."""
        ...

    def settings_at(self, path: Path) -> Any:
        """Read what the stage was told that made a model at this path; None if there is no finished one."""
        ...

    def read(self, path: Path, base: "Known") -> "Known":
        """Read a finished model that was tuned from another."""
        ...

    def write(self, path: Path, parent: "Known", params: Params, settings: Mapping[str, Any]) -> "Known":
        """Keep a model that was tuned from another, with what its stage was told."""
        ...


class Known(NamedTuple):
    """A model and where it comes from."""

    model: Model
    """The model."""
    ancestry: Ancestry
    """Its weights and those that they were tuned from, down to the random initialization, if that is known."""
    backend: Backend
    """Its kind."""
    weights: Weights | None = None
    """The published weights that its adapters are for."""

    def with_params(self, params: Params) -> Self:
        """Give it other parameters."""
        return self._replace(model=self.model._replace(params=params))
