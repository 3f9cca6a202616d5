"""Calls every command with hostile options and hostile files, case by case, and says what none may do.

`python tests/test_fuzz/fuzzer.py SEED` goes on until it is stopped; `… SEED --case N` does one case and shows it. Cases
are drawn from seed and number alone. Each is called as `python -m package` is, in this process, and ends where work
would begin: where a large program is compiled, a process started, or something waited for.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import re
import resource
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import webbrowser
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

from hostile import FILES, NUMBERS, ODD_NUMBERS, PLACES, TEXTS, furnish, make_corpus

PACKAGES = ("theory", "mlp_mnist", "llm_bridge", "figures")
ROOT = Path(__file__).parents[2]

MOST_WORK = 8.0
"""Seconds of processor that a case may take until it refuses or begins to work."""

MOST_WAIT = 30.0
"""Seconds that it may take, on a machine that is busy with other tests, too."""

MOST_MEMORY = 4 * 2**30
"""Bytes that cases may ask for beyond what imports take."""

RECORDED = ["verify", "alignment", "--num-seeds", "2"]
"""A command of the theory's, whose run folder is among the good files."""

LARGE = 80
"""Lines of a program that counts as work."""

LONGEST_LINE = 20_000
"""Characters of a refusal, which may repeat what was given."""


class WorkBegins(BaseException):
    """Raised where work would begin, which ends a case well."""


class TooLong(BaseException):
    """Raised when a case has had its time."""


class End(NamedTuple):
    """How a case ended."""

    status: object
    """The exit status; None if work would have begun."""
    printed: str
    """What it printed on stdout."""
    complaint: str
    """What it printed on stderr, a traceback included."""
    written: tuple[str, ...] = ()
    """Files that are other than before."""
    late: bool = False
    """Whether its time ran out."""


class Option(NamedTuple):
    """An option of a command."""

    name: str
    """With its dashes; empty for a positional one."""
    kind: str
    """What its help calls its value; empty for a flag."""
    choices: tuple[str, ...]
    """Values that are offered."""
    default: str
    """The default, if it is a word."""


def faults(end: End) -> str:
    """Say what is wrong with how a case ended; empty if nothing is."""
    if end.late:
        return f"hangs at {innermost(end.complaint)}"
    if "Traceback" in end.complaint + end.printed:
        errors = re.findall(r"^(?:\w+\.)*(\w+)(?::|$)", end.complaint, re.M)
        return f"{errors[-1]} at {innermost(end.complaint)}"
    if end.status not in {None, 0, 1, 2}:
        return f"exit status {end.status!r}"
    if end.status == 2 and end.written:
        return f"refuses, and has written {', '.join(end.written)}"
    if end.status == 2 and not re.search(r"^error: |╭|╰|error ?[ -─]*$", end.complaint, re.M | re.I):
        return "refuses without a word that says error"
    lines = end.complaint.splitlines()
    if "error: " in end.complaint and not any(mark in end.complaint for mark in "╭─│") and len(lines) != 1:
        return f"refuses in {len(lines)} lines"
    if max(map(len, lines), default=0) > LONGEST_LINE:
        return "prints a line without an end"
    if end.status == 2 and not lines:
        return "refuses without a word"
    return ""


def innermost(complaint: str) -> str:
    """Name the innermost function of ours in a traceback."""
    ours = re.findall(rf'File "{re.escape(str(ROOT))}/([^"]+)", line \d+, in (\S+)', complaint)
    ours = [f"{file}:{function}" for file, function in ours if not file.startswith(("tests/", ".venv/"))]
    return ours[-1] if ours else "the command line"


Commands = dict[tuple[str, str], list[Option]]
"""Options by package and command."""


def discover() -> Commands:
    """Find every option of every command by asking the command lines themselves."""
    import tyro

    commands: Commands = {}
    for package in PACKAGES:
        caught: list[Any] = []

        def catch(kind: Any, caught: list[Any] = caught, **told: Any) -> None:
            caught.append((kind, {name: told[name] for name in ("config", "prog", "registry") if name in told}))
            raise WorkBegins

        original, tyro.cli = tyro.cli, catch
        try:
            call(package, [])
        finally:
            tyro.cli = original
        ((kind, told),) = caught
        parser = tyro.extras.get_parser(kind, **told)
        named = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
        for name, command in (named or [{"": parser}])[0].items():
            commands[package, name] = [
                Option(
                    max(action.option_strings, key=len, default=""),
                    "" if action.nargs == 0 else str(action.metavar),
                    tuple(choice for each in re.findall(r"{(.*?)}", str(action.metavar)) for choice in each.split(",")),
                    "".join(re.findall(r"default: ([\w.]+)\)", str(action.help))),
                )
                for action in command._actions
                if "--help" not in action.option_strings
            ]
    return commands


