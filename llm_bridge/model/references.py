"""Slow references of fast paths: a little of what was computed is computed again, so that wrong numbers don't pass."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from llm_bridge.model.lessons import Lesson, summed_loss
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.sampling import Sampled, read_again
from llm_bridge.model.shapes import Config
from llm_bridge.text.chats import Rows
from theory.problem import Params
from theory.runs.command_line import InputError

FEW = 4
"""Completions of each batch whose probabilities are computed again."""

ROUNDING = {"float64": 1e-6, "float32": 5e-3, "bfloat16": 0.5}
"""Nats a token by which two ways to compute the same may differ, root mean square, by the type of the weights.

Of SmolLM2-135M a single token's differ by up to 3e-5 in float32 and 0.23 in bfloat16; a wrong cache changes it by nats.
"""

ADVICE = (
    "this machine computes wrongly, so that nothing it has made can be trusted: let one job run at a time, or install "
    "jax==0.9.2"
)
"""What to do then."""


def require_uncached(
    config: Config,
    params: Params,
    prompts: Int[np.ndarray, "prompts longest"],
    lengths: Int[np.ndarray, " prompts"],
    sampled: Sampled,
    temperature: float,
) -> None:
    """Compute the probabilities of a few completions again, in one pass over the whole text and without a cache.

    Of each of the first prompts the first completion is looked at.
    """
    tokens, gained, counts = (np.asarray(leaf)[:FEW, 0] for leaf in sampled)
    texts = np.pad(prompts[:FEW], ((0, 0), (0, tokens.shape[1])))
    for text, length, completion in zip(texts, lengths, tokens, strict=False):
        text[length : length + len(completion)] = completion
    again = np.asarray(read_again(config, params, texts, lengths[:FEW], tokens, temperature=temperature))
    written = np.arange(tokens.shape[1]) < counts[:, None]
    require_close(params, (gained - again)[written], "a token's log-probability, computed without a cache")


def require_unpacked(config: Config, recipe: Recipe, params: Params, trained: Params, lesson: Lesson) -> None:
    """Compute the loss of the chats in the fullest packed row again, each in a row of its own, on tokens alone."""
    rows = lesson.rows
    row = int(np.argmax(rows.texts.max(axis=1)))
    packed = jax.tree.map(lambda leaf: leaf[row : row + 1], rows)
    total = learned_loss(config, recipe, params, trained, packed)
    for number in range(1, int(packed.texts.max()) + 1):
        own = packed.texts[0] == number
        alone = jax.tree.map(lambda leaf, own=own: np.pad(leaf[:, own], ((0, 0), (0, int(np.sum(~own))))), packed)
        total -= learned_loss(config, recipe, params, trained, alone)
    learned = max(1, int(packed.learned.sum()))
    require_close(params, np.array(total / learned), "the loss of a packed row, computed chat by chat")


def require_close(params: Params, differences: Float[np.ndarray, "..."], what: str) -> None:
    """Refuse what rounding can't explain, no number at all included."""
    typical = float(np.sqrt(np.mean(np.square(differences))))
    if not typical <= ROUNDING[params["embedding"].dtype.name]:
        raise InputError(f"{what}, is another by {typical:.2g} nats: {ADVICE}")


@partial(jax.jit, static_argnames=("config", "recipe"))
def learned_loss(config: Config, recipe: Recipe, params: Params, trained: Params, rows: Rows) -> Float[Array, ""]:
    """Sum the loss of rows' tokens."""
    return summed_loss(config, recipe, params, trained, Lesson(rows))
