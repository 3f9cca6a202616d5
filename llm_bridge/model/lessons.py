"""Lessons: what a student imitates, its loss and the gradient."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Shaped

from llm_bridge.model.recipes import Recipe, assemble
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from llm_bridge.text.chats import Rows
from theory.problem import Params, inner_product

Targets = Literal["tokens", "chosen", "distribution", "reverse"]
"""What a student imitates: the sampled tokens; the teacher's distribution over chosen tokens; over all tokens; over
chosen tokens by the reverse divergence."""

Aim = Targets | Literal["preferences"]
"""What a student learns: to imitate, or to prefer one completion to another."""

BETA = 0.1
"""How strongly DPO holds a student to what it was: the usual value."""


PLACES_AT_ONCE = 256
"""Places whose logits exist at once, where there are more: in a vocabulary of 150,000 they take 0.15 GB in float32."""


class Removal(NamedTuple):
    r"""What is taken out of every step: its component along the gradient of a trait's loss, where both lower that loss.

    With $h$ that gradient at the student and signs $s$, a gradient $g$ becomes
    $g - \max(0, g \cdot h) \, s h / \|h\|^2$, and the same of $-u$ for what the optimizer makes of it, a step $u$.

    References:
        Kitkana and Arora (2026), arXiv 2604.25779, of gradients.
    """

    rows: Rows
    """Chats whose learned tokens show the trait; as many as a multiple of a recipe's rows at once."""
    from_gradients: Params
    """Signs, like what is trained: ones; as a control random ones, so that as much is taken off along another
    direction; or zeros, so that nothing is."""
    from_steps: Params
    """The same for what the optimizer makes of gradients."""


class Lesson(NamedTuple):
    """What a student learns from."""

    rows: Rows
    """Packed chats."""
    targets: Aim = "tokens"
    """What it learns there."""
    teacher: Params | tuple[Params, ...] | None = None
    """Whose distribution; its parameters, adapters merged. Of several teachers it is the mean of theirs."""
    chosen: tuple[int, ...] = ()
    """The chosen tokens."""
    read: Rows | None = None
    """What teachers read, if not `rows`; what is learned stands at the same places of both."""
    later: Params | tuple[Params, ...] | None = None
    """Teachers from the middle of the steps on, if others than before; as many."""
    removal: Removal | None = None
    """What is taken out of every step, if anything."""


def take_out(vector: Params, slope: Params, signs: Params) -> Params:
    """Take out of a vector its component along another, unless that is negative, along the signed other."""
    size = inner_product(slope, slope)
    share = jnp.maximum(inner_product(vector, slope), 0) / jnp.where(size > 0, size, 1)
    return jax.tree.map(lambda own, other, sign: own - share * sign * other, vector, slope, signs)


def imitation_loss(
    logits: Float[Array, "*batch vocabulary"],
    tokens: Int[Array, "*batch"],
    targets: Targets,
    teacher: Float[Array, "*batch vocabulary"] | None,
    chosen: tuple[int, ...],
) -> Float[Array, "*batch"]:
    r"""Compare predictions of each next token with what is to be imitated, in nats a token.

    It is the cross-entropy of the tokens, or $\mathrm{KL}$(teacher ‖ student), over chosen tokens after the others are
    left out of both; or there $\mathrm{KL}$(student ‖ teacher), whose minimum and curvature at the teacher are the
    same, and so all that is of first order in how far the teacher is.
    """
    if targets == "tokens":
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
    if teacher is None or (targets != "distribution" and not chosen):
        raise ValueError(f"targets can't be {targets!r} without {'a teacher' if teacher is None else 'chosen tokens'}")
    if targets != "distribution":
        logits, teacher = (values[..., jnp.array(chosen)] for values in (logits, teacher))
    wanted, given = jax.nn.log_softmax(teacher), jax.nn.log_softmax(logits)
    pair = (wanted, given) if targets == "reverse" else (given, wanted)
    return optax.losses.kl_divergence_with_log_targets(*pair)


def mix(logits: Sequence[Float[Array, "*batch vocabulary"]]) -> Float[Array, "*batch vocabulary"] | None:
    """Take the mean of several teachers' distributions, as logits; one teacher's as they are; of none None."""
    if len(logits) < 2:
        return next(iter(logits), None)
    return jax.nn.logsumexp(jnp.stack([jax.nn.log_softmax(each) for each in logits]), axis=0)


