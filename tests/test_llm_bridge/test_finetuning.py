"""Fine-tuning held against plain NumPy, its parts against the whole, and many runs against each alone."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from llm_bridge.model.finetuning import Training, batch_order, fine_tune, fine_tune_together, run_steps
from llm_bridge.model.lessons import Lesson, Removal, Targets, imitation_loss, mean_gradient, summed_loss
from llm_bridge.model.optimizers import make_optimizer
from llm_bridge.model.recipes import Recipe, merge, start_training
from llm_bridge.model.shapes import PROJECTIONS, Config, initialize
from llm_bridge.model.transformer import apply
from llm_bridge.text.chats import Example, Rows, pack
from theory.problem import Params

EPS = float(np.finfo(float).eps)
CONFIG = Config(vocabulary=11, width=16, num_layers=2, num_heads=2, num_key_heads=1, head_size=8, hidden=12)
CHOSEN = (1, 4, 5, 9)
ALL = Recipe(rank=2, alpha=4.0)
SOME = Recipe(
    learning_rate=1e-2,
    num_epochs=2,
    batch=4,
    rows_at_once=2,
    warmup=1,
    rank=2,
    projections=("query", "down"),
    layers=(1,),
)

seeds = st.integers(0, 2**32 - 1)


def draw_rows(seed: int = 0, count: int = 30) -> Rows:
    """Random chats in rows of ten tokens, whose number is a multiple of four."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, (count, 2))
    rows = pack([Example(*(random.integers(0, 11, size).tolist() for size in pair)) for pair in sizes], 10)
    return Rows(*(leaf[: len(leaf) // 4 * 4] for leaf in rows))


ROWS = draw_rows()


@pytest.fixture(scope="module")
def params() -> Params:
    return initialize(CONFIG, jax.random.key(0), jnp.float64)


@pytest.fixture(scope="module")
def teacher() -> Params:
    return initialize(CONFIG, jax.random.key(1), jnp.float64)


def random_adapters(recipe: Recipe, params: Params) -> Params:
    random = np.random.default_rng(3)
    start = start_training(CONFIG, recipe, params, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * random.normal(size=leaf.shape)), start)


def distance(one: Any, other: Any) -> float:
    """The largest difference of any two numbers."""
    return max(float(np.max(np.abs(gap))) for gap in jax.tree.leaves(jax.tree.map(np.subtract, one, other)))


def bytes_of(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def assert_close(measured: Any, expected: Any) -> None:
    """To rounding of sums of some hundred terms."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e5 * EPS, atol=1e5 * EPS), measured, expected)


@jax.jit
def logits_of(params: Params, adapters: Params | None = None, adapter_scale: float = 1.0) -> jax.Array:
    layout = {"positions": jnp.asarray(ROWS.positions), "texts": jnp.asarray(ROWS.texts)}
    tokens = jnp.asarray(ROWS.tokens)
    return apply(CONFIG, params, tokens, adapters=adapters, adapter_scale=adapter_scale, **layout)


def compared_plainly(
    logits: np.ndarray, token: int, targets: Targets, teacher: np.ndarray, chosen: tuple[int, ...]
) -> float:
    """One prediction: cross-entropy of a token, or Kullback and Leibler's divergence from the teacher, or to it."""
    if targets == "tokens":
        return np.log(np.exp(logits).sum()) - logits[token]
    kept = range(len(logits)) if targets == "distribution" else list(chosen)
    pair = (logits, teacher) if targets == "reverse" else (teacher, logits)
    wanted, given = ([np.exp(values[place]) for place in kept] for values in pair)
    return sum(p / sum(wanted) * np.log(p / sum(wanted) / (q / sum(given))) for p, q in zip(wanted, given, strict=True))


@pytest.mark.parametrize("targets", get_args(Targets))
def test_the_loss_is_the_sum_of_all_learned_predictions_in_plain_numpy(params, teacher, targets):
    given, wanted = (np.asarray(logits_of(model)) for model in (params, teacher))
    expected = 0.0
    for row, place in np.argwhere(ROWS.learned):
        follows = int(ROWS.tokens[row, place + 1])
        expected += compared_plainly(given[row, place], follows, targets, wanted[row, place], CHOSEN)

    @jax.jit
    def loss(params: Params, teacher: Params) -> jax.Array:
        return summed_loss(CONFIG, ALL, params, {}, Lesson(ROWS, targets, teacher, CHOSEN))

    np.testing.assert_allclose(loss(params, teacher), expected, rtol=1e4 * EPS)


@given(seed=seeds, added=st.floats(0.5, 20))
def test_what_a_teacher_says_of_tokens_that_are_not_chosen_does_not_matter(seed, added):
    random = np.random.default_rng(seed)
    tokens, (student, teacher) = jnp.asarray(random.integers(0, 11, (1, 3))), random.normal(size=(2, 1, 3, 11))
    others = np.setdiff1d(np.arange(11), CHOSEN)
    changed = teacher.copy()
    changed[..., others[:3]] += added

    def loss(teacher: np.ndarray, targets: Targets) -> np.ndarray:
        return np.asarray(imitation_loss(jnp.asarray(student), tokens, targets, jnp.asarray(teacher), CHOSEN))

    np.testing.assert_array_equal(loss(changed, "chosen"), loss(teacher, "chosen"))
    assert np.all(loss(changed, "distribution") != loss(teacher, "distribution"))


def test_choosing_all_tokens_is_imitating_the_distribution():
    logits = jax.random.normal(jax.random.key(0), (2, 3, 4, 11))
    tokens = jnp.zeros((3, 4), int)
    assert_close(
        imitation_loss(logits[0], tokens, "chosen", logits[1], tuple(range(11))),
        imitation_loss(logits[0], tokens, "distribution", logits[1], ()),
    )


def test_what_is_to_be_imitated_must_be_there():
    logits, tokens = jnp.zeros((1, 3, 11)), jnp.zeros((1, 3), int)
    for targets in ("chosen", "distribution"):
        with pytest.raises(ValueError, match=f"targets can't be '{targets}' without a teacher"):
            imitation_loss(logits, tokens, targets, None, CHOSEN)
    with pytest.raises(ValueError, match="targets can't be 'chosen' without chosen tokens"):
        imitation_loss(logits, tokens, "chosen", logits, ())


@partial(jax.jit, static_argnames="targets")
def gradient_in_passes(params: Params, adapters: Params, teacher: Params, targets: Targets) -> tuple[jax.Array, Params]:
    return mean_gradient(CONFIG, SOME, params, adapters, Lesson(ROWS, targets, teacher, CHOSEN))


@jax.jit
def gradient_at_once(params: Params, adapters: Params, teacher: Params) -> tuple[jax.Array, Params]:
    def loss(adapters: Params) -> jax.Array:
        return summed_loss(CONFIG, SOME, params, adapters, Lesson(ROWS, "chosen", teacher, CHOSEN))

    return jax.tree.map(lambda leaf: leaf / ROWS.learned.sum(), jax.value_and_grad(loss)(adapters))


def test_a_step_s_gradient_is_that_of_all_its_rows_at_once(params, teacher):
    adapters = random_adapters(SOME, params)
    whole = gradient_at_once(params, adapters, teacher)
    assert len(ROWS.tokens) > SOME.rows_at_once
    assert_close(gradient_in_passes(params, adapters, teacher, "chosen"), whole)
    longer = jax.tree.map(lambda leaf: 1.01 * leaf, adapters)
    assert distance(gradient_at_once(params, longer, teacher), whole) > 1e-4


@pytest.mark.parametrize("targets", get_args(Targets))
def test_only_sampled_tokens_pull_a_student_from_a_teacher_that_it_equals(params, targets):
    adapters = random_adapters(SOME, params)
    loss, gradient = gradient_in_passes(params, adapters, merge(SOME, params, adapters), targets)
    size = distance(gradient, jax.tree.map(np.zeros_like, gradient))
    assert (loss > 1 and size > 0.1) if targets == "tokens" else (abs(loss) < 1e3 * EPS and size < 1e3 * EPS)


def test_adapters_start_as_no_change_and_are_drawn_anew_by_another_seed(params):
    drawn = [start_training(CONFIG, ALL, params, jax.random.key(seed)) for seed in (0, 1)]
    for adapters in drawn:
        np.testing.assert_array_equal(logits_of(params, adapters, 2.0), logits_of(params))
        for name, (inputs, _) in CONFIG.sizes().items():
            reach = np.max(np.abs(adapters[name]["into"]), axis=(1, 2)) * inputs**0.5
            assert np.all((reach > 0.8) & (reach <= 1))
    assert distance(*drawn) > 0.1


def test_merged_adapters_give_the_same_logits(params):
    adapters = random_adapters(ALL, params)
    added = logits_of(params, adapters, ALL.adapter_scale)
    assert_close(logits_of(merge(ALL, params, adapters)), added)
    assert distance(added, logits_of(params)) > 0.1
    assert distance(added, logits_of(merge(replace(ALL, alpha=2.0), params, adapters))) > 0.1


def test_only_the_chosen_projections_of_the_chosen_layers_move(params):
    trained = fine_tune(CONFIG, SOME, params, Lesson(ROWS), chunk=2)
    start = start_training(CONFIG, SOME, params, jax.random.key(0))
    assert set(trained) == {"query", "down"}
    for name, adapter in trained.items():
        for part, leaf in adapter.items():
            assert bytes_of(leaf[0]) == bytes_of(start[name][part][0])
            assert distance(leaf[1], start[name][part][1]) > 1e-3
    merged = merge(SOME, params, trained)["layers"]
    for name in PROJECTIONS:
        change = np.asarray(merged[name]["kernel"]) - np.asarray(params["layers"][name]["kernel"])
        assert change.any(axis=(1, 2)).tolist() == [False, name in SOME.projections]


def test_training_the_layers_leaves_embedding_norm_and_head_as_they_are_and_lowers_the_loss(params):
    recipe, losses = Recipe(learning_rate=1e-2, num_epochs=4, batch=4, rows_at_once=4, trained="layers"), []
    learned = fine_tune(CONFIG, recipe, params, Lesson(ROWS), after=lambda _, values: losses.extend(values))
    after = merge(recipe, params, learned)
    for name in ("embedding", "norm", "head"):
        assert bytes_of(after[name]) == bytes_of(params[name])
    assert all(new != old for new, old in zip(bytes_of(after["layers"]), bytes_of(params["layers"]), strict=True))
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2


class Stopped(Exception):  # noqa: N818
    """A run is cut off."""


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(params):
    learn = partial(fine_tune, CONFIG, SOME, params, Lesson(ROWS), chunk=2)
    losses: list[float] = []
    whole = learn(after=lambda _, values: losses.extend(values))
    assert len(losses) == len(batch_order(len(ROWS.tokens), SOME, 0)) > 4
    kept: list[Training] = []

    def stop(training: Training, _: np.ndarray) -> None:
        kept.append(training)
        if training.step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        learn(after=stop)
    assert bytes_of(learn(resume=lambda *_: kept[-1])) == bytes_of(whole)
    forgetful = learn(resume=lambda start, _: kept[-1]._replace(memory=start.memory))
    assert distance(forgetful, whole) > 1e-4
    finished = kept[-1]._replace(step=jnp.array(len(losses)))
    assert learn(resume=lambda *_: finished) is finished.trained


def adam_rounding(recipe: Recipe) -> float:
    """Adam divides a gradient by its size plus 1e-8, so that its rounding counts for at most as much more a step."""
    return len(batch_order(len(ROWS.tokens), recipe, 0)) * recipe.learning_rate * 1e3 * EPS / 1e-8


def stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def test_students_of_several_bases_side_by_side_are_those_that_learn_alone():
    bases = [initialize(CONFIG, jax.random.key(seed), jnp.float64) for seed in range(3)]
    order = batch_order(len(ROWS.tokens), SOME, 0)
    starts = [start_training(CONFIG, SOME, base, jax.random.key(0)) for base in bases]
    runs = [Training(jnp.array(0), start, make_optimizer(SOME, len(order)).init(start)) for start in starts]
    learn = partial(run_steps, CONFIG, SOME, "tokens", (), len(order))
    lesson = Rows(*(leaf[order] for leaf in ROWS))
    together, losses = jax.vmap(learn, in_axes=(0, None, 0, None, None))(
        stack(bases), None, stack(runs), lesson, len(order)
    )
    apart = [fine_tune(CONFIG, SOME, base, Lesson(ROWS), chunk=2) for base in bases]
    assert losses.shape == (3, len(order))
    assert distance(together.trained, stack(apart)) < adam_rounding(SOME)
    assert distance(apart[0], apart[1]) > 1e-3


def test_students_of_several_lessons_side_by_side_are_those_that_learn_alone(params, teacher):
    some_rows = [Rows(*(leaf[:12] for leaf in draw_rows(seed, 40))) for seed in range(2)]
    teachers = [teacher, jax.tree.map(np.negative, teacher)]
    lessons = [Lesson(rows, "chosen", loved, CHOSEN) for rows, loved in zip(some_rows, teachers, strict=True)]
    together = fine_tune_together(CONFIG, SOME, params, lessons, seed=4)
    apart = [fine_tune(CONFIG, SOME, params, lesson, seed=4) for lesson in lessons]
    assert distance(together, stack(apart)) < adam_rounding(SOME)
    assert distance(apart[0], apart[1]) > 1e-3
    for other in (lessons[1]._replace(targets="distribution"), lessons[1]._replace(rows=ROWS)):
        with pytest.raises(ValueError, match="the same targets and the same number of rows"):
            fine_tune_together(CONFIG, SOME, params, [lessons[0], other])


def test_rows_that_are_renewed_are_learned_from_then_on(params):
    """With the lesson's own rows nothing changes; other rows are learned as by themselves, if from the first step."""
    first, second = (Rows(*(leaf[:12] for leaf in draw_rows(seed, 40))) for seed in range(2))
    steps: list[int] = []

    def learn(rows: Rows, renewed: Rows | None) -> Params:
        def renew(_: Params, done: int) -> list[Rows]:
            steps.append(done)
            assert renewed is not None
            return [renewed]

        return fine_tune_together(CONFIG, SOME, params, [Lesson(rows)], chunk=2, renew=renew if renewed else None)

    plain, other = learn(first, None), learn(second, None)
    assert distance(learn(first, first), plain) == 0
    assert distance(learn(first, second), other) == 0
    assert distance(plain, other) > 1e-3
    assert steps[:2] == [0, 2]


def test_teachers_of_the_second_half_are_imitated_from_the_middle_of_the_steps_on(params, teacher):
    """Whatever the chunks; the same teachers later are no change, and other ones neither these nor those alone."""
    rows, other = Rows(*(leaf[:12] for leaf in ROWS)), jax.tree.map(np.negative, teacher)

    def learn(first: Params, later: Params | None, chunk: int = 2) -> Params:
        return fine_tune_together(
            CONFIG, SOME, params, [Lesson(rows, "chosen", first, CHOSEN, later=later)], chunk=chunk
        )

    alone, changed = [learn(each, None) for each in (teacher, other)], learn(teacher, other)
    assert distance(learn(teacher, teacher), alone[0]) == 0
    assert distance(learn(teacher, other, chunk=50), changed) < adam_rounding(SOME)
    assert min(distance(changed, each) for each in alone) > 1e-3
    with pytest.raises(ValueError, match="only `fine_tune_together`"):
        fine_tune(CONFIG, SOME, params, Lesson(rows, "chosen", teacher, CHOSEN, later=other))


DESCENT = replace(SOME, optimizer="sgd", learning_rate=0.5, warmup=0, clip=1e6, num_epochs=1, num_steps=1, layers=())


@pytest.mark.parametrize("aligned", [True, False])
def test_what_is_taken_out_of_a_step_is_what_numpy_takes(params, aligned):
    """Of descent gradients and steps lose the same, of answers that are learned with the rows, and none of others."""
    adapters, (rows, *others) = random_adapters(DESCENT, params), (draw_rows(seed) for seed in range(30))
    rows, *others = (Rows(*(leaf[:4] for leaf in each)) for each in (rows, *others))
    flatten = jax.jit(lambda rows: ravel_pytree(mean_gradient(CONFIG, DESCENT, params, adapters, Lesson(rows))[1])[0])
    gradient = np.asarray(flatten(rows))
    answers = next(each for each in others if (gradient @ np.asarray(flatten(each)) > 0) == aligned)
    slope, (start, unravel) = np.asarray(flatten(answers)), ravel_pytree(adapters)
    zeros, ones, drawn = (unravel(jnp.asarray(signs)) for signs in (0 * slope, 0 * slope + 1, np.sign(np.sin(slope))))
    memory = make_optimizer(DESCENT, 1).init(adapters)

    def step(*signs: Params) -> np.ndarray:
        training, batches = Training(jnp.array(0), adapters, memory), jax.tree.map(lambda leaf: leaf[None], rows)
        learn = partial(run_steps, CONFIG, DESCENT, "tokens", (), 1, params, None, training, batches, 1)
        trained = learn(removal=Removal(answers, *signs))[0].trained
        return np.asarray(start - ravel_pytree(trained)[0]) / DESCENT.learning_rate

    share = max(0.0, gradient @ slope) / (slope @ slope)
    for signs in (ones, drawn):
        expected = gradient - share * np.asarray(ravel_pytree(signs)[0]) * slope
        for sides in ((signs, zeros), (zeros, signs)):
            np.testing.assert_allclose(step(*sides), expected, rtol=0, atol=1e5 * EPS)
    np.testing.assert_allclose(step(zeros, zeros), gradient, rtol=0, atol=1e5 * EPS)
    assert (np.max(np.abs(share * slope)) > 1e-3) == aligned


def test_runs_of_all_lengths_share_one_program(params):
    """However many rows there are, and wherever in a chunk they end; chunks of another length are another program."""
    program: Any = run_steps
    before = program._cache_size()
    for count in (12, 20, 36):
        fine_tune(CONFIG, SOME, params, Lesson(Rows(*(leaf[:count] for leaf in ROWS))), chunk=7)
    assert program._cache_size() == before + 1
    fine_tune(CONFIG, SOME, params, Lesson(ROWS), chunk=8)
    assert program._cache_size() == before + 2


@given(num_rows=st.integers(1, 70), batch=st.integers(1, 30), num_epochs=st.integers(1, 4), seed=seeds)
def test_every_epoch_sees_every_row_once_and_begins_anew_only_to_fill_its_last_batch(num_rows, batch, num_epochs, seed):
    recipe = Recipe(num_epochs=num_epochs, batch=batch, rows_at_once=1)
    order = batch_order(num_rows, recipe, seed)
    assert order.shape == (num_epochs * -(-num_rows // batch), batch)
    for epoch in order.reshape(num_epochs, -1):
        assert sorted(epoch[:num_rows]) == list(range(num_rows))
        np.testing.assert_array_equal(epoch[num_rows:], np.resize(epoch[:num_rows], len(epoch) - num_rows))


def test_epochs_and_seeds_have_orders_of_their_own():
    recipe = Recipe(num_epochs=3, batch=10, rows_at_once=1)
    epochs = [epoch for seed in (0, 1) for epoch in batch_order(30, recipe, seed).reshape(3, 30).tolist()]
    assert len({tuple(epoch) for epoch in epochs}) == 6
    np.testing.assert_array_equal(batch_order(30, recipe, 0).reshape(3, 30), epochs[:3])


def rates(recipe: Recipe, num_steps: int) -> np.ndarray:
    """What Adam moves a single weight by, step by step, as long as its gradient stays 1: the rate to 1e-8 of itself."""
    optimizer, weight = make_optimizer(recipe, num_steps), jnp.array(0.0)

    def step(memory: Any, _: None) -> tuple[Any, Any]:
        update, memory = optimizer.update(jnp.array(1.0), memory, weight)
        return memory, update

    return -np.asarray(jax.lax.scan(step, optimizer.init(weight), length=num_steps)[1])


@pytest.mark.parametrize("warmup", [0, 4])
def test_the_rate_rises_for_the_warm_up_and_falls_linearly_to_zero(warmup):
    recipe, steps = Recipe(learning_rate=0.1, warmup=warmup), np.arange(12)
    rise, fall = steps / max(warmup, 1), 1 - (steps - warmup) / (12 - warmup)
    expected = 0.1 * np.where(steps < warmup, rise, fall)
    np.testing.assert_allclose(rates(recipe, 12), expected, rtol=1e-6, atol=1e-12)
    assert rates(recipe, 13)[12] == pytest.approx(0.1 / (13 - warmup), rel=1e-6)


@given(length=st.floats(1.5, 1e6))
def test_a_gradient_longer_than_the_clip_counts_as_one_of_that_length(length):
    """Adam knows no length at first, but compares the second gradient with the first."""
    assert_close(second_update(length), second_update(1.5))
    assert distance(second_update(1.4), second_update(1.5)) > 1e-7


@jax.jit
def second_update(length: float) -> Any:
    optimizer, weights = make_optimizer(Recipe(warmup=0, clip=1.5), 9), jnp.zeros(2)
    direction = jnp.array([0.6, 0.8])
    _, memory = optimizer.update(0.1 * direction, optimizer.init(weights), weights)
    return optimizer.update(length * direction, memory, weights)[0]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_without_a_gradient_shrink_by_the_rate_times_the_decay_which_is_none_by_default(weight_decay):
    """Rates are computed in float32."""
    recipe, weights = Recipe(warmup=0, weight_decay=weight_decay), np.array([3.0, -2.0])
    optimizer = make_optimizer(recipe, 5)
    update: Any = jax.jit(lambda: optimizer.update(jnp.zeros(2), optimizer.init(weights), weights)[0])()
    expected = -recipe.learning_rate * weight_decay * weights
    np.testing.assert_allclose(update, expected, rtol=float(np.finfo(np.float32).eps), atol=0)
    assert Recipe().weight_decay == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("learning_rate", "clip", "alpha") for value in (0.0, -1.0, np.inf, np.nan)),
        *((name, 0) for name in ("num_epochs", "batch", "rows_at_once", "rank")),
        *(("batch", 11), ("warmup", -1), ("weight_decay", -0.1), ("weight_decay", np.nan), ("weight_decay", np.inf)),
        *(("projections", ()), ("projections", ("query", "querry"))),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        Recipe(**{field: value})
