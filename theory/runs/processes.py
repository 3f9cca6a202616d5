"""Several processes as one run: they meet over a plain socket, join JAX's runtime, gather what each has computed."""

import ctypes
import os
import re
import socket
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental import multihost_utils

from theory.runs.command_line import InputError, require

PATIENCE = 60.0
"""Seconds to wait for the other processes before giving up."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How several processes find each other; one needs none of it, and under SLURM its variables are read."""

    coordinator: str | None = None
    """Address of process 0, as in `host:port`; the same for every process."""
    num_processes: int | None = None
    """How many processes run this command together."""
    process_id: int | None = None
    """Which of them this one is, from 0."""

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        together = "given together with num_processes and process_id, or not at all"
        require(all(given) or not any(given), "coordinator", together, self.coordinator)
        if self.coordinator is None or self.num_processes is None or self.process_id is None:
            return
        valid = re.fullmatch(r"[^:\s]+:\d{1,5}", self.coordinator) and int(self.coordinator.split(":")[1]) < 2**16
        require(bool(valid), "coordinator", "an address such as node1:1234", self.coordinator)
        require(self.num_processes >= 1, "num_processes", "at least 1", self.num_processes)
        allowed = f"a whole number from 0 to {self.num_processes - 1}"
        require(0 <= self.process_id < self.num_processes, "process_id", allowed, self.process_id)


def from_slurm(environment: dict[str, str]) -> Processes:
    """Read what SLURM says of the step that this process belongs to; none outside a step of several tasks.

    The first node coordinates, on a port made from the job's number.
    """
    tasks, nodes = int(environment.get("SLURM_STEP_NUM_TASKS", 1)), environment.get("SLURM_STEP_NODELIST", "")
    first = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    if tasks < 2 or first is None:
        return Processes()
    port = 61440 + int(environment["SLURM_JOB_ID"]) % 4096
    host = first[1] + (first[2] or "")
    return Processes(coordinator=f"{host}:{port}", num_processes=tasks, process_id=int(environment["SLURM_PROCID"]))


@contextmanager
def joined(options: Processes, patience: float = PATIENCE) -> Generator[None]:
    """Run as one of several processes, if the options or else SLURM's variables say that there are several."""
    found = options if options.coordinator else from_slurm(dict(os.environ))
    if found.coordinator is None or found.num_processes is None or found.process_id is None or found.num_processes == 1:
        yield
        return
    meet(found.coordinator, found.num_processes, found.process_id, patience)
    with own_stdout():
        jax.distributed.initialize(found.coordinator, found.num_processes, found.process_id)
        try:
            yield
        finally:
            jax.distributed.shutdown()


def meet(coordinator: str, num_processes: int, process_id: int, patience: float) -> None:
    """Wait until every process is there, since JAX's runtime aborts if one isn't.

    Process 0 listens, the others call and say who they are; it answers when all have called.
    """
    host, port = coordinator.split(":")
    deadline = time.monotonic() + patience
    try:
        if process_id == 0:
            receive_calls(int(port), num_processes, deadline)
        else:
            call(host, int(port), f"{process_id} of {num_processes}", deadline)
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else (error.strerror or error)
        raise InputError(
            f"process {process_id} of {num_processes} could not meet the others at {coordinator} within "
            f"{patience:.0f} s ({why}): start all of them, with the same --coordinator and --num-processes"
        ) from error


def receive_calls(port: int, num_processes: int, deadline: float) -> None:
    """Listen until every other process has called, then answer all."""
    missing = {f"{number} of {num_processes}" for number in range(1, num_processes)}
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", port)))
        callers = []
        while missing:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            caller = stack.enter_context(server.accept()[0])
            caller.settimeout(max(deadline - time.monotonic(), 1e-3))
            name = caller.recv(64).decode(errors="replace")
            if name not in missing:
                raise InputError(f"process {name!r} called, but {sorted(missing)} were awaited: number them from 0")
            missing.remove(name)
            callers.append(caller)
        for caller in callers:
            caller.sendall(b"go")
        for caller in callers:
            caller.recv(64)


def call(host: str, port: int, name: str, deadline: float) -> None:
    """Call process 0 until it answers, or it is too late."""
    while True:
        left = max(deadline - time.monotonic(), 1e-3)
        try:
            with socket.create_connection((host, port), timeout=left) as line:
                line.sendall(name.encode())
                if line.recv(64) == b"go":
                    return
                raise ConnectionRefusedError("process 0 hung up")
        except ConnectionRefusedError:
            if time.monotonic() > deadline - 0.2:
                raise
            time.sleep(0.2)


@contextmanager
def own_stdout() -> Generator[None]:
    """Keep stdout for Python's prints, so that tables stay clean: what C++ libraries print goes to stderr."""
    sys.stdout.flush()
    with (
        os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as stdout,
        redirect_stdout(stdout),
    ):
        os.dup2(2, 1)
        try:
            yield
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(stdout.fileno(), 1)


def agreed(value: bool) -> bool:
    """Take process 0's word for what this process thinks."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def gathered(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join every process's arrays, which have the same shapes and types, end to end, in the processes' order."""
    if jax.process_count() == 1:
        return list(arrays)
    sent = np.concatenate([np.ascontiguousarray(array).view(np.uint8).ravel() for array in arrays])
    received = np.asarray(multihost_utils.process_allgather(sent))
    ends = np.cumsum([array.nbytes for array in arrays])[:-1]
    parts = np.split(received, ends, axis=1)
    return [
        np.ascontiguousarray(part).view(array.dtype).reshape(-1, *array.shape[1:])
        for part, array in zip(parts, arrays, strict=True)
    ]
