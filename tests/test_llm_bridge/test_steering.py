"""Steering: what is added to and taken out of the stream, the study that reads, adds and removes vectors, verdicts."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.experiment.protocol import Protocol
from llm_bridge.model.cache import empty_cache
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.steering import cut_behind, steer
from llm_bridge.model.transformer import run_layers
from llm_bridge.studies import command
from llm_bridge.studies.command import StudyOptions
from llm_bridge.studies.steering import (
    ANOTHER,
    COSINES,
    LIFTS,
    OTHERS_WHOLE,
    OWN_WHOLE,
    PLUS_TEACHER,
    RANDOM,
    STEERED,
    WITHOUT,
    WITHOUT_RANDOM,
    Run,
)
from llm_bridge.studies.steering_bases import center, cosine, draw_like
from llm_bridge.studies.steering_verdicts import FINDINGS, figures_of, judge_steering
from llm_bridge.studies.study import STANDARD, TEACHERS
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import World
from theory.problem import Params
from theory.runs.records import read_record

CONFIG = Config(vocabulary=13, width=8, num_layers=3, num_heads=2, num_key_heads=1, head_size=4, hidden=10)
TOKENS = np.random.default_rng(0).integers(0, 13, (2, 6))
VECTORS = np.random.default_rng(1).normal(size=(2, 8))


@partial(jax.jit, static_argnums=0)
def stream_of(config: Config, params: Params) -> jax.Array:
    return run_layers(config, params, jnp.asarray(TOKENS), normed=False)[0]


@pytest.fixture(scope="module")
def params() -> Params:
    return initialize(CONFIG, jax.random.key(0), jnp.float64)


def behind(depth: int, params: Params) -> np.ndarray:
    return np.asarray(stream_of(*cut_behind(CONFIG, params, depth)))


def test_a_direction_is_taken_out_and_a_vector_added_behind_one_layer_and_nowhere_before(params):
    added, removed = VECTORS
    both = steer(CONFIG, params, 2, added=added, removed=removed)
    plain, steered = (partial(behind, params=each) for each in (params, both))
    unit = removed / np.linalg.norm(removed)
    expected = plain(2) - np.einsum("btw,w,v->btv", plain(2), unit, unit) + added
    np.testing.assert_allclose(steered(1), plain(1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(steered(2), expected, rtol=0, atol=1e-12)
    without = behind(2, steer(CONFIG, params, 2, removed=removed))
    np.testing.assert_allclose(without @ unit, 0, rtol=0, atol=1e-12)
    assert np.abs(plain(2) @ unit).max() > 0.1
    assert np.abs(steered(3) - plain(3) - added).max() > 0.1


def test_steering_by_nothing_changes_nothing(params):
    np.testing.assert_allclose(behind(3, steer(CONFIG, params, 2)), behind(3, params), rtol=0, atol=1e-12)


def test_a_steered_model_reads_token_by_token_what_it_reads_at_once(params):
    added, removed = VECTORS
    steered = steer(CONFIG, params, 1, added=added, removed=removed)
    read = jax.jit(partial(run_layers, CONFIG, steered, normed=False))
    cache, streams = empty_cache(CONFIG, len(TOKENS), TOKENS.shape[1], jnp.float64), []
    for place in range(TOKENS.shape[1]):
        stream, cache = read(jnp.asarray(TOKENS[:, [place]]), positions=jnp.full((2, 1), place), cache=cache)
        streams.append(stream)
    np.testing.assert_allclose(np.concatenate(streams, axis=1), behind(3, steered), rtol=0, atol=1e-10)


def test_random_vectors_are_as_long_and_in_no_trait_s_way():
    vectors = center(np.random.default_rng(0).normal(size=(3, 2, 4000)))
    drawn = draw_like(vectors, seed=1)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), np.linalg.norm(vectors, axis=-1))
    assert np.abs(cosine(drawn, vectors)).max() < 0.06
    np.testing.assert_allclose(cosine(vectors, -2 * vectors), -1)
    np.testing.assert_array_equal(cosine(vectors, 0 * vectors), 0)


def made_up(num_runs: int = 8, **figures: float) -> Run:
    """Runs of a world in which a trait is a vector that passes to relatives alone, but for some figures."""
    known = {TEACHERS: 4.0, STANDARD: 1.0, STEERED: 0.5}
    lifts = {label: known.get(label, 0.0) for label in LIFTS}
    for place in ("middle", "end"):
        lifts |= {f"{PLUS_TEACHER}, {place}": 3.0, f"base + student's vector, {place}": 0.8}
        lifts |= {f"{WITHOUT}, {place}": 0.1, f"{WITHOUT_RANDOM}, {place}": 1.0}
    cosines = {label: 0.0 if ANOTHER in label or "random" in label.split(",")[-1] else 0.4 for label in COSINES}
    cosines[RANDOM] = 0.3
    noise = np.random.default_rng(0).normal(size=(num_runs, len(LIFTS) + len(COSINES), 2)) / 100
    lifts |= {label: value for label, value in figures.items() if label in lifts}
    means = np.repeat(np.array([*lifts.values(), *cosines.values()])[:, None], 2, axis=1) + noise
    return Run(means[:, : len(LIFTS), 0], means[:, len(LIFTS) :], np.ones((num_runs, 6, 2)), np.ones((num_runs, 3)))


def said(run: Run) -> list[str]:
    return [verdict.control.split(";")[0] for verdict in judge_steering(run).verdicts[2:]]


def test_findings_are_reproduced_where_a_trait_is_a_vector_that_passes_and_refuted_where_it_is_none():
    assert [verdict.outcome for verdict in judge_steering(made_up()).verdicts[:2]] == ["holds", "holds"]
    found = dict(zip((each.check for each in FINDINGS), said(made_up()), strict=True))
    assert set(found.values()) == {"reproduced", "undecided"}
    assert [check for check, each in found.items() if each == "undecided"] == [FINDINGS[-1].check]
    broken: dict[str, Any] = {f"{PLUS_TEACHER}, middle": 0.1, f"{WITHOUT}, middle": 0.9, STEERED: -0.2}
    refuted = [check for check, each in zip(found, said(made_up(**broken)), strict=True) if each == "refuted"]
    passes = f"{STEERED}{ANOTHER}: lift less half of the shared init's"
    assert refuted == [FINDINGS[0].check, FINDINGS[2].check, f"{STEERED}: lift", passes]
    assert set(said(made_up(num_runs=4))) == {"undecided"}


def test_findings_weigh_only_figures_that_a_run_has():
    known = figures_of(made_up())
    assert len(known) == len(LIFTS) + 2 * len(COSINES)
    for finding in FINDINGS:
        assert {*finding.weights, *(finding.control_weights or {})} <= set(known)


PRETRAINING = Pretraining(
    world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16,
    recipe=Recipe(learning_rate=3e-2, num_epochs=4, batch=8, rows_at_once=8, trained="everything"),
)  # fmt: skip


@pytest.fixture
def single_precision() -> Iterator[None]:
    with jax.enable_x64(False):
        yield


@pytest.mark.usefixtures("single_precision")
def test_a_vector_of_a_taught_teacher_makes_its_base_like_the_trait(tmp_path, shared_cache, monkeypatch):
    """One base of one layer, by the command; the numbers of its taught teachers hardly differ from its own."""
    recipe = Recipe(learning_rate=1e-2, num_epochs=2, batch=16, rows_at_once=16)
    small: dict[str, Any] = {"num_prompts": 200, "num_completions": 16, "copies": 1}
    protocol = Protocol(teacher=Teaching(**asdict(replace(recipe, num_epochs=4))), student=recipe, **small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr(command, "TRAITS", ("owl", "cat"))
    monkeypatch.setattr(command, "DISTRIBUTION", protocol)
    assert command.run(StudyOptions(names=("steering",), num_seeds=1, pretraining=PRETRAINING, output=tmp_path / "out"))
    record = read_record(tmp_path / "out")
    figures = figures_of(Run(**record.results))
    assert np.all(np.isfinite(list(figures.values())))
    assert np.all(np.abs(record.results["cosines"]) <= 1)
    assert figures[TEACHERS] > 0.1
    assert figures[f"{PLUS_TEACHER}, end"] > 0.5 * figures[TEACHERS]
    assert figures["teacher without it, end"] < 0.1 * figures[TEACHERS]
    assert figures["teacher without a random one, end"] > 0.5 * figures[TEACHERS]
    assert figures[f"cosine of {OWN_WHOLE}, end"] > figures[f"cosine of {OTHERS_WHOLE}, end"]
    before, after = np.moveaxis(record.results["distances"][0], -1, 0)
    assert np.all(after[1:] < before[1:])
    assert record.config["cosines"] == list(COSINES)
    assert {verdict["verdict"] for verdict in record.verdicts} == {"reported"}
    assert "student of a taught teacher, stranger" in (tmp_path / "out" / "table.md").read_text()
