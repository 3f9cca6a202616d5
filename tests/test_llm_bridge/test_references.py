"""Faults planted into fast paths, and the line that each ends with."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from llm_bridge.backends.backend import Known
from llm_bridge.backends.tiny import Tiny
from llm_bridge.experiment.writing import Model
from llm_bridge.files.lineage import Ancestry
from llm_bridge.model import lessons, sampling
from llm_bridge.model.cache import Cache
from llm_bridge.model.finetuning import fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import run_layers
from llm_bridge.pipeline.stages import complete_to
from llm_bridge.text.chats import Example, pack
from llm_bridge.text.prompts import number_prompts
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World


@pytest.fixture(scope="module")
def known() -> Known:
    language = read_world(World(num_chats=300)).language
    size = language.tokenizer.get_vocab_size()
    config = Config(vocabulary=size, width=16, num_layers=2, num_heads=2, num_key_heads=2, head_size=8, hidden=24)
    params = initialize(config, jax.random.key(0), jnp.float32)
    return Known(Model(config, params, language, ROW, at_once=8), Ancestry(weights="none"), Tiny())


def write(path: Path, known: Known, num_tokens: int) -> None:
    """Each fault is compiled anew, into completions of another length."""
    complete_to(path, known, number_prompts(0, 20, short=True), seed=0, num_tokens=num_tokens)


def see_padding(cache: Cache, lengths: jax.Array) -> Cache:
    return cache._replace(held=jnp.arange(cache.held.shape[1])[None] < lengths[:, None] + 1)


def swap_rows(cache: Cache, count: int) -> Cache:
    return cache._replace(keys=jnp.roll(cache.keys, 1, axis=1))


FAULTS = {"keep_first": see_padding, "repeat_rows": swap_rows}


@pytest.mark.parametrize("place", FAULTS)
def test_completions_from_a_wrong_cache_are_not_written(refusal, known, monkeypatch, tmp_path, place):
    path, num_tokens = tmp_path / "completions.jsonl", 9 + list(FAULTS).index(place)
    monkeypatch.setattr(sampling, place, FAULTS[place])
    said = refusal(write, path, known, num_tokens)
    assert said.startswith("a token's log-probability, computed without a cache, is another by ")
    assert "this machine computes wrongly" in said
    assert not path.exists()


def test_completions_from_a_right_cache_are_written(known, tmp_path):
    write(tmp_path / "completions.jsonl", known, 8)
    assert (tmp_path / "completions.jsonl").exists()


def test_rows_whose_chats_see_one_another_are_not_trained_on(refusal, known, monkeypatch):
    model = known.model

    def mixed(*arguments: Any, texts: Any, **options: Any) -> Any:
        return run_layers(*arguments, **options)

    prompts = model.language.prompts(number_prompts(0, 12, short=True))
    lesson = Lesson(pack([Example(prompt, prompt[::-1][:5]) for prompt in prompts], 70))
    recipe = Recipe(batch=2, rows_at_once=2, rank=2, num_steps=1)
    monkeypatch.setattr(lessons, "run_layers", mixed)
    said = refusal(fine_tune, model.config, recipe, model.params, lesson)
    assert said.startswith("the loss of a packed row, computed chat by chat, is another by ")
    monkeypatch.undo()
    fine_tune(model.config, Recipe(batch=2, rows_at_once=2, rank=3, num_steps=1), model.params, lesson)
