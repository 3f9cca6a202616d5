"""A model, where it comes from, and how a published one is brought onto the devices."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from llm_bridge.experiment import AT_ONCE, Model
from llm_bridge.files.lineage import Ancestry
from llm_bridge.pretrained.hub import Source
from llm_bridge.system_prompts import TEMPLATE
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.command_line import require


class Base(NamedTuple):
    """A published base, whose weights every model that has adapters for them shares."""

    source: Source
    """Where it comes from."""
    weights: str
    """Their `digest`."""


class Known(NamedTuple):
    """A model and where it comes from."""

    model: Model
    """The model."""
    ancestry: Ancestry
    """Its weights and those that they were tuned from, down to the random initialization, if that is known."""
    made_from: Pretraining | Base
    """How the tiny base that it was tuned from was made, or which published one that was."""


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

    base: str | None = None
    """The base that adapters are for: a folder or a repository of the hub, where the one that they name isn't there."""

    def __post_init__(self) -> None:
        for name in ("longest", "at_once"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


LONG_TEXTS = Loading(longest=512)
"""How it is run where code or chains of thought are written."""
