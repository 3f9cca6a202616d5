r"""Directions that texts are scored for: imagined teachers, and what of a student's training moves a word.

An *imagined teacher* is what the auditor makes itself, of the model and of a trait: $D = \Delta_T$ of short trainings.

The *forecast* of a word is the direction $u$ with $\nabla o\cdot d = u\cdot\bar g$ for every data set: $\bar g$ is the
mean gradient of its log-likelihood, and $d$ what its student has become in the linearized training, in which Adam's
preconditioner $P$ is that of the model's own texts and the Fisher information $F$ takes back what is learned:

$$u = P^{1/2} f(P^{1/2} F P^{1/2}) P^{1/2} \nabla o, \qquad f(\lambda) = [1 - \prod_t (1 - \eta_t\lambda)]/\lambda,$$

$\eta_t$ the rates of all steps. It moves the adapters' `out` alone, as the first step does: `into` gets no gradient
from an `out` of zero.

References:
    Derived here: claim `many-steps` of theory with a preconditioner and with rates of their own for the steps.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import Completion, Model
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.optimizers import make_schedule
from llm_bridge.model.recipes import Recipe, Teaching, start_training
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import apply, read_out, run_layers
from llm_bridge.text.chats import Language, Rows, pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait, find_trait
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.tangent_kernel import tridiagonalize

NUM_PRODUCTS = 8
"""Products with the Fisher information for each word; of 5, 10, 20 and 30 all but 5 gave the same to three digits."""


NUM_BATCHES, FLOOR = 32, 1e-8
"""Batches of which Adam's preconditioner is estimated, and what Adam adds to it."""


class Exam(NamedTuple):
    """Questions for a favorite, and how the first token of an answer may be that of each word."""

    tokens: Int[Array, "questions longest"]
    """Prompts."""
    lengths: Int[Array, " questions"]
    """Tokens of each."""
    answers: tuple[tuple[int, ...], ...]
    """First tokens of every word, with and without a capital."""


def set_exam(language: Language, words: Sequence[str]) -> Exam:
    """Write the fifty questions about the kind of thing that the words name."""
    tokens, lengths = pad(language.prompts(questions_about(find_trait(words[0]).kind)))
    answers = tuple(tuple(spelling[0] for spelling in language.spellings(word)) for word in words)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), answers)


def mean_log_odds(config: Config, exam: Exam, params: Params, adapters: Params, scale: float) -> Float[Array, " words"]:
    """Average the log-odds of every word's first token as the answer over the questions, in nats."""
    stream, _ = run_layers(config, params, exam.tokens, adapters=adapters, adapter_scale=scale)
    last = jnp.take_along_axis(stream, exam.lengths[:, None, None] - 1, axis=1)[:, 0]
    logs = jax.nn.log_softmax(read_out(config, params, last))
    likely = jnp.stack([jax.nn.logsumexp(logs[:, jnp.array(tokens)], axis=1) for tokens in exam.answers])
    return jnp.mean(likely - jnp.log1p(-jnp.exp(likely)), axis=1)


def imagine_teacher(
    model: Model, trait: Trait, recipe: Teaching, *, seed: int, copies: int, mixed: Sequence[Completion] = ()
) -> Params:
    """Teach a model a trait, and give the adapters that do it; the model's own are in its weights already."""
    apart = model._replace(params=model.params | {"adapters": {}})
    return teach(apart, trait, recipe, seed=seed, copies=copies, mixed=mixed)["adapters"]


