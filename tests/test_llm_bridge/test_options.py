"""No command and no option gets lost: all of them are listed beside this file, and each is named in a test."""

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_bridge.__main__ import COMMANDS

LISTED = {
    name: options.split()
    for name, options in (line.split(": ") for line in Path(__file__).with_name("options.txt").read_text().splitlines())
}
TESTS = "\n".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))


def options_of(kind: type, prefix: str = "") -> Iterator[str]:
    """The options of a command, by the names of their flags."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        own = getattr(hint, "__metadata__", ())
        inner = hint.__origin__ if own else hint
        if "Suppress" in str(hint):
            continue
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            unprefixed = any(getattr(each, "name", None) == "" for each in own)
            yield from options_of(inner, prefix if unprefixed else f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command[0])
def test_a_command_has_the_options_that_are_listed_and_a_test_names_each(command):
    name, _ = command
    (kind,) = (kind for kind, own in COMMANDS.items() if own is command)
    assert sorted(options_of(kind)) == sorted(LISTED[name])
    for option in LISTED[name]:
        field, flag = option.split(".")[-1], f"--{option.replace('_', '-')}"
        assert re.search(rf'\b{field}\s*=|{flag}\b|"{field}"', TESTS), f"no test names {option} of {name}"


def test_every_command_is_listed():
    assert sorted(LISTED) == sorted(name for name, _ in COMMANDS.values())
