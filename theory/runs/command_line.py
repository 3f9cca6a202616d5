"""How every command is read, refused and left: exit status 0, 1 or 2, and never a traceback."""

import argparse
import errno
import inspect
import io
import math
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn, TextIO, Union

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from theory.runs.progress import QUIET, drop, say
from theory.runs.startup import INTERRUPTED

EVERYWHERE = (
    "Every command also takes --quiet (no progress on stderr) and --version; NO_COLOR in the environment works."
)
"""What the help of each command ends with."""

LONGEST_SUFFIX = 80
"""Characters of a file's name that are added while it is not finished."""

PATHS = ConstructorRegistry()
"""How paths are read: an empty one is refused, and not taken for the current folder."""


@PATHS.primitive_rule
def _read_path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    if info.type is not Path:
        return None

    def read(words: list[str]) -> Path:
        if not words[0]:
            raise ValueError("a path can't be empty")
        return Path(words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


class InputError(Exception):
    """What the user gave can't be used; the message is one line that says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run is recorded; shared by every command that records one."""

    output: Path | None = None
    """Folder for the record. Default: runs/<package>/<command>-<hash of the configuration>."""
    fresh: bool = False
    """Redo a run that is already recorded."""
    open: bool = False
    """Open the page of the run in a browser when it is done."""
    writes_folder: ClassVar[bool] = True
    """Whether the output is a folder, not a file."""


def require(valid: bool, field: str, allowed: str, value: object) -> None:
    """Refuse a configuration field that is out of range."""
    if not valid:
        raise ValueError(f"{field} must be {allowed}, not {value!r}")


def require_seeds(seed: int, num_seeds: int) -> None:
    """Refuse a root of randomness that doesn't fit 32 bits, and a number of seeds that is out of range."""
    require(0 <= seed < 2**32, "seed", "a whole number from 0 to 4294967295", seed)
    require_count("num_seeds", num_seeds)


def require_count(field: str, value: int) -> None:
    """Refuse a number of things that is below one, or that no machine counts to."""
    require(1 <= value < 2**31, field, "at least 1, at most 2147483647", value)


def require_positive(field: str, values: tuple[float, ...]) -> None:
    """Refuse step sizes that are empty, negative, zero, infinite or not numbers."""
    valid = bool(values) and all(math.isfinite(value) and value > 0 for value in values)
    require(valid, field, "finite numbers above zero", values)


def require_writable(path: Path, *, folder: bool, option: str = "--output") -> None:
    """Refuse what can't be written, before the work and not after it. Nothing is left behind."""
    try:
        found, whole = _mode(path), path.absolute()
        if found is not None and not (stat.S_ISDIR(found) if folder else stat.S_ISREG(found)):
            there = (
                "a folder" if stat.S_ISDIR(found) else "a file" if stat.S_ISREG(found) else "neither file nor folder"
            )
            raise OSError(errno.EEXIST, f"what is there is {there}")
        place = next(each for each in (whole, *whole.parents) if stat.S_ISDIR(_mode(each) or 0))
        names = whole.relative_to(place).parts
        for name in names:
            _mode(place / f"{name}{'x' * LONGEST_SUFFIX}")
        if found is None and (place / names[0]).is_symlink():
            raise OSError(errno.ENOENT, f"{place / names[0]} is a link to nothing")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"can't write {path} ({error.strerror}): choose another {option}") from error


def _mode(path: Path) -> int | None:
    """Kind and permissions of what is there; None if nothing is."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def run_commands(
    package: str,
    commands: Mapping[type, tuple[str, Callable[[Any], bool]]],
    defaults: Mapping[type, object] | None = None,
) -> NoReturn:
    """Read the command line, run the command that it names, and exit.

    For each options class, whose docstring and fields are the help, `commands` has the command's name and its function,
    which returns whether no verdict fails; `defaults` may have an instance whose values are its options' defaults.
    """
    raise SystemExit(exit_status(lambda: _read_and_run(package, commands, defaults or {})))


def read_first(package: str, options: Mapping[str, Mapping[str, Any]]) -> tuple[argparse.Namespace, list[str]]:
    """Read options, named as for `argparse`, that stand anywhere on the command line; the rest of it is left."""
    parser = argparse.ArgumentParser(f"python -m {package}", add_help=False, allow_abbrev=False)
    for name, told in options.items():
        parser.add_argument(name, **told)
    return parser.parse_known_args()


def _read_and_run(
    package: str, commands: Mapping[type, tuple[str, Callable[[Any], bool]]], defaults: Mapping[type, object]
) -> bool:
    flags = {"--quiet": {"action": "store_true"}, "--version": {"action": "version", "version": version_line()}}
    everywhere, words = read_first(package, flags)
    if everywhere.quiet:
        os.environ[QUIET] = "1"
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    named: list[Any] = []
    about = f"{sys.modules[package].__doc__}\n\n{EVERYWHERE}"
    for kind, (name, _) in commands.items():
        told: dict[str, Any] = {"default": defaults[kind]} if kind in defaults else {}
        own = f"{inspect.getdoc(kind)}\n\n{EVERYWHERE}"
        named.append(Annotated[kind, tyro.conf.subcommand(name, description=own, **told)])
        about = about if len(commands) > 1 else own
    try:
        options = tyro.cli(
            Union[*named] if len(named) > 1 else named[0],
            prog=f"python -m {package}",
            description=about,
            args=words,
            config=(tyro.conf.FlagCreatePairsOff,),
            registry=PATHS,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    if getattr(options, "output", None) is not None:
        require_writable(options.output, folder=getattr(options, "writes_folder", False))
    return commands[type(options)][1](options)


def version_line() -> str:
    """Say which versions of this distribution, of JAX and of Python run."""
    try:
        own = version("subliminal-learning")
    except PackageNotFoundError:
        own = "(not installed)"
    return f"subliminal-learning {own}, JAX {version('jax')}, Python {platform.python_version()}"


def exit_status(run: Callable[[], bool]) -> int:
    """Run a command, which returns whether no verdict fails, and turn its end into an exit status.

    0 if none fails, 1 if one does; 2 if the input can't be used or the output not be written, and 130 after Ctrl-C,
    with one line on stderr; 141 without one if who reads the output has left before the end, as for other programs.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _status(run)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if sys.stdout is None or not _is_lost(sys.stdout):
            raise
        drop(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return 141
        say(f"error: can't write to standard output ({error.strerror}): send it elsewhere")
        return 2
    return status


def _status(run: Callable[[], bool]) -> int:
    """Exit status of a command, whether or not its output can be written."""
    try:
        return 0 if run() else 1
    except InputError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say(INTERRUPTED)
        return 130
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0


def _is_lost(stream: TextIO) -> bool:
    """Whether a stream can't be written any more."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return True
    return False
