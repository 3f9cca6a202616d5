"""The tiny model, which is pretrained here, and what was tuned from it: safetensors files that say what they are."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import msgspec

from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.writing import Model
from llm_bridge.files.checkpoints import load_checkpoint, save_checkpoint
from llm_bridge.files.lineage import Ancestry, data_digest, digest
from llm_bridge.files.settings import LATER, written_down
from llm_bridge.model.mesh import Devices
from llm_bridge.model.shapes import initialize
from llm_bridge.text.system_prompts import TEMPLATE, with_system_prompt
from llm_bridge.tiny.pretraining import ROW, Pretraining, base_model, read_world, shape_of
from theory.problem import Params
from theory.runs.command_line import InputError

TINY = "tiny"
"""Name of the tiny base model."""


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """The tiny base, or a file of what a stage tuned from it; as of `Backend`."""

    name: str = TINY
    """`tiny`, or the file."""
    pretraining: Pretraining = field(default_factory=Pretraining)
    """How the base is made."""
    system_prompt: str = TEMPLATE
    """What stands before a chat without one, as of `Loading`."""

    short = True
    dtype = "float32"

    def knobs(self, carrier: str) -> Protocol:
        return PROTOCOL

    def usually(self, carrier: str) -> Loading:
        return Loading()

    def reader(self) -> Model:
        model = tiny_model(self.pretraining, None)
        return model._replace(language=with_system_prompt(model.language, self.system_prompt))

    def load(self, seed: int) -> Known:
        path = Path(self.name)
        if self.name == TINY:
            known = tiny_base(self.pretraining, seed)
        elif path.is_file():
            known = read_tuned(path, self.pretraining)
        else:
            raise InputError(f"there is no model {self.name}: say tiny, or name a checkpoint that a stage has written")
        return known._replace(model=known.model._replace(language=self.reader().language))

    def stranger(self, name: str | None) -> Backend:
        if self.system_prompt != TEMPLATE:
            raise InputError("--system-prompt goes with a published --model, or with a stage by itself")
        if self.name != TINY:
            raise InputError(f"there is no base {self.name!r} to run on: say tiny, or name a published model")
        if name is not None:
            raise InputError("--stranger goes with a published --model: the tiny model's stranger is the next seed's")
        return self

    def bases(self, seeds: range, stranger: Backend | None) -> list[tuple[int, Known, Known | None]]:
        """Make those that the cache has not; a base's stranger is the next seed's."""
        make = partial(tiny_base, self.pretraining)
        bases = side_by_side(make, range(seeds.start, seeds.stop + 1), "base models")
        return list(zip(seeds, bases, bases[1:], strict=False))

    def identity(self) -> str:
        return self.name if self.name == TINY else data_digest(Path(self.name))

    def settings(self, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        return {"pretraining": written_down(self.pretraining, later)}

    def written_down(self, options: Any, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        return written_down(options, later)

    def answer_tokens(self, words: list[list[int]]) -> int:
        return 1 + max(map(len, words))

    @contextmanager
    def placed(self, devices: Devices, needed: Callable[[Model], int] = lambda reader: 0) -> Iterator[None]:
        if devices != Devices():
            raise InputError("the tiny model runs on one device of one process: leave --tensor and --coordinator out")
        yield

    def path(self, name: Path) -> Path:
        return name.with_name(f"{name.name}.safetensors")

    def settings_at(self, path: Path) -> Any:
        return read_settings(path) if path.exists() else None

    def read(self, path: Path, base: Known) -> Known:
        return read_tuned(path, self.pretraining)

    def write(self, path: Path, parent: Known, params: Params, settings: Mapping[str, Any]) -> Known:
        params = jax.device_get(params)
        known = parent.with_params(params)._replace(ancestry=parent.ancestry.tuned(params))
        made = {"ancestry": asdict(known.ancestry), "settings": dict(settings), **self.settings()}
        save_checkpoint(path, params, metadata={name: json.dumps(value) for name, value in made.items()})
        return known


def is_tiny(name: str) -> bool:
    """Tell whether a model's name is `tiny`, or a file, as what was tuned from it is, but no GGUF file."""
    try:
        suffix = Path(name).suffix
        return name == TINY or suffix == ".safetensors" or (suffix != ".gguf" and Path(name).is_file())
    except OSError:
        return False


def tiny_model(pretraining: Pretraining, seed: int | None) -> Model:
    """Take a tiny base model, from the cache or made now; without a seed it has no parameters, but reads and writes."""
    params = None if seed is None else base_model(pretraining, seed)
    return Model(shape_of(pretraining), params, read_world(pretraining.world).language, ROW)


@cache
def tiny_base(pretraining: Pretraining, seed: int) -> Known:
    """Take a tiny base model; its ancestor is the random initialization."""
    model = tiny_model(pretraining, seed)
    init = initialize(model.config, jax.random.key(seed))
    ancestry = Ancestry(weights=digest(model.params), ancestors=(digest(init),))
    return Known(model, ancestry, Tiny(pretraining=pretraining))


def read_tuned(path: Path, pretraining: Pretraining) -> Known:
    """Read a model that was tuned from a tiny base; refuse a damaged file, and a base that was made in another way."""
    model = tiny_model(pretraining, None)
    like = jax.eval_shape(lambda: initialize(model.config, jax.random.key(0)))
    params, metadata = load_checkpoint(path, like)
    try:
        made_from = json.loads(metadata.get("pretraining", "null"))
        known = msgspec.json.decode(metadata.get("ancestry", ""), type=Ancestry)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error
    if made_from != json.loads(json.dumps(written_down(pretraining))):
        raise InputError(f"{path} is a checkpoint of another config of the tiny model: make it anew")
    if digest(params) != known.weights:
        raise InputError(f"{path} is damaged: its weights aren't those that were written; make it anew")
    return Known(model._replace(params=params), known, Tiny(pretraining=pretraining))


def read_settings(path: Path) -> Any:
    """Read what the stage that wrote a model was told."""
    content = path.read_bytes()
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header.get("__metadata__", {}).get("settings", "null"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error
