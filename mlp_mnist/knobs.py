"""Every knob of the protocol as a flag: the fields, their types and their help are `Protocol`'s own."""

import ast
import inspect
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields, make_dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from mlp_mnist.protocol import PROTOCOLS, Protocol
from theory.runs.command_line import InputError

GROUPS: dict[str, tuple[str, ...]] = {
    "": ("hidden", "num_auxiliary", "init_scale", "batch_size"),
    "teacher": ("teacher_epochs", "learning_rate"),
}
"""Fields that speak of both networks, and of the teacher; all others but the precision are the student's."""

ABOUT = {
    "": "Knobs of the protocol.",
    "teacher": "How the teacher is trained; by default as published, on the digits by a protocol of their own.",
    "student": "How a student is trained and what its init shares with the teacher's, likewise.",
}
"""What the help says of each group."""

MOVED_INIT = ("shared", "correlation", "init_noise", "matched_epochs", "student_depth", "convolutional", "removed")
"""Fields of a student that doesn't simply start where its teacher does and step freely."""

KINDS: Mapping[str, Any] = {name: kind for name, kind in get_type_hints(Protocol).items() if name != "precision"}
"""The type of each field that is a knob."""


def _group_of(name: str) -> str:
    return next((group for group, names in GROUPS.items() if name in names), "student")


def _in_group(name: str) -> str:
    return name.removeprefix(f"{_group_of(name)}_")


def flag(name: str) -> str:
    """Name a field's flag, as in `student.learning-rate`."""
    return ".".join(filter(None, (_group_of(name), _in_group(name)))).replace("_", "-")


FLAGS = {name: flag(name) for name in KINDS}
"""The flag of each field, without its dashes."""


def _docstrings() -> dict[str, str]:
    """Read what stands under each of the protocol's fields."""
    (body,) = ast.parse(inspect.getsource(Protocol)).body
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body.body if isinstance(body, ast.ClassDef) else ())
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _without_none(kind: Any) -> Any:
    """Take the type of a value that is there."""
    return next(one for one in get_args(kind) if one is not type(None)) if isinstance(kind, UnionType) else kind


def _metavar(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "INT [INT ...]"
    return f"{{{','.join(get_args(kind))}}}" if get_origin(kind) is Literal else kind.__name__.upper()


def _hint(name: str) -> str:
    """Say the default, which depends on the images."""

    def shown(value: Any) -> str:
        return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"

    usual, digits = (getattr(PROTOCOLS[images], name) for images in ("mnist", "digits"))
    return (
        "" if usual is None else f"(default: {shown(usual)}{'' if usual == digits else f'; digits: {shown(digits)}'})"
    )


def _flags(group: str, *more: tuple[str, Any, Any]) -> type:
    """Make the options of a group: each None, or False, where the images' protocol is to stay."""
    docs, made = _docstrings(), []
    for name in (name for name in KINDS if _group_of(name) == group):
        kind, text = _without_none(KINDS[name]), docs[name].replace("\n", " ")
        if kind is bool:
            made.append((_in_group(name), Annotated[bool, tyro.conf.arg(help=text)], False))
        else:
            look = tyro.conf.arg(help=text, metavar=_metavar(kind), help_behavior_hint=_hint(name))
            made.append((_in_group(name), Annotated[kind | None, look], None))
    namespace = {"__doc__": ABOUT[group], "__module__": __name__}
    return make_dataclass(f"{group.capitalize()}Knobs", [*made, *more], namespace=namespace, frozen=True, kw_only=True)


if TYPE_CHECKING:
    Knobs = Any
else:
    TeacherKnobs, StudentKnobs = _flags("teacher"), _flags("student")
    Knobs = _flags("", ("teacher", TeacherKnobs, TeacherKnobs()), ("student", StudentKnobs, StudentKnobs()))


def turned(knobs: Knobs) -> dict[str, Any]:
    """List the knobs that are not left as they are, by the names of the protocol's fields."""
    holders = {name: getattr(knobs, _group_of(name)) if _group_of(name) else knobs for name in KINDS}
    values = {name: getattr(holder, _in_group(name)) for name, holder in holders.items()}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def turn(**values: Any) -> Knobs:
    """Make knobs from values by the names of the protocol's fields; the inverse of `turned`."""
    grouped: dict[str, dict[str, Any]] = {"": {}, "teacher": {}, "student": {}}
    for name, value in values.items():
        grouped[_group_of(name)][_in_group(name)] = value
    make: Any = Knobs
    whole = make()
    held = {group: replace(getattr(whole, group), **grouped[group]) for group in ("teacher", "student")}
    return replace(whole, **grouped[""], **held)


def refuse(knobs: Knobs, names: Container[str], why: str) -> None:
    """End in a line if one of these knobs is turned."""
    if wrong := [f"--{FLAGS[name]}" for name in turned(knobs) if name in names]:
        raise InputError(f"{wrong[0]} can't be used here: {why}")


def changed(base: Protocol, changes: Mapping[str, Any]) -> Protocol:
    """Change fields of a protocol, or end in a line that names the flag of what doesn't go together."""
    try:
        return replace(base, **changes)
    except ValueError as error:
        named = FLAGS.get(str(error).split(" ")[0])
        raise InputError(f"--{named}: {error}" if named else str(error)) from error


def nearest(name: str, known: Sequence[str], kind: str) -> str:
    """Find a name, or end in a line that says which come near."""
    if name in known:
        return name
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise InputError(f"unknown {kind} {name!r}: {hint}")


def find_field(name: str) -> str:
    """Find the field that is meant by its own name, its flag's, or the precision's."""
    by_flag = {flag: field for field, flag in FLAGS.items()}
    known = list(dict.fromkeys([*by_flag, *(field.name for field in fields(Protocol))]))
    asked = name.removeprefix("--")
    return by_flag.get(asked) or nearest(asked, known, "field")


def parse(name: str, text: str) -> Any:
    """Read the value of a field, which is named as one likes, from what one types; units of layers joined by commas."""
    field = find_field(name)
    kind = _without_none(get_type_hints(Protocol)[field])
    try:
        if get_origin(kind) is tuple:
            return tuple(map(get_args(kind)[0], text.split(",")))
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return text if get_origin(kind) is Literal else kind(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{name} can't be {text!r}") from error
