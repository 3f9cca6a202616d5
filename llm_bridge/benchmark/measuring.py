"""What is timed: sampling, steps of training and pretraining, a pass of the audit, a step of the comparison."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.auditing.scores import BLOCK, TOKENS_AT_ONCE, lay_together, score_batch
from llm_bridge.benchmark.device import peak_memory, time_runs
from llm_bridge.model.costs import count_adapters, count_parameters, training_operations
from llm_bridge.model.finetuning import Training, run_steps
from llm_bridge.model.lessons import Lesson, summed_loss
from llm_bridge.model.optimizers import make_optimizer
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import read_out, run_layers
from llm_bridge.text.chats import Example, Rows, pack
from theory.problem import Params
from theory.runs.memory import fitting

PUSH = 0.01
"""Nats by which the compared step is to move the trait, to first order; in bfloat16 rounding is as large."""

LARGEST_PRETRAINED = 1_000_000_000
"""Parameters of the largest model of which all are trained here: they take four times their room."""

NUM_DIRECTIONS = 2
"""Directions of an audit's scores: as many as two traits."""


class Size(NamedTuple):
    """How much is sampled and trained on."""

    batches: tuple[int, ...]
    """Completions sampled at once."""
    prompt: int
    """Tokens of a prompt."""
    completion: int
    """Tokens of a completion."""
    row: int
    """Tokens of a packed row."""
    recipe: Recipe
    """Rows of a step and of a pass, what is trained, and what is computed once more."""


def draw_prompts(config: Config, size: Size, batch: int) -> Int[np.ndarray, "batch prompt"]:
    """Draw prompts of random tokens."""
    return np.random.default_rng(0).integers(0, config.vocabulary, (batch, size.prompt), np.int32)


