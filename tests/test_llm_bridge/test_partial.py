"""Unfinished files: what is whole of them is used, and what was killed ends in the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.model.finetuning import Training, fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.store import TrainingState, append_rows, kept_rows, partial_path
from llm_bridge.text.chats import Example, pack
from theory.problem import Params

ROWS: list[dict[str, Any]] = [
    {"prompt": "Go on: 1\n2", "completion": "3; 4", "tokens": [1, 2, 3], "log_probability": -1.2345},
    {"prompt": "Größe ✓ \u2028", "completion": '"\\', "tokens": [], "log_probability": 1e-300},
    {"prompt": "", "completion": "", "tokens": [0], "log_probability": 0.1 + 0.2},
]

TRAINING = Training(
    jnp.array(3), {"into": jnp.arange(4.0), "deep": {"out": jnp.ones((2, 2), jnp.float32)}}, (jnp.zeros(3), ())
)
START = jax.tree.map(jnp.zeros_like, TRAINING)


@pytest.fixture
def state(tmp_path: Path) -> TrainingState:
    return TrainingState(tmp_path / "training.part")


@pytest.fixture(scope="module")
def train() -> Callable[..., Params]:
    """Four chunks of training a tiny model."""
    config = Config(vocabulary=13, width=8, num_layers=1, num_heads=2, num_key_heads=2, head_size=4, hidden=8)
    params = initialize(config, jax.random.key(0))
    random = np.random.default_rng(0)
    rows = pack([Example([1], random.integers(2, 13, 9).tolist()) for _ in range(8)], 10)
    recipe = Recipe(learning_rate=1e-2, num_epochs=4, batch=4, rows_at_once=4, warmup=1, weight_decay=0.1)

    def run(state: TrainingState, after: Callable[..., None] | None = None) -> Params:
        after = after or state.keep
        return fine_tune(config, recipe, params, Lesson(rows), chunk=2, resume=state.resume, after=after)

    return run


def content(tree: object) -> list[tuple[str, bytes]]:
    return [(str(np.asarray(leaf).dtype), np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def stop_after(calls: int, keep: Callable[..., None]) -> Callable[..., None]:
    """Keep this many times, then be killed."""
    left = iter(range(calls - 1))

    def keep_or_stop(training: Training, losses: np.ndarray) -> None:
        keep(training, losses)
        if next(left, None) is None:
            raise KeyboardInterrupt

    return keep_or_stop


def test_a_training_is_kept_bit_by_bit_until_it_is_forgotten(state):
    assert state.kept(START) is START
    state.keep(TRAINING, np.zeros(2))
    assert content(state.kept(START)) == content(TRAINING) != content(START)
    assert jax.tree.structure(state.kept(START)) == jax.tree.structure(TRAINING)
    state.forget()
    assert state.kept(START) is START
    state.forget()


def test_a_training_that_was_cut_anywhere_starts_anew(state):
    state.keep(TRAINING, np.zeros(2))
    whole = state.path.read_bytes()
    for length in range(0, len(whole), 3):
        state.path.write_bytes(whole[:length])
        assert state.kept(START) is START


def test_a_flipped_bit_starts_a_training_anew_or_does_no_harm(state):
    state.keep(TRAINING, np.zeros(2))
    whole, harmless = state.path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        state.path.write_bytes(flipped)
        resumed = state.kept(START)
        harmless += resumed is not START
        assert resumed is START or content(resumed) == content(TRAINING)
    assert harmless < len(whole) / 6


def test_a_training_that_was_killed_ends_in_the_same_bytes(train, tmp_path):
    chunks: list[Training] = []
    whole = content(train(TrainingState(tmp_path / "none"), lambda training, _: chunks.append(training)))
    assert [int(training.step) for training in chunks] == [2, 4, 6, 8]
    for calls in (1, 2, 3):
        state, seen = TrainingState(tmp_path / f"{calls}"), []
        with pytest.raises(KeyboardInterrupt):
            train(state, stop_after(calls, state.keep))
        assert content(train(state, lambda training, _, seen=seen: seen.append(int(training.step)))) == whole
        assert seen == [2, 4, 6, 8][calls:]


def test_a_training_whose_file_was_damaged_ends_in_the_same_bytes(train, tmp_path):
    state, seen = TrainingState(tmp_path / "state"), []
    whole = content(train(TrainingState(tmp_path / "none")))
    with pytest.raises(KeyboardInterrupt):
        train(state, stop_after(2, state.keep))
    state.path.write_bytes(state.path.read_bytes()[:-100])
    assert content(train(state, lambda training, _: seen.append(int(training.step)))) == whole
    assert seen == [2, 4, 6, 8]


def test_a_training_that_lost_its_optimizer_s_memory_would_end_elsewhere(train, tmp_path):
    state, whole = TrainingState(tmp_path / "state"), content(train(TrainingState(tmp_path / "none")))
    with pytest.raises(KeyboardInterrupt):
        train(state, stop_after(2, state.keep))
    chunks: list[Training] = []
    train(state, lambda training, _: chunks.append(training))
    kept = state.kept(chunks[0])
    state.keep(kept._replace(memory=jax.tree.map(jnp.zeros_like, kept.memory)), np.zeros(2))
    assert content(train(state, lambda *_: None)) != whole


def test_rows_are_kept_as_they_are_and_in_their_order(tmp_path):
    path = partial_path(tmp_path / "deep" / "rows.jsonl", "0123")
    assert kept_rows(path) == []
    append_rows(path, [])
    assert kept_rows(path) == []
    append_rows(path, ROWS[:1])
    append_rows(path, ROWS[1:])
    assert kept_rows(path) == ROWS
    assert [list(row) for row in kept_rows(path)] == [list(row) for row in ROWS]


@given(rows=st.lists(st.sampled_from(ROWS), max_size=4), share=st.floats(0, 1))
@settings(max_examples=100)
def test_rows_that_were_cut_anywhere_are_cut_to_whole_lines(tmp_path_factory, rows, share):
    path = tmp_path_factory.mktemp("cut") / "rows.part"
    append_rows(path, rows)
    cut = path.read_bytes()[: round(share * path.stat().st_size)]
    path.write_bytes(cut)
    assert kept_rows(path) == rows[: cut.count(b"\n")]


@pytest.mark.parametrize("damage", [b"\0" * 9, b"\xff\xfe", b'{"prompt": ', b""])
def test_rows_behind_a_damaged_line_are_left_out(tmp_path, damage):
    path = tmp_path / "rows.part"
    lines = [json.dumps(row).encode() for row in ROWS]
    path.write_bytes(b"\n".join([lines[0], damage, lines[1], b""]))
    assert kept_rows(path) == ROWS[:1]


def test_unfinished_files_are_hidden_beside_the_file_and_others_for_other_settings(tmp_path):
    path = tmp_path / "teacher.safetensors"
    names = {partial_path(path, key) for key in ("0123", "4567")} | {partial_path(tmp_path / "student", "0123")}
    assert len(names) == 3
    assert all(name.parent == tmp_path and name.name.startswith(".") for name in names)


def test_rows_that_can_not_be_written_are_one_line(tmp_path, refusal):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "rows.part", tmp_path):
        assert "can't write" in refusal(append_rows, place, [{"row": 1}])
    append_rows(tmp_path / "rows.part", [{"row": 1}])
    assert (tmp_path / "rows.part").read_text() == '{"row": 1}\n'
