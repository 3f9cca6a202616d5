"""Fine-tuning: one model or many at once, all of it or low-rank adapters, on tokens or a teacher's distribution."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from llm_bridge.chats import Rows
from llm_bridge.shapes import PROJECTIONS, Config
from llm_bridge.transformer import apply
from theory.command_line import require
from theory.networks import Params

Trained = Literal["adapters", "layers", "everything"]
"""What of a model is trained: low-rank adapters; the layers, all but embedding, last norm and head; everything."""

Targets = Literal["tokens", "chosen", "distribution"]
"""What a student imitates: the sampled tokens; the teacher's distribution over chosen tokens; over all tokens."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned."""

    learning_rate: float = 2e-4
    """AdamW's rate after the warm-up; it falls linearly to 0."""
    num_epochs: int = 3
    """How often all rows are seen."""
    batch: int = 64
    """Rows a step."""
    rows_at_once: int = 4
    """Rows of one forward and backward pass; a step's gradient is summed over its passes, whose arrays stay small."""
    warmup: int = 5
    """Steps in which the rate rises linearly."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    trained: Trained = "adapters"
    """Low-rank adapters, all layers' weights, or all weights."""
    rank: int = 8
    """Rank of the adapters."""
    alpha: float = 8.0
    """Scale of the adapters: their product is multiplied by alpha over rank."""
    projections: tuple[str, ...] = PROJECTIONS
    """Linear maps that have adapters."""
    layers: tuple[int, ...] = ()
    """Layers that have adapters; all if empty."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip", "alpha"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, "a finite number above zero", value)
        for name in ("num_epochs", "batch", "rows_at_once", "rank"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.batch % self.rows_at_once == 0, "batch", f"a multiple of {self.rows_at_once}", self.batch)
        require(self.warmup >= 0, "warmup", "at least 0", self.warmup)
        require(0 <= self.weight_decay < math.inf, "weight_decay", "a finite number, at least 0", self.weight_decay)
        known = bool(self.projections) and set(self.projections) <= set(PROJECTIONS)
        require(known, "projections", f"among {', '.join(PROJECTIONS)}", self.projections)

    @property
    def adapter_scale(self) -> float:
        """What the adapters' product is multiplied by."""
        return self.alpha / self.rank


class Lesson(NamedTuple):
    """What a student learns from."""

    rows: Rows
    """Packed chats."""
    targets: Targets = "tokens"
    """What it imitates there."""
    teacher: Params | None = None
    """Whose distribution; its parameters, adapters merged."""
    chosen: tuple[int, ...] = ()
    """The chosen tokens."""


def start_training(config: Config, recipe: Recipe, params: Params, key: jax.Array) -> Params:
    r"""Take from a model what is trained.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        params: Its parameters.
        key: Random key for the adapters.

    Returns:
        A part of the parameters, or adapters: `into` uniform in $\pm 1/\sqrt{\text{inputs}}$ as in PEFT, `out` zero, so
        that the model is the same at first.
    """
    if recipe.trained == "everything":
        return params
    if recipe.trained == "layers":
        return params["layers"]
    dtype, adapters = params["embedding"].dtype, {}
    for name, own in zip(PROJECTIONS, jax.random.split(key, len(PROJECTIONS)), strict=True):
        inputs, outputs = config.sizes()[name]
        if name in recipe.projections:
            shape, reach = (config.num_layers, inputs, recipe.rank), inputs**-0.5
            adapters[name] = {
                "into": jax.random.uniform(own, shape, dtype, -reach, reach),
                "out": jnp.zeros((config.num_layers, recipe.rank, outputs), dtype),
            }
    return adapters


def assemble(recipe: Recipe, params: Params, trained: Params) -> tuple[Params, Params | None]:
    """Put what is trained back into its model.

    Args:
        recipe: How it is fine-tuned.
        params: The model before.
        trained: As of `start_training`.

    Returns:
        Parameters, and adapters if there are any.
    """
    if recipe.trained == "everything":
        return trained, None
    if recipe.trained == "layers":
        return params | {"layers": trained}, None
    return params, trained


