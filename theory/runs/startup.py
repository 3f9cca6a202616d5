"""The start of `python -m` of a package, before anything else is imported: what is missing is named, Ctrl-C ends it."""

import os
import shlex
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec

COMMANDS = ("theory", "mlp_mnist", "llm_bridge", "figures")
"""Packages that are commands."""

NEEDED = (
    *("jax", "flax", "optax", "numpy", "scipy", "matplotlib", "tyro", "tqdm", "pooch", "requests", "psutil", "sklearn"),
    *("jaxtyping", "msgspec", "safetensors", "tokenizers", "jinja2", "latex2mathml"),
)
"""What they import of others, the dependencies of `pyproject.toml`."""

INTERRUPTED = "interrupted: what is finished is whole; the same command goes on from there"
"""What is said after Ctrl-C."""

WRITING = threading.RLock()
"""Held while a file is written, so that Ctrl-C leaves no half of one behind."""


def is_command() -> bool:
    """Tell whether this process is such a command; until its package is imported, its first word is `-m`."""
    return sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].split(".")[0] in COMMANDS


def require_packages() -> None:
    """Say what to do where a package is missing, mostly as `uv run` was forgotten."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing is not None:
        again = shlex.join(["uv", "run", "python", *sys.orig_argv[1:]])
        print(f"error: {sys.executable} has no {missing}: put `uv run` in front, as in {again}", file=sys.stderr)
        raise SystemExit(2)


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process from a thread, unless it is ignored, as in a shell's background.

    A KeyboardInterrupt would not do: where it comes up in a callback of JAX or of the garbage collector it is lost or
    becomes another error, while a program runs it is late, and leaving a pool of threads waits for them. What cleans up
    behind killed workers, multiprocessing's resource tracker, doesn't say so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    warnings = (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, warnings))
    signal.signal(signal.SIGINT, _hear)
    signal.set_wakeup_fd(told.detach())
    threading.Thread(target=wait_for_interrupt, args=(heard,), daemon=True).start()


def _hear(number: int, frame: object) -> None:
    """Do nothing: the wakeup file descriptor tells the thread."""


def wait_for_interrupt(heard: socket.socket) -> None:
    """End this process and those that it has started, once Ctrl-C was heard."""
    while heard.recv(1) != bytes([signal.SIGINT]):
        pass
    import psutil

    WRITING.acquire(timeout=10)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.terminate()
    with suppress(OSError):
        os.write(2, ("\n" * os.isatty(2) + f"{INTERRUPTED}\n").encode())
    os._exit(130)


if is_command():
    end_on_interrupt()
    require_packages()
