"""How every command is read, refused and left: exit status 0, 1 or 2, and never a traceback."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

import tyro


class InputError(Exception):
    """What the user gave can't be used; the message is one line that says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run is recorded; shared by every command that records one."""

    output: Path | None = None
    """Folder for the record. Default: runs/<package>/<command>-<hash of the configuration>."""
    fresh: bool = False
    """Redo a run that is already recorded."""


def require(valid: bool, field: str, allowed: str, value: object) -> None:
    """Refuse a configuration field that is out of range.

    Args:
        valid: Whether the value may be used.
        field: The field's name.
        allowed: The allowed range, in words.
        value: What was given.

    Raises:
        ValueError: If it may not.
    """
    if not valid:
        raise ValueError(f"{field} must be {allowed}, not {value!r}")


def require_seeds(seed: int, num_seeds: int) -> None:
    """Refuse a root of randomness or a number of seeds that is out of range.

    Args:
        seed: Root of all randomness.
        num_seeds: How many seeds.

    Raises:
        ValueError: If the root doesn't fit 32 bits, or there is no seed, or are too many.
    """
    require(0 <= seed < 2**32, "seed", "a whole number from 0 to 4294967295", seed)
    require_count("num_seeds", num_seeds)


def require_count(field: str, value: int) -> None:
    """Refuse a number of things that is below one, or that no machine counts to.

    Args:
        field: The field's name.
        value: What was given.

    Raises:
        ValueError: If it is no number from 1 to 2147483647.
    """
    require(1 <= value < 2**31, field, "at least 1, at most 2147483647", value)


def require_positive(field: str, values: tuple[float, ...]) -> None:
    """Refuse step sizes that are empty, negative, zero, infinite or not numbers.

    Args:
        field: The field's name.
        values: What was given.

    Raises:
        ValueError: If any value is not a finite number above zero, or if there is none.
    """
    valid = bool(values) and all(math.isfinite(value) and value > 0 for value in values)
    require(valid, field, "finite numbers above zero", values)


def run_commands(
    package: str,
    commands: Mapping[type, tuple[str, Callable[[Any], bool]]],
    defaults: Mapping[type, object] | None = None,
) -> NoReturn:
    """Read the command line, run the command that it names, and exit.

    Args:
        package: The package's name, as in `python -m package`.
        commands: For each options class its command's name and function. The function returns
            whether no verdict fails; the class's docstring and fields are the help.
        defaults: For an options class an instance, whose values are its options' defaults.

    Raises:
        SystemExit: Always: 0 if all verdicts hold or are reported, 1 if one fails, 2 for bad usage or input,
            130 after Ctrl-C.
    """
    told: dict[type, dict[str, Any]] = {kind: {"default": given} for kind, given in (defaults or {}).items()}
    named: list[Any] = [
        Annotated[kind, tyro.conf.subcommand(name, **told.get(kind, {}))] for kind, (name, _) in commands.items()
    ]
    try:
        options = tyro.cli(
            Union[*named] if len(named) > 1 else named[0],
            prog=f"python -m {package}",
            description=sys.modules[package].__doc__,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except (ValueError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    raise SystemExit(exit_status(lambda: commands[type(options)][1](options)))


def exit_status(run: Callable[[], bool]) -> int:
    """Run one command and turn its end into an exit status.

    Args:
        run: The command; returns whether no verdict fails.

    Returns:
        0 if none fails, 1 if one does, 2 if the input can't be used, 130 after Ctrl-C; the last two with one line
        on stderr.
    """
    try:
        return 0 if run() else 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is whole; the same command goes on from there", file=sys.stderr)
        return 130