def call(package: str, arguments: Sequence[str]) -> End:
    """Call a package as `python -m` does, and catch whatever comes out."""
    printed, complaint = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    sys.argv = [package, *arguments]
    status, late = None, False
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
        try:
            signal.setitimer(signal.ITIMER_PROF, MOST_WORK)
            signal.setitimer(signal.ITIMER_REAL, MOST_WAIT)
            runpy.run_module(package, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
        except WorkBegins:
            pass
        except TooLong:
            late = True
            traceback.print_exc()
        except BaseException:
            status = 1
            traceback.print_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    texts = []
    for stream in (printed, complaint):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # pyright: ignore[reportAttributeAccessIssue]
    return End(status, *texts, late=late)


def recorded_config() -> dict[str, Any]:
    """Say what the run of `RECORDED` is told, by stopping it there."""
    from theory.runs import records

    caught: list[Any] = []

    def catch(command: str, options: Any, config: Any, *_: Any, **__: Any) -> None:
        caught.append({"command": command, **config})
        raise WorkBegins

    original, records.record_run = records.record_run, catch
    try:
        call("theory", RECORDED)
    finally:
        records.record_run = original
    return caught[0]


def stop_work() -> None:
    """Let nothing begin that takes long: no large program, no process, no connection, no waiting."""
    import jax
    from jax._src import compiler

    import theory.runs.sweeps
    from llm_bridge.benchmark import device

    compile_program = compiler.compile_or_get_cached

    def compile_small(backend: Any, computation: Any, *more: Any, **told: Any) -> Any:
        if str(computation).count("\n") > LARGE:
            raise WorkBegins
        return compile_program(backend, computation, *more, **told)

    def begin(*_: Any, **__: Any) -> None:
        raise WorkBegins

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    start = subprocess.Popen.__init__

    def start_others(self: Any, arguments: Any, *more: Any, **told: Any) -> None:
        if sys.executable in arguments:
            raise WorkBegins
        start(self, arguments, *more, **told)

    compiler.compile_or_get_cached = compile_small
    subprocess.Popen.__init__ = start_others  # pyright: ignore[reportAttributeAccessIssue]
    theory.runs.sweeps.compile_chunks = device.time_runs = begin
    futures.ProcessPoolExecutor.__init__ = begin
    jax.distributed.initialize = begin
    webbrowser.open = begin
    time.sleep = begin
    socket.socket.connect = refuse
    socket.getaddrinfo = refuse


def arguments_of(options: Sequence[Option], draw: random.Random) -> list[str]:
    """Draw options and hostile values, many of them of the kind that is asked for."""
    given: list[str] = []
    named = [option for option in options if option.name]
    for option in draw.sample(named, min(len(named), draw.choice([0, 1, 1, 2, 2, 3, 5]))):
        count = draw.choice([0, 2, 3]) if option.kind and draw.random() < 0.1 else 1 if option.kind else 0
        given += [option.name, *(value_of(option, draw) for _ in range(count))]
    given += [value_of(option, draw) for option in options if not option.name and draw.random() < 0.5]
    return given


def value_of(option: Option, draw: random.Random) -> str:
    """Draw a value."""
    good = [f"good/{name}" for name in FILES]
    kinds: list[Sequence[str]] = []
    if "INT" in option.kind or "FLOAT" in option.kind:
        kinds += [NUMBERS] * 6 + [ODD_NUMBERS]
    if "PATH" in option.kind or "STR" in option.kind:
        kinds += [good] * 6 + [PLACES] * 3 + [TEXTS]
    if option.choices:
        kinds += [option.choices] * 6
    kinds = kinds or [option.choices or TEXTS]
    if draw.random() < 0.1:
        kinds = [NUMBERS, ODD_NUMBERS, TEXTS, PLACES]
    return draw.choice(draw.choice(kinds))


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Note every file below a folder, so that a change shows."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        found[str(path.relative_to(folder))] = (
            facts.st_mode,
            facts.st_size,
            facts.st_mtime_ns if not path.is_dir() else 0,
        )
    return found


