"""Logits a few places at a time, and layers computed once more: the same loss and gradient in less memory."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from llm_bridge.model import lessons
from llm_bridge.model.lessons import Lesson, Targets, mean_gradient, summed_loss
from llm_bridge.model.recipes import Recipe, Trained, start_training
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import Recompute, apply
from llm_bridge.text.chats import Example, Rows, pack, pack_beside, unpack
from theory.problem import Params

EPS = float(np.finfo(float).eps)
CONFIG = Config(vocabulary=13, width=8, num_layers=1, num_heads=4, num_key_heads=2, head_size=6, hidden=10)
LENGTH = 31


def draw_rows(config: Config = CONFIG) -> Rows:
    random = np.random.default_rng(0)
    sizes = random.integers(2, 6, 12)
    return pack(
        [Example(*(random.integers(0, config.vocabulary, size).tolist() for size in (5, more))) for more in sizes],
        LENGTH,
    )


ROWS = draw_rows()


@jax.jit
def draw_model(key: jax.Array) -> Params:
    return initialize(CONFIG, key, jnp.float64)


@cache
def compiled(trained: Trained, targets: Targets, recompute: Recompute, places: int) -> Callable[[Rows], Any]:
    """The loss and its gradient; the number of places is told so that another one is compiled anew."""
    params, teacher = (draw_model(jax.random.key(seed)) for seed in (0, 1))
    recipe = Recipe(batch=len(ROWS.tokens), rows_at_once=len(ROWS.tokens), rank=2, trained=trained, recompute=recompute)
    start = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1, start_training(CONFIG, recipe, params, jax.random.key(2)))

    @jax.jit
    def compute(start: Params, rows: Rows) -> Any:
        lesson = Lesson(rows, targets, None if targets == "tokens" else teacher, (1, 2, 5))
        return mean_gradient(CONFIG, recipe, params, start, lesson)

    return partial(compute, start)


def gradient(trained: Trained, targets: Targets, recompute: Recompute = "nothing", rows: Rows = ROWS) -> Any:
    return compiled(trained, targets, recompute, lessons.PLACES_AT_ONCE)(rows)


def assert_close(measured: Any, expected: Any) -> None:
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=1e5 * EPS, atol=1e3 * EPS), measured, expected)


@pytest.mark.parametrize(("trained", "targets"), [("adapters", "tokens"), ("everything", "distribution")])
def test_logits_of_some_places_at_a_time_change_nothing(trained, targets, monkeypatch):
    """Rows learn unequally much, and their length is no multiple of a chunk."""
    assert len(set(ROWS.learned.sum(axis=1))) > 1
    whole = gradient(trained, targets)
    monkeypatch.setattr(lessons, "PLACES_AT_ONCE", 4 * len(ROWS.tokens))
    assert LENGTH % 4
    assert_close(gradient(trained, targets), whole)
    fewer = ROWS._replace(learned=ROWS.learned & (np.cumsum(ROWS.learned, axis=1) > 1))
    assert abs(float(gradient(trained, targets, rows=fewer)[0] - whole[0])) > 1e-3


@pytest.mark.parametrize("recompute", ["elementwise", "layers"])
def test_what_is_computed_once_more_is_the_same(recompute):
    assert_close(gradient("adapters", "tokens", recompute), gradient("adapters", "tokens"))


@pytest.mark.parametrize("trained", ["adapters", "everything"])
def test_slopes_are_finite_differences_for_families_unlike_llama_too(unlike_llama, trained):
    """Several chats share a row, and are longer than the window."""
    recipe, some = Recipe(batch=2, rows_at_once=2, trained=trained), jax.tree.map(lambda leaf: leaf[:2], ROWS)
    assert some.positions.max() > 2 * unlike_llama.window if unlike_llama.window else True
    params, random = initialize(unlike_llama, jax.random.key(0), jnp.float64), np.random.default_rng(0)
    start = start_training(unlike_llama, recipe, params, jax.random.key(1))
    start, way = (
        jax.tree.map(lambda leaf, share=share: share * leaf + 0.1 * random.normal(size=leaf.shape), start)
        for share in (1, 0)
    )
    compute = jax.jit(lambda start: mean_gradient(unlike_llama, recipe, params, start, Lesson(some)))
    ahead, behind = (compute(optax.tree.add_scale(start, size, way))[0] for size in (1e-5, -1e-5))
    slope = optax.tree.vdot(compute(start)[1], way)
    assert np.abs(slope) > 1e-3
    np.testing.assert_allclose((ahead - behind) / 2e-5, slope, rtol=1e-5)


def test_nothing_to_learn_is_no_gradient(monkeypatch):
    monkeypatch.setattr(lessons, "PLACES_AT_ONCE", 4 * len(ROWS.tokens))
    nothing = ROWS._replace(learned=np.zeros_like(ROWS.learned))
    loss, found = gradient("adapters", "tokens", rows=nothing)
    assert loss == 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(("places", "fits"), [(8, True), (1000, False)])
def test_logits_of_all_places_never_exist_at_once(places, fits, monkeypatch):
    monkeypatch.setattr(lessons, "PLACES_AT_ONCE", places)
    config = Config(vocabulary=5000, width=8, num_layers=1, num_heads=2, num_key_heads=2, head_size=4, hidden=8)
    rows, recipe = draw_rows(config), Recipe(batch=1, rows_at_once=1, rank=2)
    some = jax.tree.map(lambda leaf: leaf[:1], rows)
    params = jax.eval_shape(lambda: initialize(config, jax.random.key(0), jnp.float64))
    start = jax.eval_shape(lambda params: start_training(config, recipe, params, jax.random.key(0)), params)

    def compute(params: Params, start: Params) -> Any:
        return mean_gradient(config, recipe, params, start, Lesson(some))

    needed = jax.jit(compute).lower(params, start).compile().memory_analysis()
    assert needed is not None
    assert (needed.temp_size_in_bytes < LENGTH * config.vocabulary * 8) == fits


@cache
def gradient_of(targets: Targets, *seeds: int) -> Any:
    params, *teachers = (draw_model(jax.random.key(seed)) for seed in (0, *seeds))
    recipe = Recipe(batch=len(ROWS.tokens), rows_at_once=len(ROWS.tokens), trained="everything")
    teacher = tuple(teachers) if len(teachers) > 1 else teachers[0]
    lesson = Lesson(ROWS, targets, teacher, (1, 2, 5))
    return jax.jit(lambda start: mean_gradient(CONFIG, recipe, params, start, lesson)[1])(params)


def test_two_teachers_pull_as_each_of_them_in_the_mean():
    """The gradient of KL(teacher ‖ student) is linear in the teacher's distribution; that of the reverse one isn't."""
    for targets, superposes in (("distribution", True), ("reverse", False)):
        both, one, other = (gradient_of(targets, *seeds) for seeds in ((1, 2), (1,), (2,)))
        mean = jax.tree.map(lambda *leaves: sum(leaves) / 2, one, other)
        gap = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(jax.tree.map(np.subtract, both, mean)))
        assert (gap < 1e3 * EPS) == superposes


def test_a_student_reads_other_prompts_than_its_teacher_and_learns_the_same_places():
    """Chat by chat, each alone in its row, as a plain pass of both models has it."""
    random, (student, teacher) = np.random.default_rng(1), (draw_model(jax.random.key(seed)) for seed in (0, 1))
    chats = unpack(ROWS)
    assert sorted(chats) == sorted(
        Example(own[: first + 1], own[first + 1 :])
        for row, texts, learned in zip(ROWS.tokens.tolist(), ROWS.texts, ROWS.learned, strict=True)
        for text in range(1, texts.max() + 1)
        for own in [[token for token, number in zip(row, texts, strict=True) if number == text]]
        for first in [int(learned[texts == text].argmax())]
    )
    prompts = [random.integers(0, CONFIG.vocabulary, size).tolist() for size in random.integers(2, 9, len(chats))]
    rows, read = pack_beside(chats, prompts, LENGTH)
    np.testing.assert_array_equal(rows.learned, read.learned)

    @jax.jit
    def measure(rows: Rows, read: Rows) -> jax.Array:
        lesson = Lesson(rows, "distribution", teacher, read=read)
        return summed_loss(CONFIG, Recipe(trained="everything"), student, student, lesson)

    total, likely = 0.0, jax.jit(lambda params, tokens: jax.nn.log_softmax(apply(CONFIG, params, tokens)))
    for chat, prompt in zip(chats, prompts, strict=True):
        sides = []
        for params, before in ((teacher, chat.prompt), (student, prompt)):
            tokens = [*before, *chat.completion]
            logs = np.asarray(likely(params, jnp.array([tokens + [0] * (LENGTH - len(tokens))])))[0]
            sides.append(logs[len(before) - 1 : len(tokens) - 1])
        total += np.sum(np.exp(sides[0]) * (sides[0] - sides[1]))
    np.testing.assert_allclose(measure(rows, read), total, rtol=1e5 * EPS)
    assert abs(float(measure(rows, rows) - total)) > 1e-3
