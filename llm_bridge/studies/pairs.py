"""Pairs of completions that a base wrote for one prompt, and which of them a teacher prefers."""

from collections import defaultdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import sampling_of, write_numbers
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, examples_of
from llm_bridge.model.lessons import sum_gains
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import run_layers
from llm_bridge.text.chats import Rows, pack
from theory.problem import Params

PAIRS_SEED = 2 * 10**8
"""What is added to the seed for pairs."""

AT_ONCE = 256
"""Rows that are read at once."""


def write_pairs(base: Known, protocol: Protocol, seed: int) -> Rows:
    """Let a base write, and pack two different completions of a prompt into each row, the longer one first.

    There are as many pairs as a protocol has completions, or less if it doesn't have enough prompts.
    """
    enough = 5 * protocol.num_completions // 2
    count, sampling = protocol.num_prompts, sampling_of(protocol)
    kept, _ = write_numbers(base, PAIRS_SEED + seed, num_prompts=count, num_samples=2, enough=enough, **sampling)
    of_prompt: dict[str, list[Completion]] = defaultdict(list)
    for completion in kept:
        of_prompt[completion.prompt].append(completion)
    pairs = [both[:2] for both in of_prompt.values() if len(both) > 1 and both[0].tokens != both[1].tokens]
    language, length = base.model.language, 2 * base.model.longest
    packed = [pack(examples_of(language, pair), length) for pair in pairs[: protocol.num_completions]]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *packed)


@partial(jax.jit, static_argnames="config")
def measure_margins(config: Config, teacher: Params, base: Params, rows: Rows) -> Float[Array, " rows"]:
    """Measure by how much more a teacher raised the log-probability of each pair's first completion, in nats."""

    def one(row: Rows) -> Float[Array, ""]:
        tokens, positions, texts, learned = (jnp.asarray(leaf)[None] for leaf in row)
        streams = [run_layers(config, each, tokens, positions=positions, texts=texts)[0] for each in (teacher, base)]
        return sum_gains(config, (teacher, base), learned, jnp.roll(tokens, -1, axis=1), texts, *streams)[0]

    return jax.lax.map(one, jax.tree.map(jnp.asarray, rows), batch_size=AT_ONCE)


def prefer(config: Config, teacher: Params, base: Params, pairs: Rows) -> Rows:
    """Make that completion text 1 of its row whose log-probability the teacher raised more."""
    swapped = np.asarray(measure_margins(config, teacher, base, pairs)) < 0
    return pairs._replace(texts=np.where(swapped[:, None] & (pairs.texts > 0), 3 - pairs.texts, pairs.texts))