class Case(NamedTuple):
    """A command to be called."""

    package: str
    """Whose."""
    arguments: list[str]
    """How."""
    damaged: list[str]
    """Which of its files are damaged."""

    def told(self) -> dict[str, Any]:
        """Say in JSON what it is."""
        return {"command": shlex.join(["python", "-m", self.package, *self.arguments]), "damaged": self.damaged}


def make_case(commands: Commands, corpus: Path, place: Path, draw: random.Random) -> Case:
    """Draw a command and make the folder where it runs."""
    package, name = draw.choice(sorted(commands))
    options = commands[package, name]
    shutil.rmtree(place.parent, ignore_errors=True)
    defaults = [each.default for each in options if each.default.endswith(".jsonl") and each.name != "--output"]
    damaged = furnish(place, corpus, defaults, draw)
    if draw.random() < 0.05:
        return Case("theory", [*RECORDED, "--output", "good/record"], damaged)
    return Case(package, [*([name] if name else []), *arguments_of(options, draw)], damaged)


def run_case(case: Case, place: Path) -> End:
    """Call a command in its folder."""
    import jax

    os.chdir(place)
    before = state(place.parent)
    jax.config.update("jax_enable_x64", False)
    end = call(case.package, case.arguments)
    os.chdir("/")
    after = state(place.parent)
    changed = tuple(name for name in sorted({*before, *after}) if before.get(name) != after.get(name))
    return end._replace(written=changed)


def planted(place: Path) -> Iterator[dict[str, str]]:
    """Break a command in three ways that must be found.

    Yields:
        What must be said of each, and what is said.
    """
    import theory.runs.sweeps

    def divide(*_: object) -> None:
        raise ZeroDivisionError

    def spin(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.1)
        while True:
            pass

    def write(*_: object) -> None:
        (place / "half").touch()
        raise ValueError

    place.mkdir(parents=True)
    original = theory.runs.sweeps.require_seeds
    for said, broken in (("ZeroDivisionError", divide), ("hangs", spin), ("has written here/half", write)):
        theory.runs.sweeps.require_seeds = broken
        yield {"planted": said, "found": faults(run_case(Case("theory", ["verify"], []), place))}
    theory.runs.sweeps.require_seeds = original


def limit_memory() -> None:
    """Let this process have little more memory than imports took."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def interrupt(*_: object) -> None:
    """End a case that has had its time."""
    raise TooLong


def main() -> None:
    """Run cases and write a line of JSON ahead of each and about each that is wrong."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--case", type=int, help="the only case, which is shown")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "JAX_TRACEBACK_FILTERING": "off",
            "HOME": home,
            "XDG_CACHE_HOME": f"{home}/cache",
            "HF_HOME": f"{home}/hub",
            "COLUMNS": "100",
        }
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        for package in PACKAGES:
            __import__(f"{package}.__main__")
            del sys.modules[f"{package}.__main__"]
        with contextlib.suppress(ImportError):
            import transformers  # noqa: F401
        for number in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, interrupt)
        from theory.runs import compiler

        compiler.COMPILATIONS = len(compiler.KINDS)
        compiler.require_right_compiler()
        commands, recorded = discover(), recorded_config()
        corpus, place = Path(home, "corpus"), Path(home, "case", "here")
        corpus.mkdir()
        make_corpus(corpus, recorded)
        stop_work()
        limit_memory()
        if told.case is None:
            for entry in planted(place):
                report.write(json.dumps(entry) + "\n")
        for number in itertools.count(told.first) if told.case is None else [told.case]:
            case = make_case(commands, corpus, place, random.Random(f"{told.seed}/{number}"))
            report.write(json.dumps({"case": number, **case.told()}) + "\n")
            end = run_case(case, place)
            report.write(json.dumps({"case": number, "status": end.status, "fault": faults(end), **case.told()}) + "\n")
            if told.case is not None:
                report.write(f"{end.printed}\n{end.complaint}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