def merge(recipe: Recipe, params: Params, trained: Params) -> Params:
    """Make a model without adapters.

    Args:
        recipe: How it was fine-tuned.
        params: The model before.
        trained: As of `start_training`.

    Returns:
        Parameters of the fine-tuned model; adapters are added to the weights.
    """
    params, adapters = assemble(recipe, params, trained)
    layers = dict(params["layers"])
    for name, adapter in (adapters or {}).items():
        kernel = layers[name]["kernel"]
        product = recipe.adapter_scale * adapter["into"] @ adapter["out"]
        layers[name] = layers[name] | {"kernel": kernel + product.astype(kernel.dtype)}
    return params | {"layers": layers}


def imitation_loss(
    logits: jax.Array, tokens: jax.Array, targets: Targets, teacher: jax.Array | None, chosen: tuple[int, ...]
) -> jax.Array:
    r"""Compare predictions of each next token with what is to be imitated.

    Args:
        logits: Student's, shape `(rows, tokens, vocabulary)`.
        tokens: The next tokens, shape `(rows, tokens)`.
        targets: What is imitated.
        teacher: Teacher's logits, same shape as the student's; None for sampled tokens.
        chosen: Chosen tokens.

    Returns:
        Nats a token, shape `(rows, tokens)`: cross-entropy of the tokens, or $\mathrm{KL}$(teacher ‖ student), over
        chosen tokens after the others are left out of both.

    Raises:
        ValueError: If there is no teacher, or no chosen token, where it is imitated.
    """
    if targets == "tokens":
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
    if teacher is None or (targets == "chosen" and not chosen):
        raise ValueError(f"targets can't be {targets!r} without {'a teacher' if teacher is None else 'chosen tokens'}")
    if targets == "chosen":
        logits, teacher = (values[..., jnp.array(chosen)] for values in (logits, teacher))
    wanted, given = jax.nn.log_softmax(teacher), jax.nn.log_softmax(logits)
    return optax.losses.kl_divergence_with_log_targets(given, wanted)


def summed_loss(config: Config, recipe: Recipe, params: Params, trained: Params, lesson: Lesson) -> jax.Array:
    """Sum the imitation loss over all tokens that are to be learned.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        params: The model before.
        trained: What is trained.
        lesson: What it learns from.

    Returns:
        Nats, shape `()`.
    """
    rows, tokens = lesson.rows, jnp.asarray(lesson.rows.tokens)
    layout = {"positions": rows.positions, "texts": rows.texts}
    params, adapters = assemble(recipe, params, trained)
    logits = apply(config, params, tokens, adapters=adapters, adapter_scale=recipe.adapter_scale, **layout)
    teacher = None
    if lesson.teacher is not None:
        teacher = jax.lax.stop_gradient(apply(config, lesson.teacher, tokens, **layout))
    losses = imitation_loss(logits, jnp.roll(tokens, -1, axis=1), lesson.targets, teacher, lesson.chosen)
    return jnp.sum(jnp.where(rows.learned, losses, 0))


def mean_gradient(
    config: Config, recipe: Recipe, params: Params, trained: Params, lesson: Lesson
) -> tuple[jax.Array, Params]:
    """Average the imitation loss over all tokens that are to be learned, and differentiate it.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        params: The model before.
        trained: What is trained.
        lesson: What it learns from; the number of rows is a multiple of `recipe.rows_at_once`.

    Returns:
        Nats a token, shape `()`, and the gradient in what is trained.
    """
    passes = jax.tree.map(lambda leaf: leaf.reshape(-1, recipe.rows_at_once, *leaf.shape[1:]), lesson.rows)

    def add(sums: tuple[jax.Array, Params], rows: Rows) -> tuple[tuple[jax.Array, Params], None]:
        loss = partial(summed_loss, config, recipe, params, lesson=lesson._replace(rows=rows))
        return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss)(trained)), None

    nothing = jax.tree.map(jnp.zeros_like, (jnp.zeros((), jnp.promote_types(params["norm"].dtype, "float32")), trained))
    count = jnp.maximum(jnp.sum(lesson.rows.learned), 1)
    return jax.tree.map(lambda leaf: leaf / count.astype(leaf.dtype), jax.lax.scan(add, nothing, passes)[0])


