"""Models by name, and how many are made side by side."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import psutil
from tqdm import tqdm

from llm_bridge.experiment import Model
from llm_bridge.tiny.pretraining import ROW, Pretraining, base_model, read_world, shape_of

Asked = TypeVar("Asked")
"""What a job is told."""

Result = TypeVar("Result")
"""What it gives."""


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


def side_by_side(do: Callable[[Asked], Result], jobs: Iterable[Asked], title: str) -> list[Result]:
    """Do jobs in threads, one a core: the tiny model's arrays are too small to keep two cores busy with one job.

    Args:
        do: Does one of them.
        jobs: What each is told.
        title: What the progress bar calls them.

    Returns:
        Their results in order.
    """
    asked = list(jobs)
    cores = (psutil.cpu_count(logical=False) or 1) if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(min(cores, len(asked))) as pool:
        futures = [pool.submit(do, job) for job in asked]
        return [future.result() for future in tqdm(futures, desc=title, disable=None)]