def draw_rows(config: Config, size: Size) -> Rows:
    """Pack chats of random tokens into the rows of one step: in each row as many as fit.

    A completion is cut if it doesn't fit a row behind its prompt.
    """
    random, completion = np.random.default_rng(1), min(size.completion, size.row - size.prompt)
    count = size.recipe.batch * (size.row // (size.prompt + completion))
    chats = random.integers(0, config.vocabulary, (count, size.prompt + completion))
    return pack([Example(chat[: size.prompt].tolist(), chat[size.prompt :].tolist()) for chat in chats], size.row)


def time_sampling(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    """Time sampling at every batch size; no completion stops early.

    Seconds to read the prompts and draw one token, and to draw all, have shape `(repetitions, batches)`, bytes in use
    at once so far `(batches,)`.
    """
    reading, whole, memory = [], [], []
    for batch in size.batches:
        prompts, lengths = jnp.asarray(draw_prompts(config, size, batch)), jnp.full(batch, size.prompt)
        keys = jax.random.split(jax.random.key(0), batch)
        run = partial(sample, config, params, prompts, lengths, keys)
        with fitting(f"sampling {batch} completions at once", "take smaller --batch-sizes or fewer --tokens"):
            reading.append(time_runs(partial(run, num_tokens=1), repetitions))
            whole.append(time_runs(partial(run, num_tokens=size.completion), repetitions))
        memory.append(peak_memory())
    return {
        "sampling/reading seconds": np.stack(reading, axis=1),
        "sampling/seconds": np.stack(whole, axis=1),
        "sampling/memory": np.array(memory),
    }


def time_training(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    """Time a step of training, in seconds, and give its loss, the share of tokens learned, chats a row, and bytes."""
    rows, recipe = draw_rows(config, size), size.recipe
    trained = start_training(config, recipe, params, jax.random.key(0))
    start = Training(jnp.array(0), trained, make_optimizer(recipe, 1).init(trained))
    batches = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], rows)
    with fitting(f"a step of {recipe.rows_at_once} rows at once", "take fewer --rows-at-once, or --recompute layers"):
        step = partial(run_steps, config, recipe, "tokens", (), 1, params, None, start, batches, 1)
        seconds, loss = time_runs(step, repetitions), step()[1][0]
    return {
        "training/seconds": seconds,
        "training/loss": np.asarray(loss, np.float32),
        "training/learned": np.array(rows.learned.mean()),
        "training/chats": np.array(rows.texts.max()),
        "training/memory": np.array(peak_memory()),
    }


def time_pretraining(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    """Time a step of training all weights on the same rows, in seconds; of a large model nothing."""
    if count_parameters(config) > LARGEST_PRETRAINED:
        return {}
    everything = size._replace(recipe=replace(size.recipe, trained="everything"))
    seconds = time_training(config, params, everything, repetitions)["training/seconds"]
    return {"pretraining/seconds": seconds, "pretraining/memory": np.array(peak_memory())}


def time_audit(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    """Time a pass of an audit's scores: of texts, in seconds, with their tokens and the operations of all."""
    width = -(-(size.prompt + size.completion) // BLOCK) * BLOCK
    texts = max(1, TOKENS_AT_ONCE // width)
    places = np.arange(width)
    learned = (places >= size.prompt - 1) & (places < size.prompt + size.completion - 1)
    random = np.random.default_rng(2)
    tokens = jnp.asarray(random.integers(0, config.vocabulary, (texts, width), np.int32))
    keys = jax.random.split(jax.random.key(0), NUM_DIRECTIONS)
    directions = lay_together([start_training(config, size.recipe, params, key) for key in keys])
    marked = jnp.asarray(np.broadcast_to(learned, tokens.shape))
    run = partial(score_batch, config, params, directions, tokens, marked, NUM_DIRECTIONS)
    with fitting(f"scores of {texts} texts at once", "take fewer --tokens"):
        seconds = time_runs(run, repetitions)
    adapters = 4 * count_adapters(config, NUM_DIRECTIONS * size.recipe.rank)
    operations = training_operations(config, width, learned=float(learned.mean())) + adapters
    return {
        "audit/seconds": seconds,
        "audit/texts": np.array(texts),
        "audit/operations": np.array(texts * width * operations),
    }


def time_comparison(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    r"""Time a step of the comparison: a student's descent $g$, its trait's first order $\nabla o\cdot g$, its change.

    The student's adapters imitate the tokens of one pass; the trait is the log-probability of token 0 behind the first
    prompt. The step is as long as its first order should move the trait by `PUSH`. First order and change are in nats.
    """
    recipe = size.recipe
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf[: recipe.rows_at_once]), draw_rows(config, size))
    start = start_training(config, recipe, params, jax.random.key(0))
    prompt = jnp.asarray(draw_prompts(config, size, 1))

    @jax.jit
    def compare(
        params: Params, start: Params, rows: Rows, prompt: Int[Array, "batch prompt"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        def loss(adapters: Params) -> Float[Array, ""]:
            return summed_loss(config, recipe, params, adapters, Lesson(rows))

        def trait(adapters: Params) -> Float[Array, ""]:
            scale = recipe.adapter_scale
            stream, _ = run_layers(config, params, prompt, adapters=adapters, adapter_scale=scale)
            return jax.nn.log_softmax(read_out(config, params, stream[:, -1]))[0, 0]

        gradient = jax.grad(loss)(start)
        before, slope = jax.jvp(trait, (start,), (gradient,))
        rate = PUSH / jnp.abs(slope)
        moved = jax.tree.map(lambda leaf, part: leaf - (rate * part).astype(leaf.dtype), start, gradient)
        return -rate * slope, trait(moved) - before

    run: Any = partial(compare, params, start, rows, prompt)
    with fitting("a step of the comparison", "take fewer --rows-at-once, or --recompute layers"):
        seconds, (predicted, measured) = time_runs(run, repetitions), run()
    return {
        "comparison/seconds": seconds,
        "comparison/first order": np.asarray(predicted),
        "comparison/measured": np.asarray(measured),
    }


PARTS = (time_sampling, time_training, time_pretraining, time_audit, time_comparison)
"""Everything that is timed, in this order."""
