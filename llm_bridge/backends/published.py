"""Published models, and what was tuned from them: folders of whole checkpoints, or of adapters in PEFT's format."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp

from llm_bridge.backends.backend import LONG_TEXTS, Backend, Known, Loading, Weights
from llm_bridge.backends.priming import list_examples, prime, recipe_of
from llm_bridge.backends.strangers import Altered, alter
from llm_bridge.backends.tuned import adapted_weights, read_lineage, tuned_from, write_tuned
from llm_bridge.experiment.protocol import OF_CARRIER, PUBLISHED, SMALL, Protocol
from llm_bridge.experiment.writing import Model
from llm_bridge.files.lineage import Ancestry, Relation, digest, relation
from llm_bridge.files.objects import read_object
from llm_bridge.files.settings import LATER, without_sizes
from llm_bridge.model.adapters import join
from llm_bridge.model.mesh import Devices, choose_mesh, on_mesh
from llm_bridge.model.placement import fetch, spread
from llm_bridge.pretrained import adapters, hub
from llm_bridge.pretrained.adapters import DESCRIPTION, read_adapters
from llm_bridge.pretrained.gguf import SMOLLM2
from llm_bridge.pretrained.loading import read_published, read_reader
from llm_bridge.store import key_of
from llm_bridge.text.system_prompts import with_system_prompt
from theory.problem import Params
from theory.runs.command_line import InputError, require_writable
from theory.runs.files import cache_folder, json_text
from theory.runs.memory import fitting, use_nearly_all
from theory.runs.processes import agreed, joined

LONG_ANSWER = 16
"""Most tokens of a published model's answer, which may be more than the word that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A folder, a GGUF file or a repository of the hub: a checkpoint, or adapters for one; as of `Backend`."""

    name: str
    """The folder, the GGUF file, `smollm2`, or `owner/name`, or `owner/name@revision`."""
    loading: Loading = field(default_factory=Loading)
    """How it is run."""
    altered: Altered | None = None
    """What is done to its weights, if it is a stranger made of them."""

    short = False

    @property
    def dtype(self) -> str:
        return self.loading.dtype

    def knobs(self, carrier: str) -> Protocol:
        return SMALL if (self.name, carrier) == (SMOLLM2, "numbers") else OF_CARRIER.get(carrier, PUBLISHED)

    def usually(self, carrier: str) -> Loading:
        usual = Loading() if carrier == "numbers" else LONG_TEXTS
        if self.name == SMOLLM2:
            return replace(usual, dtype="float32", primed=30 if carrier == "numbers" else 0, at_once=100)
        said = None
        with suppress(InputError):
            said = read_lineage(Path(self.name)) if hub.is_folder(self.name) else None
        return replace(usual, dtype=said.dtype) if said and said.dtype else usual

    def reader(self) -> Model:
        folder = adapters_of(self.name)
        named = self.name if folder is None else self.loading.base or base_of(folder)
        model = read_reader(named, longest=self.loading.longest).model
        return self.run_as_told(model._replace(at_once=self.loading.at_once))

    def load(self, seed: int = 0) -> Known:
        if (folder := adapters_of(self.name)) is None:
            known = self.primed(self.whole(self.name))
        else:
            known = self.read(folder, self.whole(self.loading.base or base_of(folder)))
        if self.altered:
            known = alter(known, self.altered)
        return known._replace(model=self.run_as_told(known.model))

    def run_as_told(self, model: Model) -> Model:
        """Give a model the system prompt that was asked for."""
        return model._replace(language=with_system_prompt(model.language, self.loading.system_prompt))

    def whole(self, name: str) -> Known:
        """Take a checkpoint of this or another name, whose adapters will be kept apart from its weights."""
        with fitting(f"the model {name}", "take a smaller one, or more devices"):
            model, source = read_published(name, longest=self.loading.longest, dtype=jnp.dtype(self.dtype))
            weights = digest(model.params)
        said = read_lineage(source.folder)
        ancestry = Ancestry(weights=weights) if said is None else said.ancestry
        if ancestry.weights != weights:
            raise InputError(
                f"{source.folder} is damaged, or was not made in {self.dtype}: its weights aren't those that were "
                "written; say the --dtype that it was made with, or make it anew"
            )
        model = model._replace(params=model.params | {"adapters": {}}, at_once=self.loading.at_once)
        return Known(model, ancestry, self, Weights(source, weights))

    def primed(self, known: Known) -> Known:
        """Take what becomes of a checkpoint that is primed, from the cache, or make it and keep it there."""
        if self.loading.primed == 0:
            return known
        recipe, examples = recipe_of(self.loading.primed), list_examples(known.model.language, self.loading.primed)
        made = {"stage": "prime", "base": known.ancestry.weights, "recipe": self.written_down(recipe)}
        made |= {"examples": key_of({"examples": [[*map(list, each)] for each in examples]}), "jax": jax.__version__}
        made = json.loads(json_text(made))
        path = cache_folder() / "llm_bridge" / f"primed-{key_of(made)}"
        found = None
        with suppress(InputError):
            found = self.read(path, known) if self.settings_at(path) == made else None
        if agreed(found is not None):
            assert found is not None
            return found
        require_writable(path, folder=True, option="$XDG_CACHE_HOME")
        with fitting(f"the priming of {self.name}", "take a smaller one, or more devices"):
            params = prime(known.model, recipe, examples)
        return self.write(path, known, params, made)

    def stranger(self, name: str | None) -> Backend | None:
        if name in get_args(Altered):
            return replace(self, altered=name)
        return None if name is None else Published(name=name, loading=self.loading)

    def bases(self, seeds: range, stranger: Backend | None) -> list[tuple[int, Known, Known | None]]:
        """Take the same base, and the same stranger, for all seeds."""
        base, other = self.load(), None if stranger is None else stranger.load(0)
        if stranger and other and relation(other.ancestry, base.ancestry) is not Relation.STRANGER:
            raise InputError(
                f"{stranger.name} is no stranger: it has {self.name}'s weights, or both were tuned from the same "
                "ones, or one from the other: name another --stranger"
            )
        return [(seed, base, other) for seed in seeds]

    def identity(self) -> str:
        primed = f", primed by {self.loading.primed} steps" if self.loading.primed else ""
        altered = f", {self.altered}" if self.altered else ""
        return f"{hub.fingerprint(hub.locate(self.name, hub.DESCRIPTIONS))}{primed}{altered}"

    def settings(self, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        return {"loading": without_sizes(self.loading)}

    def written_down(self, options: Any, later: Mapping[str, object] = LATER) -> dict[str, Any]:
        return without_sizes(options)

    def answer_tokens(self, words: list[list[int]]) -> int:
        return LONG_ANSWER

    @contextmanager
    def placed(self, devices: Devices, needed: Callable[[Model], int] = lambda reader: 0) -> Iterator[None]:
        use_nearly_all()
        with joined(devices):
            reader = self.reader()
            dtype = jnp.dtype(self.dtype)
            mesh = choose_mesh(reader.config, tensor=devices.tensor, dtype=dtype, needed=needed(reader))
            with on_mesh(mesh):
                yield

    def path(self, name: Path) -> Path:
        return name

    def settings_at(self, path: Path) -> Any:
        said = read_lineage(path)
        return said and said.settings

    def read(self, path: Path, base: Known) -> Known:
        """Read a model that was tuned from one that is on the devices already."""
        if not (path / DESCRIPTION).exists():
            known = self.whole(str(path))
            return known._replace(model=known.model._replace(language=base.model.language))
        assert base.weights is not None
        source, weights = base.weights
        found = read_adapters(path, base.model.config, base=source, weights=weights, dtype=jnp.dtype("float32"))
        own = fetch(join({}, found.params, found.recipe.adapter_scale))
        said = read_lineage(path)
        ancestry = Ancestry(weights=adapted_weights(weights, own), ancestors=(weights, *base.ancestry.ancestors))
        if said is not None and said.ancestry.weights != ancestry.weights:
            raise InputError(f"{path} is damaged: its adapters aren't those that were written; make it anew")
        known = ancestry if said is None else said.ancestry
        return base.with_params(base.model.params | {"adapters": spread(own)})._replace(ancestry=known)

    def write(self, path: Path, parent: Known, params: Params, settings: Mapping[str, Any]) -> Known:
        known = tuned_from(parent, params, path)
        write_tuned(path, parent, known, settings)
        return known


def adapters_of(name: str) -> Path | None:
    """Find adapters by the name of a model: a folder of them, or a repository of the hub that has them."""
    source = hub.locate(name, hub.DESCRIPTIONS)
    if not (source.folder / adapters.DESCRIPTION).is_file():
        return None
    return hub.locate(source.pinned, (*hub.DESCRIPTIONS, adapters.WEIGHTS)).folder


def base_of(folder: Path) -> str:
    """Say which base adapters are for, by a name as of `hub.locate`."""
    said = read_object(folder / DESCRIPTION, "make or fetch the adapters anew")
    name, revision = said.get("base_model_name_or_path"), said.get("revision")
    if not isinstance(name, str) or not (Path(name).is_dir() or hub.HUB_NAME.fullmatch(name)):
        raise InputError(f"the base of the adapters in {folder}, {name!r:.100}, isn't here: name it by --base")
    return f"{name}@{revision}" if revision and not Path(name).is_dir() else name
