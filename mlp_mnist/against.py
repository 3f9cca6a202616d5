"""Another script of the same experiment as a yardstick, timed beside our own: whole processes, by turns."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mlp_mnist.arms import OTHER
from mlp_mnist.data import VARIABLES, Source
from mlp_mnist.options import Benchmark
from theory.runs.command_line import InputError
from theory.runs.progress import QUIET


def require_script(script: Path) -> None:
    """Refuse a script that is not there."""
    if not script.is_file():
        raise InputError(
            f"--against needs a Python file, and {script} is none: name the script, or leave --against out"
        )


def time_processes(source: Source, options: Benchmark) -> dict[str, float]:
    """Time the script and then, for each precision, our six arms on as many seeds: seconds from start to end of each.

    The script runs under the same Python, in the current folder, draws without a window and is told the folder of the
    images as `MNIST_DIR`, where they have one.
    """
    assert options.against is not None
    folder = [] if source.folder is None else ["--data-dir", str(source.folder)]
    told = {} if source.folder is None or source.name == "digits" else {VARIABLES[source.name]: str(source.folder)}
    seconds = {OTHER: time_process([str(options.against)], {"MPLBACKEND": "agg", **told}, {0})}
    for name in options.precisions:
        with tempfile.TemporaryDirectory() as output:
            words = ["demo", "--data", source.name, *folder, "--seed", str(options.seed), "--precision", name]
            words += ["--num-seeds", str(options.against_seeds), "--output", str(Path(output, "run"))]
            if options.epochs is not None:
                words += [word for name in ("teacher", "student") for word in (f"--{name}.epochs", str(options.epochs))]
            seconds[name] = time_process(["-m", "mlp_mnist", *words], {QUIET: "1"}, {0, 1})
    return seconds


def time_process(arguments: Sequence[str], environment: Mapping[str, str], statuses: Collection[int]) -> float:
    """Time Python from its start to its end, in seconds; refuse an end with another exit status than these."""
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    seconds = time.perf_counter() - start
    if ended.returncode not in statuses:
        lines = ended.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        name = " ".join(arguments[:3] if arguments[0] == "-m" else arguments)
        raise InputError(f"{name} ended with exit status {ended.returncode}: {lines[-1]}")
    return seconds
