"""A language model as a problem of the theory: logits where numbers are learned, the log-odds of a word as trait."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from llm_bridge.experiment.likes import log_probabilities
from llm_bridge.linearized.reading import Exam, Reading
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import read_out, run_layers
from theory.losses import cross_entropy, on_outputs
from theory.problem import Instance, Params, Problem

Moved = Literal["layers", "everything"]
"""What teacher and student move: the layers alone, or embedding, last norm and head too."""


def group_layers(params: Params) -> Params:
    """Lay parameters out so that the theory sees four groups: embedding, layers, last norm and head."""
    return params | {"layers": tuple(jax.tree.leaves(params["layers"]))}


def ungroup_layers(config: Config, params: Params) -> Params:
    """Undo `group_layers`: parameters as the transformer reads them."""
    like = jax.eval_shape(partial(initialize, config), jax.random.key(0))["layers"]
    return params | {"layers": jax.tree.unflatten(jax.tree.structure(like), params["layers"])}


def hold_still(moved: Moved, params: Params) -> Params:
    """Make what is not moved a constant: no derivative sees it, so that all of theory speaks of the rest alone."""
    free = params if moved == "everything" else {"layers": params["layers"]}
    return {name: leaf if name in free else jax.lax.stop_gradient(leaf) for name, leaf in params.items()}


def imitated_logits(config: Config, moved: Moved, params: Params, reading: Reading) -> jax.Array:
    """Compute the logits that are imitated, shape `(places, vocabulary)`."""
    params = ungroup_layers(config, hold_still(moved, params))
    stream, _ = run_layers(config, params, reading.tokens, positions=reading.positions, texts=reading.texts)
    return read_out(config, params, stream.reshape(-1, config.width)[reading.places])


def mean_log_odds(config: Config, exam: Exam, params: Params) -> jax.Array:
    r"""Average a word's log-odds $\log p - \log(1 - p)$ as the answer over the questions about its kind, in nats."""
    logs = log_probabilities(config, ungroup_layers(config, params), exam.tokens, exam.lengths)
    logs = logs[:, jnp.array(exam.answers)]
    odds = logs - jnp.log1p(-jnp.exp(logs))
    by_kind = odds.reshape(max(exam.kinds) + 1, -1, len(exam.answers)).mean(axis=1)
    return by_kind[jnp.array(exam.kinds), jnp.arange(len(exam.answers))]


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageProblem(Problem):
    """A problem whose trait is how much a language model likes the first of several words."""

    log_odds: Callable[[Params], jax.Array]
    """From parameters to every word's mean log-odds, shape `(words,)`; the trait's loss is minus the first."""


def pose(
    config: Config,
    exam: Exam,
    *,
    chosen: tuple[int, ...] = (),
    moved: Moved = "layers",
    reading: Reading | None = None,
) -> LanguageProblem:
    """Make a problem of the theory out of a language model, with parameters as of `group_layers`.

    The distribution over the `chosen` tokens is imitated, after all others are left out of it; over all tokens if none
    is chosen. Without a `reading` it is a problem for instances that bring their own inputs.
    """

    def log_odds(params: Params) -> jax.Array:
        return mean_log_odds(config, exam, hold_still(moved, params))

    return LanguageProblem(
        name=f"{moved}, {'chosen' if chosen else 'all'} tokens",
        apply=lambda params, inputs: imitated_logits(config, moved, params, Reading(*inputs)),
        initialize=lambda key: group_layers(initialize(config, key)),
        draw_inputs=lambda key: as_inputs(reading),
        imitation_loss=on_outputs(cross_entropy, chosen) if chosen else cross_entropy,
        trait_loss=lambda params, key: -log_odds(params)[0],
        log_odds=log_odds,
    )


def as_inputs(reading: Reading | None) -> Any:
    """Call a reading what the theory calls inputs: it looks at them through the network alone."""
    return reading


def meet(base: Params, student: Params, reading: Reading) -> Instance:
    """Put a teacher's base, a student's init (both in groups) and the inputs together."""
    key = jax.random.key(0)
    return Instance(base, student, as_inputs(reading), key, key)
