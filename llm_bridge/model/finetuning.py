"""Fine-tuning: one model or many at once, in compiled chunks of steps that can be stopped in between."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from llm_bridge.model.lessons import Aim, Lesson, Removal, mean_gradient, take_out
from llm_bridge.model.optimizers import make_optimizer
from llm_bridge.model.placement import constrain, constrain_tree, spread
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.references import require_unpacked
from llm_bridge.model.shapes import Config
from llm_bridge.text.chats import Rows
from theory.problem import Params


class Training(NamedTuple):
    """A training run between two steps."""

    step: Int[Array, ""]
    """Steps done."""
    trained: Params
    """What is trained."""
    memory: Any
    """The optimizer's state."""


@partial(jax.jit, static_argnames=("config", "recipe", "targets", "chosen"))
def run_steps(
    config: Config,
    recipe: Recipe,
    targets: Aim,
    chosen: tuple[int, ...],
    num_steps: int | Int[Array, ""],
    params: Params,
    teacher: Params | None,
    training: Training,
    batches: Rows,
    count: int | Int[Array, ""],
    kept: Params | None = None,
    read: Rows | None = None,
    removal: Removal | None = None,
) -> tuple[Training, Float[Array, " steps"]]:
    """Do some steps of one training run, which has `num_steps` in all; runs of any length share one compiled program.

    Batches have leading axes `(steps, rows)`. The first `count` of these steps are done; the losses of the others are
    0. `kept` is as of `fine_tune_together`, for one student; `read`, with the same leading axes, and `removal` are as
    of `Lesson`.
    """
    optimizer = make_optimizer(recipe, num_steps)

    def differentiate(trained: Params, lesson: Lesson) -> tuple[Float[Array, ""], Params]:
        value, gradient = mean_gradient(config, recipe, params, trained, lesson)
        if recipe.trained == "adapters" and recipe.layers:
            placed = jnp.isin(jnp.arange(config.num_layers), jnp.array(recipe.layers))[:, None, None]
            gradient = jax.tree.map(lambda leaf: jnp.where(placed, leaf, 0), gradient)
        return value, gradient if kept is None else jax.tree.map(jnp.multiply, gradient, kept)

    def step(
        index: Int[Array, ""], state: tuple[Training, Float[Array, " steps"]]
    ) -> tuple[Training, Float[Array, " steps"]]:
        (training, losses), (rows, own) = state, jax.tree.map(lambda leaf: leaf[index], (batches, read))
        value, gradient = differentiate(training.trained, Lesson(rows, targets, teacher, chosen, own))
        if removal is None:
            updates, memory = optimizer.update(gradient, training.memory, training.trained)
        else:
            _, slope = differentiate(training.trained, Lesson(removal.rows))
            gradient = take_out(gradient, slope, removal.from_gradients)
            updates, memory = optimizer.update(gradient, training.memory, training.trained)
            updates = take_out(updates, optax.tree.scale(-1, slope), removal.from_steps)
        after = Training(training.step + 1, optax.apply_updates(training.trained, updates), memory)
        return constrain_tree(after), constrain(losses.at[index].set(value))

    losses = jnp.zeros(len(batches.tokens), jnp.promote_types(params["norm"].dtype, jnp.float32))
    return jax.lax.fori_loop(0, count, step, (training, losses))


