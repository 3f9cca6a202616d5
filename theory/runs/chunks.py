"""Finished chunks of a sweep, kept on disk so that a killed run goes on where it was."""

import ast
import functools
import hashlib
import io
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from theory.runs.command_line import InputError
from theory.runs.files import DAMAGE, npz_bytes, write_whole


class Place(NamedTuple):
    """Where chunks are kept, and whose they are."""

    folder: Path
    """The folder."""
    owner: bytes
    """The run's configuration."""


OWNER = "config.json"
"""File in that folder with the configuration."""


def source_hash(*packages: ModuleType) -> str:
    """Hash the code that numbers come from: its syntax, so that prose and layout may be edited meanwhile.

    Theory's claims, from which nothing else computes, don't count.
    """
    digest = hashlib.sha256()
    for package in packages:
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            if file.parent.name != "claims":
                digest.update(_syntax(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


@functools.cache
def _syntax(source: str) -> str:
    """Code without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_docstring(one)]
    return ast.dump(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


_place: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def kept_in(folder: Path, owner: bytes = b"", *, fresh: bool = False) -> Generator[None]:
    """Keep the chunks of every sweep in a folder, and take those that are there; remove it if all goes well.

    What an earlier run left is refused if its configuration, the `owner`, is another one, unless all is done
    afresh.
    """
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    left = folder / OWNER
    if left.exists() and left.read_bytes() != owner:
        remedy = "choose another --output, or --fresh to forget it"
        raise InputError(f"{folder.parent} holds an unfinished run of another configuration: {remedy}")
    token = _place.set(Place(folder, owner))
    try:
        yield
    finally:
        _place.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


def current_place() -> Place | None:
    """Say where chunks are kept now."""
    return _place.get()


def keep_in(place: Place | None) -> None:
    """Keep the chunks of every sweep from now on, in a process that helps another."""
    _place.set(place)


class Keeper:
    """Keeps the chunks of one compiled program: a chunk's name is a hash of that program, and its first instance.

    Equal names mean equal numbers, whatever has changed in the code, the configuration or the order of claims.
    """

    def __init__(self, program: str):
        """Take the current place."""
        self.place = _place.get()
        self.name = hashlib.sha256(f"{jax.__version__}\n{program}".encode()).hexdigest()[:32]

    def path(self, start: int) -> Path | None:
        """Say where the chunk that begins with an instance is kept; None if nothing is."""
        return self.place and self.place.folder / f"{self.name}-{start}.npz"

    def load(self, start: int, like: Any) -> Any:
        """Read a chunk into a tree of these shapes; None if it is not there or damaged."""
        path = self.path(start)
        if path is None or not path.exists():
            return None
        shapes, structure = jax.tree.flatten(like)
        try:
            with np.load(io.BytesIO(path.read_bytes())) as file:
                arrays = [file[f"arr_{index}"] for index in range(len(shapes))]
        except DAMAGE:
            return None
        return jax.tree.unflatten(structure, arrays)

    def kept(self, start: int, like: Any, compute: Callable[[], Any]) -> Any:
        """Read a chunk, or compute it and keep it."""
        chunk = self.load(start, like)
        if chunk is None:
            chunk = compute()
            self.save(start, chunk)
        return chunk

    def save(self, start: int, chunk: Any) -> None:
        """Keep a chunk."""
        path = self.path(start)
        if self.place and path:
            if not (owner := self.place.folder / OWNER).exists():
                write_whole(owner, self.place.owner)
            write_whole(path, npz_bytes({f"arr_{index}": leaf for index, leaf in enumerate(jax.tree.leaves(chunk))}))
