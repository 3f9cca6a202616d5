"""Where a command computes: a published model on a mesh of all devices of all processes, the tiny one on the first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax.numpy as jnp

from llm_bridge.experiment import Model
from llm_bridge.known import Loading
from llm_bridge.mesh import Devices, choose_mesh, on_mesh
from llm_bridge.models import is_tiny, load_reader
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.command_line import InputError
from theory.runs.memory import use_nearly_all
from theory.runs.processes import joined


@contextmanager
def on_devices(
    name: str,
    pretraining: Pretraining,
    loading: Loading,
    devices: Devices,
    needed: Callable[[Model], int] = lambda reader: 0,
) -> Iterator[None]:
    """Put a model's mesh in force; `needed` says what bytes it needs beside its weights, on all devices together."""
    if is_tiny(name):
        if devices != Devices():
            raise InputError("the tiny model runs on one device of one process: leave --tensor and --coordinator out")
        yield
        return
    use_nearly_all()
    with joined(devices):
        reader = load_reader(name, pretraining, loading)
        dtype = jnp.dtype(loading.dtype)
        mesh = choose_mesh(reader.config, tensor=devices.tensor, dtype=dtype, needed=needed(reader))
        with on_mesh(mesh):
            yield