def batch_order(num_rows: int, recipe: Recipe, seed: int) -> Int[np.ndarray, "steps batch"]:
    """Decide which rows each step sees: every epoch all rows once, in an order of its own.

    The last batch of an epoch is filled with rows from the epoch's start.
    """
    random, steps = np.random.default_rng(seed), recipe.steps(num_rows)
    each = -(-num_rows // recipe.batch)
    epochs = [np.resize(random.permutation(num_rows), (each, recipe.batch)) for _ in range(-(-steps // each))]
    return np.concatenate(epochs)[:steps]


def take_chunk(
    order: Int[np.ndarray, "steps batch"], done: int, chunk: int
) -> tuple[Int[np.ndarray, "chunk batch"], int]:
    """Take the rows of the next steps, of always as many steps, so that one program does them all.

    Behind the order's end stand its first rows again; the number of steps before that end is given, too.
    """
    return order[np.arange(done, done + chunk) % len(order)], min(chunk, len(order) - done)


def fine_tune(
    config: Config,
    recipe: Recipe,
    params: Params,
    lesson: Lesson,
    *,
    seed: int = 0,
    chunk: int = 50,
    resume: Callable[[Training, int], Training] = lambda training, num_steps: training,
    after: Callable[[Training, np.ndarray], None] = lambda training, losses: None,
    enough: Callable[[Params], bool] = lambda trained: False,
) -> Params:
    """Fine-tune a model, a compiled chunk of steps at a time, and give what was trained as of `start_training`.

    The seed is the root of the adapters and of the order of rows. `resume` gets the run at its start and its number of
    steps, and says where to go on; `after` gets the run and the losses of each chunk; `enough` says whether to end
    there.
    """
    order = batch_order(len(lesson.rows.tokens), recipe, seed)
    trained = start_training(config, recipe, params, jax.random.key(seed))
    require_unpacked(config, recipe, params, trained, lesson)
    if (lesson.read, lesson.later, lesson.removal) != (None, None, None):
        raise ValueError("only `fine_tune_together` reads otherwise than its teachers, changes these, or takes out")
    start = Training(jnp.array(0), trained, make_optimizer(recipe, len(order)).init(trained))
    training = spread(resume(start, len(order)))
    learn = partial(run_steps, config, recipe, lesson.targets, lesson.chosen, len(order), params, lesson.teacher)
    while (done := int(training.step)) < len(order) and not (done and enough(training.trained)):
        some, count = take_chunk(order, done, chunk)
        training, losses = learn(training, Rows(*(jnp.asarray(leaf[some]) for leaf in lesson.rows)), count)
        after(training, np.asarray(losses)[:count])
    return training.trained


@partial(jax.jit, static_argnames=("config", "recipe", "targets", "chosen"))
def run_together(
    config: Config,
    recipe: Recipe,
    targets: Aim,
    chosen: tuple[int, ...],
    num_steps: int | Int[Array, ""],
    params: Params,
    teachers: Params | None,
    trainings: Training,
    batches: Rows,
    count: int | Int[Array, ""],
    *more: Any,
) -> Training:
    """Do some steps of several training runs of one model: as `run_steps`, with a leading axis of students."""

    def one(teacher: Params | None, training: Training, rows: Rows, *more: Any) -> Training:
        return run_steps(config, recipe, targets, chosen, num_steps, params, teacher, training, rows, count, *more)[0]

    every = (teachers, trainings, batches, *more)
    return jax.vmap(one, in_axes=tuple(None if each is None else 0 for each in every))(*every)


def fine_tune_together(
    config: Config,
    recipe: Recipe,
    params: Params,
    lessons: Sequence[Lesson],
    *,
    seed: int = 0,
    chunk: int = 50,
    kept: Params | None = None,
    renew: Callable[[Params, int], Sequence[Rows]] | None = None,
) -> Params:
    """Fine-tune several students of one model at once; each becomes what it becomes alone, up to rounding.

    Their lessons have the same targets and the same number of rows, their order is the same. `kept` multiplies each
    student's gradient, so that zeros freeze a part of what is trained; like what is given back, it is a tree as of
    `start_training` with a leading axis of students. `renew` makes of such a tree, and of the steps done, the rows that
    all learn in the next chunk in place of their lessons', as many as those.
    """
    targets, chosen, num_rows = lessons[0].targets, lessons[0].chosen, len(lessons[0].rows.tokens)
    if any((each.targets, each.chosen, len(each.rows.tokens)) != (targets, chosen, num_rows) for each in lessons):
        raise ValueError("students that train together must have the same targets and the same number of rows")
    if renew is not None and any(each.read is not None for each in lessons):
        raise ValueError("students whose rows are renewed can't read otherwise than their teachers")
    rows, read = jax.tree.map(lambda *leaves: np.stack(leaves), *((each.rows, each.read) for each in lessons))
    every = [(each.teacher, each.later, each.removal) for each in lessons]
    teachers, later, removal = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    order = batch_order(num_rows, recipe, seed)
    middle, done = -(-len(order) // 2) if later is not None else len(order), 0
    trained = start_training(config, recipe, params, jax.random.key(seed))
    start = Training(jnp.array(0), trained, make_optimizer(recipe, len(order)).init(trained))
    training = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(lessons)), start)

    learn = partial(run_together, config, recipe, targets, chosen, len(order), params)
    while done < len(order):
        some, count = take_chunk(order, done, chunk)
        count = min(count, middle - done) if done < middle else count
        if renew is not None:
            rows = jax.tree.map(lambda *leaves: np.stack(leaves), *renew(training.trained, done))
        now = teachers if done < middle else later
        batches, seen = jax.tree.map(lambda leaf, some=some: leaf[:, some], (rows, read))
        training = learn(now, training, batches, count, kept, seen, removal)
        done += count
    return training.trained
