"""Preferences of a teacher: the first step of DPO, exactly and to first order, and which completion is preferred."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from llm_bridge.model.lessons import BETA, Lesson, summed_loss
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply
from llm_bridge.studies.pairs import measure_margins, prefer
from llm_bridge.text.chats import Example, Rows, pack
from theory.runs.statistics import fitted_order

EPS = float(np.finfo(float).eps)
CONFIG = Config(vocabulary=13, width=8, num_layers=1, num_heads=2, num_key_heads=2, head_size=4, hidden=10)
ALL = Recipe(trained="everything")


def draw_pairs(num_pairs: int = 6) -> Rows:
    """Pairs of completions of 3 to 6 tokens, the longer one first."""
    random = np.random.default_rng(0)

    def draw(size: int) -> list[int]:
        return random.integers(0, CONFIG.vocabulary, size).tolist()

    packed = []
    for _ in range(num_pairs):
        prompt = draw(2)
        packed.append(pack([Example(prompt, draw(int(random.integers(3, 7)))) for _ in range(2)], 18))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *packed)


PAIRS = draw_pairs()


@pytest.fixture(scope="module")
def base() -> Any:
    return initialize(CONFIG, jax.random.key(0), jnp.float64)


@pytest.fixture(scope="module")
def gains(base) -> Callable[[Any], np.ndarray]:
    """Log-probability of both completions of each pair, by a plain pass of the model."""

    @jax.jit
    def measure(params: Any) -> jax.Array:
        tokens, positions, texts, learned = map(jnp.asarray, PAIRS)
        logits = apply(CONFIG, params, tokens, positions=positions, texts=texts)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.roll(tokens, -1, axis=1))
        return jnp.stack([-jnp.sum(losses * (learned & (texts == text)), axis=1) for text in (1, 2)])

    return measure


@jax.jit
def descend(base: Any, rows: Rows) -> jax.Array:
    """The first step of DPO at rate 1, flat."""
    gradient = jax.grad(lambda params: summed_loss(CONFIG, ALL, base, params, Lesson(rows, "preferences")))(base)
    return -ravel_pytree(gradient)[0]


def test_the_first_step_is_half_of_beta_times_the_scores_of_the_preferred_less_the_rejected(base, gains):
    scores = ravel_pytree(jax.grad(lambda params: jnp.sum(gains(params)[0] - gains(params)[1]))(base))[0]
    step = descend(base, PAIRS)
    np.testing.assert_allclose(step, BETA / 2 * scores, rtol=0, atol=1e4 * EPS)
    assert np.max(np.abs(step)) > 1e-3


def test_the_loss_is_that_of_its_definition_away_from_the_base(base, gains):
    params = initialize(CONFIG, jax.random.key(1), jnp.float64)
    rises = gains(params) - gains(base)
    expected = np.sum(np.log1p(np.exp(-BETA * (rises[0] - rises[1]))))
    found = jax.jit(lambda: summed_loss(CONFIG, ALL, base, params, Lesson(PAIRS, "preferences")))()
    np.testing.assert_allclose(found, expected, rtol=1e4 * EPS)


def test_its_alignment_departs_from_half_of_beta_times_the_mean_log_ratio_at_second_order(base):
    """The alignment itself is of first order; preferring what the teacher raised less turns its sign."""
    flat, unravel = ravel_pytree(base)
    direction = jax.random.normal(jax.random.key(2), flat.shape)
    sizes, alignments, predicted = np.geomspace(1e-5, 1e-3, 5), [], []
    for size in sizes:
        teacher = unravel(flat + size * direction)
        rows = prefer(CONFIG, teacher, base, PAIRS)
        margins = np.asarray(measure_margins(CONFIG, teacher, base, rows))
        assert np.all(margins > 0)
        alignments.append(float(size * direction @ descend(base, rows)))
        predicted.append(BETA / 2 * margins.sum())
        swapped = rows._replace(texts=np.where(rows.texts > 0, 3 - rows.texts, 0))
        assert float(size * direction @ descend(base, swapped)) == pytest.approx(-alignments[-1])
    assert fitted_order(sizes, np.array(alignments)) == pytest.approx(1.0, abs=0.05)
    assert fitted_order(sizes, np.array(alignments) - predicted) == pytest.approx(2.0, abs=0.05)


def test_the_preferred_completion_is_that_which_the_teacher_raised_more(base, gains):
    teacher = initialize(CONFIG, jax.random.key(3), jnp.float64)
    first, second = gains(teacher) - gains(base)
    np.testing.assert_allclose(measure_margins(CONFIG, teacher, base, PAIRS), first - second, rtol=0, atol=1e4 * EPS)
    rows = prefer(CONFIG, teacher, base, PAIRS)
    swapped = np.any(rows.texts != PAIRS.texts, axis=1)
    np.testing.assert_array_equal(swapped, first < second)
    assert 0 < swapped.sum() < len(swapped)
    assert set(rows.texts[swapped].ravel()) == {0, 1, 2}