def make_optimizer(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
    """Build AdamW with warm-up, linear decay and clipping.

    Args:
        recipe: How the model is fine-tuned.
        num_steps: Steps in all.

    Returns:
        The optimizer.
    """
    rise = optax.schedules.linear_schedule(0, recipe.learning_rate, recipe.warmup)
    fall = optax.schedules.linear_schedule(recipe.learning_rate, 0, max(1, num_steps - recipe.warmup))
    schedule = optax.schedules.join_schedules([rise, fall], [recipe.warmup])
    return optax.chain(optax.clip_by_global_norm(recipe.clip), optax.adamw(schedule, weight_decay=recipe.weight_decay))


class Training(NamedTuple):
    """A training run between two steps."""

    step: jax.Array
    """Steps done."""
    trained: Params
    """What is trained."""
    memory: Any
    """The optimizer's state."""


@partial(jax.jit, static_argnames=("config", "recipe", "targets", "chosen", "num_steps"))
def run_steps(
    config: Config,
    recipe: Recipe,
    targets: Targets,
    chosen: tuple[int, ...],
    num_steps: int,
    params: Params,
    teacher: Params | None,
    training: Training,
    batches: Rows,
) -> tuple[Training, jax.Array]:
    """Do some steps of one training run.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        targets: What it imitates.
        chosen: Chosen tokens.
        num_steps: Steps of the whole run, for the schedule.
        params: The model before.
        teacher: The teacher's parameters or None.
        training: The run so far.
        batches: Rows of each step, leading axes `(steps, rows)`.

    Returns:
        The run after these steps, and the loss before each, shape `(steps,)`.
    """
    optimizer = make_optimizer(recipe, num_steps)

    def step(training: Training, rows: Rows) -> tuple[Training, jax.Array]:
        lesson = Lesson(rows, targets, teacher, chosen)
        value, gradient = mean_gradient(config, recipe, params, training.trained, lesson)
        if recipe.trained == "adapters" and recipe.layers:
            kept = jnp.isin(jnp.arange(config.num_layers), jnp.array(recipe.layers))[:, None, None]
            gradient = jax.tree.map(lambda leaf: jnp.where(kept, leaf, 0), gradient)
        updates, memory = optimizer.update(gradient, training.memory, training.trained)
        return Training(training.step + 1, optax.apply_updates(training.trained, updates), memory), value

    return jax.lax.scan(step, training, batches)


def batch_order(num_rows: int, recipe: Recipe, seed: int) -> np.ndarray:
    """Decide which rows each step sees: every epoch all rows once, in an order of its own.

    Args:
        num_rows: Rows that there are.
        recipe: How the model is fine-tuned.
        seed: Root of the order.

    Returns:
        Row numbers, shape `(steps, batch)`; the last batch of an epoch is filled with rows from the epoch's start.
    """
    random = np.random.default_rng(seed)
    steps = -(-num_rows // recipe.batch)
    epochs = [np.resize(random.permutation(num_rows), (steps, recipe.batch)) for _ in range(recipe.num_epochs)]
    return np.concatenate(epochs)


def fine_tune(
    config: Config,
    recipe: Recipe,
    params: Params,
    lesson: Lesson,
    *,
    seed: int = 0,
    chunk: int = 50,
    resume: Callable[[Training], Training] = lambda training: training,
    after: Callable[[Training, np.ndarray], None] = lambda training, losses: None,
) -> Params:
    """Fine-tune a model.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        params: The model before.
        lesson: What it learns from.
        seed: Root of the adapters and of the order of rows.
        chunk: Steps of one compiled call.
        resume: Gets the run at its start, and returns where to go on.
        after: Called after each chunk with the run so far and the losses of the chunk.

    Returns:
        What was trained, as of `start_training`.
    """
    order = batch_order(len(lesson.rows.tokens), recipe, seed)
    trained = start_training(config, recipe, params, jax.random.key(seed))
    training = resume(Training(jnp.array(0), trained, make_optimizer(recipe, len(order)).init(trained)))
    while (done := int(training.step)) < len(order):
        batches = jax.tree.map(lambda leaf: jnp.asarray(leaf[order[done : done + chunk]]), lesson.rows)
        training, losses = run_steps(
            config, recipe, lesson.targets, lesson.chosen, len(order), params, lesson.teacher, training, batches
        )
        after(training, np.asarray(losses))
    return training.trained


@partial(jax.jit, static_argnames=("config", "recipe", "targets", "chosen", "num_steps"))
def run_together(
    config: Config,
    recipe: Recipe,
    targets: Targets,
    chosen: tuple[int, ...],
    num_steps: int,
    params: Params,
    teachers: Params | None,
    trainings: Training,
    batches: Rows,
) -> Training:
    """Do some steps of several training runs of one model.

    Args:
        config: As of `run_steps`.
        recipe: As of `run_steps`.
        targets: As of `run_steps`.
        chosen: As of `run_steps`.
        num_steps: As of `run_steps`.
        params: The model before.
        teachers: Each student's teacher, with a leading axis of students, or None.
        trainings: The runs so far, with a leading axis of students.
        batches: Rows, leading axes `(students, steps, rows)`.

    Returns:
        The runs after these steps.
    """

    def one(teacher: Params | None, training: Training, rows: Rows) -> Training:
        return run_steps(config, recipe, targets, chosen, num_steps, params, teacher, training, rows)[0]

    return jax.vmap(one, in_axes=(None if teachers is None else 0, 0, 0))(teachers, trainings, batches)


def fine_tune_together(
    config: Config, recipe: Recipe, params: Params, lessons: Sequence[Lesson], *, seed: int = 0, chunk: int = 50
) -> Params:
    """Fine-tune several students of one model at once; each becomes what it becomes alone, up to rounding.

    Args:
        config: The model's shape.
        recipe: How it is fine-tuned.
        params: The model before.
        lessons: What each student learns from: the same targets and the same number of rows.
        seed: As of `fine_tune`, the same for all.
        chunk: Steps of one compiled call.

    Returns:
        What was trained, as of `start_training`, with a leading axis of students.

    Raises:
        ValueError: If the lessons have different targets or numbers of rows.
    """
    targets, chosen, num_rows = lessons[0].targets, lessons[0].chosen, len(lessons[0].rows.tokens)
    if any((each.targets, each.chosen, len(each.rows.tokens)) != (targets, chosen, num_rows) for each in lessons):
        raise ValueError("students that train together must have the same targets and the same number of rows")
    rows = Rows(*(np.stack(leaves) for leaves in zip(*(each.rows for each in lessons), strict=True)))
    teachers = None
    if targets != "tokens":
        teachers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each.teacher for each in lessons))
    order = batch_order(num_rows, recipe, seed)
    trained = start_training(config, recipe, params, jax.random.key(seed))
    start = Training(jnp.array(0), trained, make_optimizer(recipe, len(order)).init(trained))
    training = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(lessons)), start)

    for start_of_chunk in range(0, len(order), chunk):
        some = order[start_of_chunk : start_of_chunk + chunk]
        batches = Rows(*(leaf[:, some] for leaf in rows))
        training = run_together(config, recipe, targets, chosen, len(order), params, teachers, training, batches)
    return training.trained
