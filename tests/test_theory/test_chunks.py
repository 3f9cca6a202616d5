"""A killed sweep goes on from what it has finished, and ends with the same bytes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from theory.runs.chunks import Keeper, kept_in, source_hash
from theory.runs.programs import Program
from theory.runs.progress import Progress
from theory.runs.sweeps import sweep


class Draw(NamedTuple):
    value: jax.Array
    square: jax.Array


def draw(key: jax.Array) -> Draw:
    value = jax.random.normal(key, (3,))
    return Draw(value, value**2)


def draw_other(key: jax.Array) -> Draw:
    value = jax.random.normal(key, (3,))
    return Draw(value, value**3)


class Killer(Progress):
    """Ends the run at its third chunk."""

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count, note)
        if self.done >= 12:
            raise KeyboardInterrupt


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First instances of the chunks that were computed, not read."""
    starts: list[int] = []
    save = Keeper.save

    def note(self: Keeper, start: int, chunk: Any) -> None:
        starts.append(start)
        save(self, start, chunk)

    monkeypatch.setattr(Keeper, "save", note)
    return starts


@pytest.fixture
def killed(tmp_path: Path, computed: list[int]) -> Path:
    folder = tmp_path / "chunks"
    with pytest.raises(KeyboardInterrupt), kept_in(folder):
        sweep(draw, 0, 30, chunk_size=4, progress=Killer("sweep", 30, "instances"))
    assert computed == [0, 4, 8]
    assert len(list(folder.glob("*.npz"))) == 3
    computed.clear()
    return folder


def test_killed_sweep_goes_on_from_finished_chunks_and_ends_with_the_same_bits(killed, computed):
    with kept_in(killed):
        resumed = sweep(draw, 0, 30, chunk_size=4)
    assert computed == [12, 16, 20, 24, 28]
    for one, other in zip(resumed, sweep(draw, 0, 30, chunk_size=4), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not killed.exists()


def test_nothing_is_compiled_for_a_sweep_that_is_all_there(tmp_path, monkeypatch):
    with kept_in(tmp_path / "chunks"):
        first = sweep(draw, 0, 8, chunk_size=4)
        monkeypatch.setattr(Program, "compiled", property(lambda self: pytest.fail("compiled")))
        np.testing.assert_array_equal(first.value, sweep(draw, 0, 8, chunk_size=4).value)


@pytest.mark.parametrize(
    ("measure", "seed", "chunk_size"),
    [(draw_other, 0, 4), (draw, 1, 4), (draw, 0, 2)],
    ids=["another formula", "another seed", "another chunk size"],
)
def test_chunks_of_another_program_are_not_taken(measure, seed, chunk_size, killed, computed):
    with kept_in(killed):
        result = sweep(measure, seed, 8, chunk_size=chunk_size)
    assert computed == list(range(0, 8, chunk_size))
    np.testing.assert_array_equal(result.square, sweep(measure, seed, 8, chunk_size=chunk_size).square)


@pytest.mark.parametrize("content", [b"", b"PK", b"half"])
def test_damaged_chunk_is_computed_again(content, killed, computed):
    next(iter(killed.glob("*-4.npz"))).write_bytes(content)
    with kept_in(killed):
        resumed = sweep(draw, 0, 12, chunk_size=4)
    assert computed == [4]
    np.testing.assert_array_equal(resumed.value, sweep(draw, 0, 12, chunk_size=4).value)


def test_a_fresh_run_takes_nothing(killed, computed):
    with kept_in(killed, fresh=True):
        sweep(draw, 0, 12, chunk_size=4)
    assert computed == [0, 4, 8]


def test_nothing_is_kept_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep(draw, 0, 8, chunk_size=4)
    assert not list(tmp_path.iterdir())


def test_what_is_said_of_code_does_not_count_and_what_it_computes_does(tmp_path):
    def hashed(source: str) -> str:
        (tmp_path / "code.py").write_text(source)
        return source_hash(SimpleNamespace(__path__=[str(tmp_path)]))  # pyright: ignore

    first = hashed('"""Halves."""\n\ndef half(x):\n    """Half of it."""\n    return x / 2\n')
    assert hashed('"""Parts."""\n\ndef half(x):  # a comment\n    """The half."""\n\n    return (x / 2)\n') == first
    assert hashed('"""Halves."""\n\ndef half(x):\n    """Half of it."""\n    return x / 3\n') != first
    assert hashed('"""Halves."""\n\ndef half(x):\n    """Half of it."""\n    return "x / 2"\n') != first
