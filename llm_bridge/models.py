"""Models by name, the tiny one and checkpoints of it, and how many jobs are done side by side."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import psutil
from tqdm import tqdm

from llm_bridge.experiment import Model
from llm_bridge.files.checkpoints import load_checkpoint
from llm_bridge.files.lineage import Ancestry, digest
from llm_bridge.shapes import initialize
from llm_bridge.tiny.pretraining import ROW, Pretraining, base_model, read_world, shape_of
from theory.command_line import InputError

Asked = TypeVar("Asked")
"""What a job is told."""

Result = TypeVar("Result")
"""What it gives."""

TINY = "tiny"
"""Name of the tiny base model."""


class Known(NamedTuple):
    """A model and where it comes from."""

    model: Model
    """The model."""
    ancestry: Ancestry
    """Its weights and those that they were tuned from, down to the random initialization."""


def tiny_model(pretraining: Pretraining, seed: int | None) -> Model:
    """Take a tiny base model, from the cache or made now.

    Args:
        pretraining: How it is made.
        seed: Its seed; None for a model that reads and writes but has no parameters.

    Returns:
        The model.
    """
    params = None if seed is None else base_model(pretraining, seed)
    return Model(shape_of(pretraining), params, read_world(pretraining.world).language, ROW)


@cache
def tiny_base(pretraining: Pretraining, seed: int) -> Known:
    """Take a tiny base model with its ancestry.

    Args:
        pretraining: How it is made.
        seed: Its seed.

    Returns:
        The model; its ancestor is the random initialization.
    """
    model = tiny_model(pretraining, seed)
    init = initialize(model.config, jax.random.key(seed))
    return Known(model, Ancestry(weights=digest(model.params), ancestors=(digest(init),)))


def metadata_of(known: Known, pretraining: Pretraining, settings: str) -> dict[str, str]:
    """Write down what a checkpoint is.

    Args:
        known: The model.
        pretraining: How its base was made.
        settings: What the stage that made it was told.

    Returns:
        Text by name.
    """
    ancestry = json.dumps(asdict(known.ancestry))
    return {"ancestry": ancestry, "pretraining": json.dumps(asdict(pretraining)), "settings": settings}


def load_model(name: str, pretraining: Pretraining, seed: int) -> Known:
    """Take a model by its name.

    Args:
        name: `tiny`, or a checkpoint that a stage wrote.
        pretraining: How the tiny base is made.
        seed: Seed of the tiny base.

    Returns:
        The model and its ancestry.

    Raises:
        InputError: If there is no such model.
    """
    if name == TINY:
        return tiny_base(pretraining, seed)
    if not Path(name).is_file():
        raise InputError(f"there is no model {name}: say tiny, or name a checkpoint that a stage has written")
    return read_model(Path(name), pretraining)


def read_model(path: Path, pretraining: Pretraining) -> Known:
    """Read a checkpoint that a stage wrote.

    Args:
        path: The checkpoint.
        pretraining: How the tiny base is made.

    Returns:
        The model and its ancestry.

    Raises:
        InputError: If the checkpoint is damaged, or of another kind of model.
    """
    model = tiny_model(pretraining, None)
    like = jax.eval_shape(lambda: initialize(model.config, jax.random.key(0)))
    params, metadata = load_checkpoint(path, like)
    try:
        made_from = json.loads(metadata.get("pretraining", "null"))
        ancestry = json.loads(metadata.get("ancestry", "{}"))
        known = Ancestry(weights=ancestry.get("weights"), ancestors=tuple(ancestry.get("ancestors", ())))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: what it says of itself can't be read; make it anew") from error
    if made_from != json.loads(json.dumps(asdict(pretraining))):
        raise InputError(f"{path} is a checkpoint of another config of the tiny model: make it anew")
    if digest(params) != known.weights:
        raise InputError(f"{path} is damaged: its weights aren't those that were written; make it anew")
    return Known(model._replace(params=params), known)


def side_by_side(do: Callable[[Asked], Result], jobs: Iterable[Asked], title: str) -> list[Result]:
    """Do jobs in threads, one a core: the tiny model's arrays are too small to keep two cores busy with one job.

    On a mesh of devices they are done one after the other, as every process must do the same at the same time.

    Args:
        do: Does one of them.
        jobs: What each is told.
        title: What the progress bar calls them.

    Returns:
        Their results in order; if one fails, those that haven't begun are not begun.
    """
    asked = list(jobs)
    if not jax.sharding.get_mesh().empty:
        return [do(job) for job in tqdm(asked, desc=title, disable=None)]
    cores = (psutil.cpu_count(logical=False) or 1) if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(max(1, min(cores, len(asked)))) as pool:
        futures = [pool.submit(do, job) for job in asked]
        try:
            return [future.result() for future in tqdm(futures, desc=title, disable=None)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
