"""Memory: how much there is, and the refusal of what doesn't fit."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax
import psutil

from theory.runs.command_line import InputError

EXHAUSTED = ("RESOURCE_EXHAUSTED", "out of memory")
"""What errors of XLA and torch say when memory doesn't suffice."""


NEARLY_ALL = "0.92"
"""Share of a GPU's memory that a large model may use."""


def use_nearly_all() -> None:
    """Let JAX use nearly all of a GPU's memory, of which it takes three quarters otherwise, unless the user said more.

    It has to be called before JAX looks for devices.
    """
    if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", NEARLY_ALL)


def free_memory() -> int:
    """Say how many bytes each local device has left; CPU devices share the machine's memory equally."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available // jax.local_device_count()


def peak_memory() -> int:
    """Say how many bytes were in use at once so far: on an accelerator, or by this process."""
    stats = None if jax.default_backend() == "cpu" else jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return process_memory()


def process_memory() -> int:
    """Say how many bytes this process had in memory at once so far.

    Linux hands the maximum that `getrusage` knows from a process to those that it starts, so its own count is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def require_memory(what: str, needed: float, available: float) -> None:
    """Refuse what needs more bytes than there are; `what` says what it is, and what to do about it."""
    if needed > available:
        raise InputError(f"{what}: {gibibytes(needed)} needed, {gibibytes(available)} available")


def gibibytes(size: float) -> str:
    """Write a number of bytes, as in `1.5 GiB`."""
    return f"{size / 2**30:.3g} GiB"


@contextmanager
def fitting(what: str, knobs: str) -> Generator[None]:
    """Turn an error of memory into one line: what doesn't fit, and which knobs to turn."""
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in EXHAUSTED):
            raise
        raise InputError(f"{what} doesn't fit the device's memory: {knobs}") from error
