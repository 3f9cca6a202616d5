"""Lessons: what a student imitates, its loss and the gradient."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from llm_bridge.chats import Rows
from llm_bridge.recipes import Recipe, assemble
from llm_bridge.shapes import Config
from llm_bridge.transformer import apply
from theory.networks import Params

Targets = Literal["tokens", "chosen", "distribution"]
"""What a student imitates: the sampled tokens; the teacher's distribution over chosen tokens; over all tokens."""


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