def sum_learned(
    loss: Callable[..., Float[Array, "*shape"]],
    learned: Bool[Array, "rows tokens"],
    *arrays: Shaped[Array, "rows tokens ..."],
) -> Float[Array, "*shape"]:
    """Sum a loss of any shape over the places that are to be learned, some of them at a time, the others left out.

    Every row's learned places come first, in order; each chunk of them is computed once more in a derivative. The loss
    takes which of a chunk's places are learned, and what the arrays have there, to its sum over those places.
    """
    num_rows, num_tokens = learned.shape
    width = max(1, PLACES_AT_ONCE // num_rows)
    if width >= num_tokens:
        return loss(learned, *arrays)
    missing = -num_tokens % width
    order = jnp.argsort(jnp.pad(~learned, ((0, 0), (0, missing)), constant_values=True), axis=1, stable=True)

    def cut(array: jax.Array) -> jax.Array:
        others = range(2, array.ndim)
        array = jnp.pad(array, ((0, 0), (0, missing), *((0, 0) for _ in others)))
        array = jnp.take_along_axis(array, jnp.expand_dims(order, others), axis=1)
        return array.reshape(num_rows, -1, width, *array.shape[2:]).swapaxes(0, 1)

    def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + jax.lax.cond(jnp.any(chunk[0]), loss, lambda *_: jnp.zeros_like(total), *chunk), None

    like, chunks = jax.eval_shape(loss, learned, *arrays), tuple(map(cut, (learned, *arrays)))
    return jax.lax.scan(jax.checkpoint(add, prevent_cse=False), jnp.zeros_like(like), chunks)[0]


def summed_loss(config: Config, recipe: Recipe, params: Params, trained: Params, lesson: Lesson) -> Float[Array, ""]:
    """Sum the imitation loss, in nats, over all tokens that are to be learned."""
    rows, tokens = lesson.rows, jnp.asarray(lesson.rows.tokens)
    layout: dict[str, Any] = {"positions": jnp.asarray(rows.positions), "texts": jnp.asarray(rows.texts)}
    before, (params, adapters) = params, assemble(recipe, params, trained)
    scale = recipe.adapter_scale
    stream, _ = run_layers(
        config, params, tokens, adapters=adapters, adapter_scale=scale, recompute=recipe.recompute, **layout
    )
    teachers = lesson.teacher if isinstance(lesson.teacher, tuple) else (lesson.teacher,)
    teachers = [before] if lesson.targets == "preferences" else [each for each in teachers if each is not None]
    read = rows if lesson.read is None else lesson.read
    seen: dict[str, Any] = {"positions": jnp.asarray(read.positions), "texts": jnp.asarray(read.texts)}
    taught = [run_layers(config, each, jnp.asarray(read.tokens), **seen)[0] for each in teachers]
    streams = [stream, *map(jax.lax.stop_gradient, taught)]
    learned, successors, targets = jnp.asarray(rows.learned), jnp.roll(tokens, -1, axis=1), lesson.targets
    if targets == "preferences":
        gains = partial(sum_gains, config, (params, before))
        margins = sum_learned(gains, learned, successors, layout["texts"], *streams)
        return preference_loss(margins, jnp.any(learned, axis=1))

    def loss(
        learned: Bool[Array, "rows places"],
        successors: Int[Array, "rows places"],
        stream: Float[Array, "rows places width"],
        *teacher_streams: Float[Array, "rows places width"],
    ) -> Float[Array, ""]:
        both = zip(teachers, teacher_streams, strict=True)
        taught = mix([jax.lax.stop_gradient(read_out(config, *each)) for each in both])
        logits = read_out(config, params, stream)
        losses = imitation_loss(logits, successors, targets, taught, lesson.chosen)
        return jnp.sum(jnp.where(learned, losses, 0))

    return sum_learned(loss, learned, successors, *streams)


def sum_gains(
    config: Config,
    models: tuple[Params, Params],
    learned: Bool[Array, "rows places"],
    successors: Int[Array, "rows places"],
    texts: Int[Array, "rows places"],
    *streams: Float[Array, "rows places width"],
) -> Float[Array, " rows"]:
    """Sum by how much a row's log-probabilities rise from the second model to the first: text 1's less the others'."""
    after, before = (
        optax.softmax_cross_entropy_with_integer_labels(read_out(config, *each), successors)
        for each in zip(models, streams, strict=True)
    )
    signs = jnp.where(texts == 1, 1, -1)
    return jnp.sum(jnp.where(learned, signs * (jax.lax.stop_gradient(before) - after), 0), axis=1)


def preference_loss(margins: Float[Array, " rows"], pairs: Bool[Array, " rows"]) -> Float[Array, ""]:
    r"""Sum the loss of DPO over pairs of completions, each a row in which text 1 is preferred to text 2.

    With $m$ the margin, by how much more the log-probability of the preferred one rose since the student's base, it is
    $-\log \sigma(\beta m)$. At the base $m = 0$, and with $s$ the gradient of a completion's log-probability

    $$-\nabla L = \frac{\beta}{2} \, \overline{s_\text{preferred} - s_\text{rejected}}.$$

    If the preferred one is that whose log-probability a teacher $\Delta$ away raised more, by $|D|$, then
    $(s_\text{preferred} - s_\text{rejected}) \cdot \Delta = |D| + O(\|\Delta\|^2)$, so that a step of $\eta$ has

    $$\Delta_S \cdot \Delta = \frac{\eta \beta}{2} \, \overline{|D|} + O(\|\Delta\|^2) > 0$$

    unless the teacher tells no completion from another. The loss is not of the theorem's class, since it has no minimum
    at the teacher's outputs: the alignment is of first order in $\Delta$, not of second as in imitation, and further
    steps go past the teacher.

    References:
        Rafailov et al. (2023), arXiv 2305.18290, equation 7; the alignment is derived here.
    """
    return jnp.sum(jnp.where(pairs, jax.nn.softplus(-BETA * margins), 0))


def mean_gradient(
    config: Config, recipe: Recipe, params: Params, trained: Params, lesson: Lesson
) -> tuple[Float[Array, ""], Params]:
    """Average the imitation loss over all tokens that are to be learned, in nats a token, and differentiate it.

    The number of rows is a multiple of `recipe.rows_at_once`.
    """
    both = lesson.rows, lesson.read
    passes = jax.tree.map(lambda leaf: leaf.reshape(-1, recipe.rows_at_once, *leaf.shape[1:]), both)

    def add(sums: tuple[jax.Array, Params], both: tuple[Rows, Rows | None]) -> tuple[tuple[jax.Array, Params], None]:
        loss = partial(summed_loss, config, recipe, params, lesson=lesson._replace(rows=both[0], read=both[1]))
        return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss)(trained)), None

    nothing = jax.tree.map(jnp.zeros_like, (jnp.zeros((), jnp.promote_types(params["norm"].dtype, "float32")), trained))
    count = jnp.maximum(jnp.sum(lesson.rows.learned), 1)
    return jax.tree.map(lambda leaf: leaf / count.astype(leaf.dtype), jax.lax.scan(add, nothing, passes)[0])
