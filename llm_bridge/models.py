"""Models by name: the tiny one, published ones, what was tuned from them; and how many jobs are done side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import jax
import psutil

from llm_bridge.experiment import Model
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.known import Known, Loading
from llm_bridge.pretrained import adapters, hub, loading, tuned
from llm_bridge.shapes import initialize
from llm_bridge.system_prompts import with_system_prompt
from llm_bridge.tiny import tuned as tiny
from llm_bridge.tiny.pretraining import Pretraining, base_model
from theory.runs.command_line import InputError
from theory.runs.compiler import require_right_compiler
from theory.runs.progress import follow

Asked = TypeVar("Asked")
"""What a job is told."""

Result = TypeVar("Result")
"""What it gives."""

TINY = "tiny"
"""Name of the tiny base model."""


def tiny_model(pretraining: Pretraining, seed: int | None) -> Model:
    """Take a tiny base model, from the cache or made now; without a seed it has no parameters, but reads and writes."""
    return tiny.tiny_reader(pretraining)._replace(params=None if seed is None else base_model(pretraining, seed))


@cache
def tiny_base(pretraining: Pretraining, seed: int) -> Known:
    """Take a tiny base model; its ancestor is the random initialization."""
    model = tiny_model(pretraining, seed)
    init = initialize(model.config, jax.random.key(seed))
    return Known(model, Ancestry(weights=digest(model.params), ancestors=(digest(init),)), pretraining)


def is_tiny(name: str) -> bool:
    """Tell whether a model's name is `tiny`, or a file, as what was tuned from it is."""
    try:
        return name == TINY or Path(name).suffix == ".safetensors" or Path(name).is_file()
    except OSError:
        return False


def load_model(name: str, pretraining: Pretraining, seed: int, how: Loading | None = None) -> Known:
    """Take a model by its name, and a tiny base of this seed.

    The name is `tiny`; a folder or a repository of the hub (`owner/name`, `owner/name@revision`); or what a stage
    wrote: a file if it was tuned from the tiny model, else a folder.
    """
    require_right_compiler()
    how, path = how or Loading(), Path(name)
    if name == TINY:
        known = tiny_base(pretraining, seed)
    elif is_tiny(name):
        if not path.is_file():
            raise InputError(f"there is no model {name}: say tiny, or name a checkpoint that a stage has written")
        known = tiny.read_tuned(path, pretraining)
    elif (folder := adapters_of(name)) is not None:
        known = tuned.read_tuned(folder, tuned.published_base(how.base or tuned.base_of(folder), how))
    else:
        known = tuned.published_base(name, how)
    return known._replace(model=told(known.model, how))


def adapters_of(name: str) -> Path | None:
    """Find adapters by the name of a model: a folder of them, or a repository of the hub that has them."""
    source = hub.locate(name, hub.DESCRIPTIONS)
    if not (source.folder / adapters.DESCRIPTION).is_file():
        return None
    return hub.locate(source.pinned, (*hub.DESCRIPTIONS, adapters.WEIGHTS)).folder


def told(model: Model, how: Loading) -> Model:
    """Give a model the system prompt that was asked for."""
    return model._replace(language=with_system_prompt(model.language, how.system_prompt))


def load_reader(name: str, pretraining: Pretraining, how: Loading | None = None) -> Model:
    """Take a model, by its name as of `load_model`, without parameters, which need neither training nor memory."""
    how = how or Loading()
    if is_tiny(name):
        return told(tiny.tiny_reader(pretraining), how)
    folder = adapters_of(name)
    named = name if folder is None else how.base or tuned.base_of(folder)
    return told(loading.read_reader(named, longest=how.longest).model._replace(at_once=how.at_once), how)


def weights_name(name: str) -> str:
    """Give a published model's name that means the same weights for ever: with its commit, or a digest of its files."""
    return hub.fingerprint(hub.locate(name, hub.DESCRIPTIONS))


def side_by_side(do: Callable[[Asked], Result], jobs: Iterable[Asked], title: str) -> list[Result]:
    """Do jobs in threads, one a core: the tiny model's arrays are too small to keep two cores busy with one job.

    On a mesh of devices they are done one after the other, as every process must do the same at the same time. If one
    fails, those that haven't begun are not begun.
    """
    asked = list(jobs)
    cores = (psutil.cpu_count(logical=False) or 1) if jax.default_backend() == "cpu" else 1
    if cores == 1 or not jax.sharding.get_mesh().empty:
        return [do(job) for job in follow(asked, title, "jobs")]
    with ThreadPoolExecutor(max(1, min(cores, len(asked)))) as pool:
        futures = [pool.submit(do, job) for job in asked]
        try:
            return [future.result() for future in follow(futures, title, "jobs")]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
