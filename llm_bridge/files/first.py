"""Files of several processes: process 0 alone reads and writes them, the others wait and are told."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from theory.runs.command_line import InputError
from theory.runs.processes import agreed

Result = TypeVar("Result")
"""What is done gives."""


def done_by_first(do: Callable[[], Result]) -> Result | None:
    """Let process 0 do something, while the others wait until it has; None for them, and an error if it failed."""
    result, done = None, False
    try:
        if jax.process_index() == 0:
            result = do()
        done = True
    finally:
        done = agreed(done)
    if not done:
        raise InputError("process 0 could neither read nor write its files: its own message says why")
    return result


def told_by_first(read: Callable[[], bytes]) -> bytes:
    """Let process 0 read, and tell all others what it has read."""
    content = done_by_first(read)
    if jax.process_count() == 1:
        return content or b""
    mine = np.frombuffer(content or b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(mine), np.uint32)))
    return np.asarray(multihost_utils.broadcast_one_to_all(np.resize(mine, size))).astype(np.uint8).tobytes()