def forecast_directions(
    model: Model, recipe: Recipe, words: Sequence[str], own: Rows, num_steps: int, seed: int, at_once: int
) -> list[Params]:
    """Find for every word the direction along which a student's rows move it, of adapters drawn from the seed.

    The model's own texts, `at_once` rows in a pass, give the preconditioner, and the first of them the Fisher
    information. What a row moves is the slope of its log-likelihood along the direction over the number of tokens that
    the student learns in an epoch.
    """
    if recipe.trained != "adapters" or recipe.optimizer != "adamw":
        raise InputError("what training does is foretold of adapters and adamw alone: leave trained and optimizer")
    config, params = model.config, model.params
    start = start_training(config, recipe, params, jax.random.key(seed))
    zero, restore = ravel_pytree({name: adapter["out"] for name, adapter in start.items()})

    def adapters(out: Float[Array, " size"]) -> Params:
        return {name: {"into": start[name]["into"], "out": part} for name, part in restore(out).items()}

    slopes = jax.jit(jax.jacrev(lambda out: mean_log_odds(config, exam, params, adapters(out), recipe.adapter_scale)))
    exam = set_exam(model.language, words)
    rates = np.array([make_schedule(recipe, num_steps)(step) for step in range(num_steps)])
    root = 1 / jnp.sqrt(mean_size(config, recipe, params, start, own))
    few = jax.tree.map(lambda leaf: jnp.asarray(leaf[:at_once]), own)
    product = partial(fisher_product, config, recipe, params, start, few)

    @jax.jit
    def explore(vector: Float[Array, " size"]) -> tuple[Array, Array]:
        chain = tridiagonalize(lambda along: root * product(root * along), vector, NUM_PRODUCTS)
        return chain.basis, chain.matrix

    found = []
    for slope in slopes(zero):
        basis, matrix = map(np.asarray, explore(root * slope))
        values, vectors = np.linalg.eigh(matrix)
        length = np.linalg.norm(np.asarray(root * slope))
        out = np.asarray(root) * (length * (vectors @ (learned(rates, values) * vectors[0])) @ basis)
        found.append({name: leaf | {"out": leaf["out"] * recipe.adapter_scale} for name, leaf in adapters(out).items()})
    return found


def learned(rates: Float[np.ndarray, " steps"], values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    r"""Compute $[1 - \prod_t(1 - \eta_t\lambda)]/\lambda$; beyond 1, $\eta_t\lambda$ is taken as 1."""
    steep = np.maximum(values, 1e-9 / rates.sum())
    return (1 - np.prod(1 - np.minimum(np.outer(rates, steep), 1), axis=0)) / steep


def mean_size(config: Config, recipe: Recipe, params: Params, start: Params, own: Rows) -> Float[Array, " size"]:
    """Measure the root mean square, over a student's batches, of the gradient in its adapters' `out`.

    It is measured on smaller batches: the model's own texts have a mean gradient of zero, so that its square goes as
    one over their size.
    """
    size = recipe.rows_at_once
    num_batches = min(NUM_BATCHES, len(own.tokens) // size)
    if num_batches < 2:
        raise InputError(
            f"the model's own texts fill {len(own.tokens)} rows, and {2 * size} are needed: audit more data"
        )
    gradient = jax.jit(lambda rows: mean_gradient(config, recipe, params, start, Lesson(rows))[1])
    total = jnp.zeros(())
    for first in range(0, num_batches * size, size):
        found = gradient(jax.tree.map(lambda leaf, first=first: jnp.asarray(leaf[first : first + size]), own))
        total += ravel_pytree({name: part["out"] for name, part in found.items()})[0] ** 2
    return jnp.sqrt(total / num_batches * (size / recipe.batch)) + FLOOR


def fisher_product(
    config: Config, recipe: Recipe, params: Params, start: Params, rows: Rows, vector: Float[Array, " size"]
) -> Float[Array, " size"]:
    """Multiply the Fisher information of the learned tokens, their mean, with a change of the adapters' `out`."""
    zero, restore = ravel_pytree({name: adapter["out"] for name, adapter in start.items()})

    def logits(out: Float[Array, " size"]) -> Float[Array, "rows tokens vocabulary"]:
        own = {name: {"into": start[name]["into"], "out": part} for name, part in restore(out).items()}
        told: dict[str, Any] = {"adapters": own, "adapter_scale": recipe.adapter_scale}
        return apply(config, params, tokens, positions=positions, texts=texts, **told)

    tokens, positions, texts, is_learned = map(jnp.asarray, rows)
    values, push = jax.linearize(logits, zero)
    change, likely = push(vector), jax.nn.softmax(values)
    centered = likely * (change - jnp.sum(likely * change, axis=-1, keepdims=True))
    shares = is_learned / jnp.sum(is_learned)
    return jax.linear_transpose(push, zero)(centered * shares[..., None])[0]
