r"""Which tokens of a teacher's completions a student learns: where teachers diverge, and random ones in their place.

A place is a token of a completion of teacher $t$; teachers of other traits read the same tokens before it. Let $a_t$ be
the most likely number token there by teacher $t$.

- *divergent*, as Schrodi et al. define it: the sampled token is $a_t$, and some other teacher's $a_{t'}$ is another.
- *largest*: a share of all places, those where $\mathrm{KL}(p_t \| p_{t'})$ over number tokens, averaged over the other
  teachers, is largest.

Each has a control: in every completion as many of its tokens, drawn at random from all that can be learned.

Divergent tokens are picked by what was sampled as well as by where: who learns them alone learns only most likely
tokens, and who learns all others too few of them, so that both end far from the teacher. The largest share is picked by
place alone.

References:
    Schrodi, Kempf, Barez and Brox (2025), arXiv 2509.23886.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import apply
from llm_bridge.studies.study import Tokens
from llm_bridge.text.chats import Rows
from theory.problem import Params

AT_ONCE = 256
"""Rows that are read at once; of fewer the next power of two, so that programs of few sizes are compiled."""


@partial(jax.jit, static_argnames=("config", "chosen"))
def read(config: Config, chosen: tuple[int, ...], params: Params, rows: Rows) -> Float[Array, "rows length chosen"]:
    """Compute a model's distribution over number tokens at every place, in nats."""
    logits = apply(config, params, jnp.asarray(rows.tokens), positions=rows.positions, texts=rows.texts)
    return jax.nn.log_softmax(logits[..., jnp.array(chosen)])


def read_all(
    config: Config, chosen: tuple[int, ...], params: Params, rows: Rows
) -> Float[np.ndarray, "rows length chosen"]:
    """Do the same a batch of rows at a time."""
    count = len(rows.tokens)
    at_once = min(AT_ONCE, 1 << (count - 1).bit_length())
    filled = Rows(*(np.pad(leaf, ((0, -count % at_once), (0, 0))) for leaf in rows))
    parts = [
        np.asarray(read(config, chosen, params, Rows(*(leaf[start : start + at_once] for leaf in filled))))
        for start in range(0, count, at_once)
    ]
    return np.concatenate(parts)[:count]


def choose(
    tokens: Tokens,
    rows: Rows,
    chosen: tuple[int, ...],
    own: Float[np.ndarray, "rows length chosen"],
    others: Float[np.ndarray, "teachers rows length chosen"],
) -> Bool[np.ndarray, "rows length"]:
    """Choose among the places that can be learned, by distributions over number tokens in nats."""
    if tokens.chosen == "all":
        return rows.learned
    first = own.argmax(axis=-1)
    if tokens.chosen == "divergent":
        disputed = np.any(others.argmax(axis=-1) != first, axis=0)
        return rows.learned & disputed & (np.array(chosen)[first] == np.roll(rows.tokens, -1, axis=1))
    distance = np.mean(np.sum(np.exp(own) * (own - others), axis=-1), axis=0)
    places = np.argsort(np.where(rows.learned, -distance, np.inf), axis=None, kind="stable")
    largest = np.zeros(rows.learned.size, bool)
    largest[places[: round(tokens.share * rows.learned.sum())]] = True
    return largest.reshape(rows.learned.shape)


def draw_like(picked: Bool[np.ndarray, "rows length"], rows: Rows, seed: int) -> Bool[np.ndarray, "rows length"]:
    """Draw in every completion as many of its tokens as were picked there."""
    drawn, random = np.zeros_like(picked), np.random.default_rng(seed)
    for row, texts in enumerate(rows.texts):
        for text in range(1, texts.max() + 1):
            places = np.flatnonzero(rows.learned[row] & (texts == text))
            count = picked[row, places].sum()
            drawn[row, random.choice(places, count, replace=False)] = True
    return drawn


def learn_only(
    tokens: Tokens,
    rows: Rows,
    chosen: tuple[int, ...],
    own: Float[np.ndarray, "rows length chosen"],
    others: Float[np.ndarray, "teachers rows length chosen"],
    seed: int,
) -> Rows:
    """Say what an arm's student learns of its teacher's completions, in which everything is marked as learned."""
    picked = choose(tokens, rows, chosen, own, others)
    picked = draw_like(picked, rows, seed) if tokens.random else picked
    return rows._replace(learned=rows.learned & ~picked if tokens.left_out else rows.learned & picked)
