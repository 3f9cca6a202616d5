"""An experiment: points of a sweep by kinds of students by seeds, on all devices, resumed from what is finished."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import psutil

import mlp_mnist
import theory
from mlp_mnist.arms import Arm, Measured
from mlp_mnist.data import Dataset
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from theory.runs.chunks import Keeper, source_hash
from theory.runs.memory import free_memory, require_memory
from theory.runs.progress import follow

Result = TypeVar("Result")
"""What a group of seeds measured."""

GROUP = {"cpu": 1, "gpu": 20, "tpu": 20}
"""Seeds in a group: one that fits a core's cache, or as many as fill an accelerator."""


def group_size() -> int:
    """Say how many seeds are computed together: always the same, so that results don't depend on how many run."""
    return GROUP.get(jax.default_backend(), 1)


def num_workers(num_groups: int) -> int:
    """Say how many groups run side by side: one a device, or one a core."""
    cores = (psutil.cpu_count(logical=False) or 1) if jax.default_backend() == "cpu" else 1
    return min(num_groups, max(cores, jax.local_device_count()))


WAITING = 1024
"""Bytes that a group takes at least which waits to be measured, and its result."""


def require_room(points: Sequence[Protocol], data: Dataset, num_seeds: int) -> None:
    """Refuse points whose students surely don't fit in memory, so many seeds at once."""
    needed = max(point.least_memory(int(np.prod(data.train_images.shape[1:]))) for point in points) * num_seeds
    require_memory("training doesn't fit in memory, take a smaller network or fewer images", needed, free_memory())


def run_seeds(
    points: Sequence[Protocol],
    arms: Sequence[Arm],
    data: Dataset,
    seed: int,
    num_seeds: int,
    other_images: np.ndarray | None = None,
) -> Measured:
    """Run all points for many seeds, and keep what is finished if a folder for it is set.

    Points with equal teachers share them. The measurements have leading axes `(points, seeds)`.
    """
    require_room(points, data, group_size())
    asked = [list(map(asdict, points)), list(map(str, arms)), seed]
    like = Measured(*[np.zeros(0)] * len(Measured._fields))

    def measure(group: SeedGroup) -> Measured:
        measured = zip(*(group.measure(point, arms) for point in points), strict=True)
        return Measured(*map(np.stack, measured))

    groups = measure_groups(measure, like, asked, data, seed, num_seeds, group_size(), other_images)
    return Measured(*(np.concatenate(each, axis=1)[:, :num_seeds] for each in zip(*groups, strict=True)))


def measure_groups(
    measure: Callable[[SeedGroup], Result],
    like: Result,
    asked: Sequence[Any],
    data: Dataset,
    seed: int,
    num_seeds: int,
    size: int,
    other_images: np.ndarray | None = None,
) -> list[Result]:
    """Measure groups of seeds side by side, one a core or device, and keep what is finished if a folder for it is set.

    What is kept, in trees like `like`, belongs to all that is asked for but the number of seeds, to the images, the
    code and the group's size.
    """
    images = hashlib.sha256()
    for array in (*data, *([] if other_images is None else [other_images])):
        images.update(np.ascontiguousarray(array).tobytes())
    keeper = Keeper(json.dumps([*asked, images.hexdigest(), source_hash(mlp_mnist, theory), size]))
    devices, firsts = jax.local_devices(), range(0, num_seeds, size)
    require_memory(f"{num_seeds} seeds don't fit in memory, take fewer", WAITING * len(firsts), free_memory())
    stored = [jax.device_put((data, other_images), device) for device in devices]

    def measure_group(first: int) -> Result:
        place = first // size % len(devices)
        with jax.default_device(devices[place]):
            indices = first + jnp.arange(size, dtype=jnp.uint32)
            images_there, others_there = stored[place]
            return measure(SeedGroup(images_there, others_there, jax.random.key(seed), indices))

    def kept_group(first: int) -> Result:
        return keeper.kept(first, like, lambda: measure_group(first))

    pool = ThreadPoolExecutor(num_workers(len(firsts)))
    try:
        unit = "seeds" if size == 1 else f"groups of {size} seeds"
        return list(follow(pool.map(kept_group, firsts), "training", unit, len(firsts)))
    finally:
        pool.shutdown(cancel_futures=True)
