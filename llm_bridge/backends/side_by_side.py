"""How many jobs are done at the same time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import psutil

from theory.runs.progress import follow

Asked = TypeVar("Asked")
"""What a job is told."""

Result = TypeVar("Result")
"""What it gives."""


def side_by_side(
    do: Callable[[Asked], Result], jobs: Iterable[Asked], title: str, *, tiny: bool = True
) -> list[Result]:
    """Do jobs in threads, one a core: the tiny model's arrays are too small to keep two cores busy with one job.

    Those of larger models, each of which needs the whole machine, are done one after the other, and so are all on a
    mesh of devices, as every process must do the same at the same time. If one fails, those that haven't begun are not
    begun.
    """
    asked = list(jobs)
    cores = (psutil.cpu_count(logical=False) or 1) if tiny and jax.default_backend() == "cpu" else 1
    if cores == 1 or not jax.sharding.get_mesh().empty:
        return [do(job) for job in follow(asked, title, "jobs")]
    with ThreadPoolExecutor(max(1, min(cores, len(asked)))) as pool:
        futures = [pool.submit(do, job) for job in asked]
        try:
            return [future.result() for future in follow(futures, title, "jobs")]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
