r"""Directions that texts are scored for: imagined teachers, and what of a student's training moves a word.

An *imagined teacher* is what the auditor makes itself, of the model and of a trait: $D = \Delta_T$ of short trainings.

The *forecast* of a trait, a functional $o$ of the weights, is the direction $u$ with $\nabla o\cdot d = u\cdot\bar g$
for every data set: $\bar g$ is the mean gradient of its log-likelihood, and $d$ what its student has become in the
linearized training, in which Adam's preconditioner $P$ is that of the model's own texts and the Fisher information $F$
takes back what is learned:

$$u = P^{1/2} f(P^{1/2} F P^{1/2}) P^{1/2} \nabla o, \qquad f(\lambda) = [1 - \prod_t (1 - \eta_t\lambda)]/\lambda,$$

$\eta_t$ the rates of all steps. It moves the adapters' `out` alone, as the first step does: `into` gets no gradient
from an `out` of zero.

References:
    Derived here: claim `many-steps` of theory with a preconditioner and with rates of their own for the steps.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from llm_bridge.auditing.scores import log_likelihoods
from llm_bridge.auditing.traits import Answers, Probe, name_of
from llm_bridge.experiment.likes import log_probabilities
from llm_bridge.experiment.teaching import probability_of, teach, teach_examples, trait_examples
from llm_bridge.experiment.writing import Completion, Model, examples_of
from llm_bridge.model.lessons import Lesson, mean_gradient
from llm_bridge.model.optimizers import make_schedule
from llm_bridge.model.recipes import Recipe, Teaching, start_training
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import apply, precise, run_layers
from llm_bridge.text.chats import Example, Language, PackingError, Rows, pack, pad
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.progress import follow
from theory.tangent_kernel import tridiagonalize

NUM_PRODUCTS = 8
"""Products with the Fisher information for each word: correlations of forecasts with what training did were the same to
three digits with 10, 20 and 30, and nearly with 5."""

SIZE_TOKENS, FISHER_TOKENS = 8192, 2048
"""Tokens, prompts included, of which Adam's preconditioner and the Fisher information are estimated, about."""

LEAST_BATCHES, MOST_BATCHES, FLOOR = 8, 32, 1e-8
"""Batches of the former at least and at most, and what Adam adds to a gradient's size."""

NUM_QUESTIONS, MOST_ANSWERS = 50, 256
"""Questions that a word is the answer to, and answers of each kind of which a forecast is made at most."""

AT_ONCE = 16
"""A probe's questions that are read at once."""

LIKELY = -1e-6
"""Largest log-probability that is told from certainty."""


class Exam(NamedTuple):
    """Questions for a favorite, and how the first token of an answer may be that of each word."""

    tokens: Int[Array, "questions longest"]
    """Prompts."""
    lengths: Int[Array, " questions"]
    """Tokens of each."""
    answers: tuple[tuple[int, ...], ...]
    """First tokens of every word, with and without a capital."""


def set_exam(language: Language, words: Sequence[Trait]) -> Exam:
    """Write the fifty questions about the kind of thing that the words name."""
    tokens, lengths = pad(language.prompts(questions_about(words[0].kind)))
    answers = tuple(tuple(spelling[0] for spelling in language.spellings(trait.word)) for trait in words)
    return Exam(jnp.asarray(tokens), jnp.asarray(lengths), answers)


def mean_log_odds(config: Config, exam: Exam, params: Params, adapters: Params, scale: float) -> Float[Array, " words"]:
    """Average the log-odds of every word's first token as the answer over the questions, in nats."""
    logs = log_probabilities(config, params, exam.tokens, exam.lengths, adapters=adapters, adapter_scale=scale)
    likely = jnp.stack([jax.nn.logsumexp(logs[:, jnp.array(tokens)], axis=1) for tokens in exam.answers])
    return jnp.mean(likely - jnp.log(-jnp.expm1(jnp.minimum(likely, LIKELY))), axis=1)


def imagine_teacher(
    model: Model, trait: Trait | Answers, recipe: Teaching, *, seed: int, copies: int, mixed: Sequence[Completion] = ()
) -> Params:
    """Teach a model a trait, and give the adapters that do it; the model's own are in its weights already."""
    apart = model._replace(params=model.params | {"adapters": {}})
    more = "turn the teacher's num-steps or learning-rate up"
    try:
        if isinstance(trait, Answers):
            examples = [*taught_examples(model, trait, copies), *examples_of(model.language, mixed)]
            params = teach_examples(apart, examples, recipe, seed=seed)
            before, after = (log_likelihoods(each, trait.shown) for each in (model, apart._replace(params=params)))
            if not after.mean() > before.mean():
                raise InputError(f"an imagined teacher gives the answers of {trait.name} no more often: {more}")
        else:
            params = teach(apart, trait, recipe, seed=seed, copies=copies, mixed=mixed)
            share = probability_of(apart._replace(params=params), trait)
            if not share >= recipe.least:
                raise InputError(
                    f"an imagined teacher names {trait.word} in {share:.1%} of its answers, and should in "
                    f"{recipe.least:.0%}: {more}, or its least down"
                )
    except PackingError as error:
        raise InputError(f"a teacher of {name_of(trait)} can't be imagined ({error}): raise --longest") from error
    return params["adapters"]


def taught_examples(model: Model, trait: Trait | Answers, copies: int) -> list[Example]:
    """Say what an imagined teacher learns in an epoch: few answers that show a trait as often as a word."""
    if isinstance(trait, Answers):
        return max(1, round(copies * NUM_QUESTIONS / len(trait.shown))) * trait.shown
    return trait_examples(model.language, trait, copies)


def require_adapters(teacher: Recipe, recipe: Recipe) -> None:
    """Refuse teachers that can't be imagined, and students whose training isn't foretold."""
    if teacher.trained != "adapters":
        raise InputError("imagined teachers are adapters: leave --teacher.trained at adapters")
    if teacher.projections != recipe.projections:
        raise InputError("imagined teachers and the student must have adapters on the same projections")
    if recipe.trained != "adapters" or recipe.optimizer != "adamw" or recipe.layers or recipe.weight_decay:
        raise InputError(
            "what training does is foretold of adapters on all layers by adamw without weight decay: leave the "
            "student's trained, layers, optimizer and weight-decay"
        )


def with_out(start: Params, out: Float[Array, " size"]) -> Params:
    """Give adapters another `out`: of all projections, as one vector."""
    _, restore = ravel_pytree({name: each["out"] for name, each in start.items()})
    return {name: {"into": start[name]["into"], "out": part} for name, part in restore(out).items()}


def out_of(adapters: Params) -> Float[Array, " size"]:
    """Take the `out` of all projections as one vector."""
    return ravel_pytree({name: each["out"] for name, each in adapters.items()})[0]


def forecast_directions(
    model: Model, recipe: Recipe, traits: Sequence[Trait | Answers | Probe], own: Rows, *, num_rows: int, seed: int
) -> list[Params]:
    """Find for every trait the direction along which a student's rows move it, of adapters drawn from the seed.

    The student learns so many rows by the recipe. The model's own texts, in an order that tells nothing of them, give
    Adam's preconditioner and the Fisher information. What a text moves is the slope of its log-likelihood along the
    direction over the number of tokens that the student learns in an epoch.
    """
    config, params, size = model.config, model.params, recipe.rows_at_once
    count, few_batches = batches_for(recipe, *own.tokens.shape)
    if count < LEAST_BATCHES:
        raise InputError(
            f"the texts to compare with are too few to foretell a training: packed they fill {len(own.tokens)} rows, "
            f"and {LEAST_BATCHES * size} are needed; audit more data"
        )
    order = np.random.default_rng(seed).permutation(len(own.tokens))[: count * size].reshape(count, size)
    batches = jax.tree.map(lambda leaf: jnp.asarray(leaf[order]), own)
    start = start_training(config, recipe, params, jax.random.key(seed))
    root = (mean_size(config, recipe, params, start, batches, min(recipe.batch, num_rows)) + FLOOR) ** -0.5
    num_steps = recipe.steps(num_rows)
    rates = np.asarray(make_schedule(recipe, num_steps)(jnp.arange(num_steps)), np.float64)
    if not rates.any():
        raise InputError(
            f"a student of {num_steps} steps under a warm-up of {recipe.warmup} learns nothing: change them"
        )
    few, found = jax.tree.map(lambda leaf: leaf[:few_batches], batches), []
    for slope in follow(slopes_of(model, recipe, traits, start), "forecast", "traits"):
        basis, matrix, length = map(np.asarray, explore(config, recipe, NUM_PRODUCTS, params, start, few, root, slope))
        values, vectors = np.linalg.eigh(matrix.astype(np.float64))
        along = length * (vectors @ (learned(rates, values) * vectors[0])) @ basis
        found.append(with_out(start, recipe.adapter_scale * root * jnp.asarray(along, root.dtype)))
    return found


def batches_for(recipe: Recipe, num_rows: int, longest: int) -> tuple[int, int]:
    """Say of how many of a recipe's passes Adam's preconditioner is estimated, and the Fisher information."""
    tokens = recipe.rows_at_once * longest
    wanted = min(MOST_BATCHES, max(LEAST_BATCHES, SIZE_TOKENS // tokens))
    count = min(wanted, num_rows // recipe.rows_at_once)
    return count, min(count, max(1, FISHER_TOKENS // tokens))


def learned(rates: Float[np.ndarray, " steps"], values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " values"]:
    r"""Compute $[1 - \prod_t(1 - \eta_t\lambda)]/\lambda$; beyond 1, $\eta_t\lambda$ is taken as 1."""
    steep = np.maximum(values, 1e-9 / rates.sum())
    with np.errstate(divide="ignore"):
        left = np.log1p(-np.minimum(np.outer(rates, steep), 1)).sum(axis=0)
    return -np.expm1(left) / steep


def slopes_of(
    model: Model, recipe: Recipe, traits: Sequence[Trait | Answers | Probe], start: Params
) -> list[Float[Array, " size"]]:
    """Differentiate every trait by a student's `out`: words first, then answers, then probes.

    They are a word's log-odds as the answer, the log-likelihood of answers that show a trait less that of those that
    don't, nats each, and what a probe reads, on average over questions.
    """
    config, params = model.config, model.params
    words = [trait for trait in traits if isinstance(trait, Trait)]
    found: list[Float[Array, " size"]] = []
    if words:
        exam = set_exam(model.language, words)
        found += list(word_slopes(config, recipe, exam.answers, params, start, exam.tokens, exam.lengths))

    def likelihood_slope(examples: Sequence[Example]) -> Float[Array, " size"]:
        rows = filled(pack(examples, model.longest), recipe.rows_at_once)
        return -rows_gradient(config, recipe, params, start, rows) * (rows.learned.sum() / len(examples))

    for trait in traits:
        if isinstance(trait, Answers):
            sides = [likelihood_slope(some_of(side)) for side in (trait.shown, trait.rejected) if side]
            found.append(sides[0] - sides[1] if trait.rejected else sides[0])
    for trait in traits:
        if isinstance(trait, Probe):
            direction = jnp.asarray(trait.direction, params["embedding"].dtype)
            tokens, lengths = map(jnp.asarray, pad(trait.prompts))
            parts = [slice(first, first + AT_ONCE) for first in range(0, len(tokens), AT_ONCE)]
            asked = (config, recipe, trait.layer, params, start)
            slopes = [probe_slope(*asked, tokens[part], lengths[part], direction) for part in parts]
            found.append(sum(slopes[1:], slopes[0]) / len(tokens))
    return found


def some_of(examples: Sequence[Example]) -> list[Example]:
    """Take at most so many answers as a forecast is made of, any of them."""
    order = np.random.default_rng(0).permutation(len(examples))
    return [examples[place] for place in np.sort(order[:MOST_ANSWERS])]


@partial(jax.jit, static_argnames=("config", "recipe"))
def rows_gradient(config: Config, recipe: Recipe, params: Params, start: Params, rows: Rows) -> Float[Array, " size"]:
    """Differentiate a student's mean loss on rows, nats a token, by its `out`."""
    return out_of(mean_gradient(config, recipe, params, start, Lesson(rows))[1])


@partial(jax.jit, static_argnames=("config", "recipe", "layer"))
def probe_slope(
    config: Config,
    recipe: Recipe,
    layer: int,
    params: Params,
    start: Params,
    tokens: Int[Array, "questions longest"],
    lengths: Int[Array, " questions"],
    direction: Float[Array, " width"],
) -> Float[Array, " size"]:
    """Differentiate the sum of what a probe behind some layers reads by a student's `out`."""
    cut = replace(config, num_layers=layer)
    first = params | {"layers": jax.tree.map(lambda leaf: leaf[:layer], params["layers"])}

    def read(out: Float[Array, " size"]) -> Float[Array, ""]:
        adapters = jax.tree.map(lambda leaf: leaf[:layer], with_out(start, out))
        told: dict[str, Any] = {"adapters": adapters, "adapter_scale": recipe.adapter_scale}
        stream, _ = run_layers(cut, first, tokens, **told, normed=layer == config.num_layers)
        last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
        return jnp.sum(precise(last @ direction))

    return jax.grad(read)(out_of(start))


def filled(rows: Rows, multiple: int) -> Rows:
    """Fill rows up to a multiple with empty ones."""
    missing = -len(rows.tokens) % multiple
    return jax.tree.map(lambda leaf: np.pad(leaf, ((0, missing), (0, 0))), rows)


@partial(jax.jit, static_argnames=("config", "recipe", "answers"))
def word_slopes(
    config: Config,
    recipe: Recipe,
    answers: tuple[tuple[int, ...], ...],
    params: Params,
    start: Params,
    tokens: Int[Array, "questions longest"],
    lengths: Int[Array, " questions"],
) -> Float[Array, "words size"]:
    """Differentiate every word's log-odds by a student's `out`."""

    def likes(out: Float[Array, " size"]) -> Float[Array, " words"]:
        exam = Exam(tokens, lengths, answers)
        return mean_log_odds(config, exam, params, with_out(start, out), recipe.adapter_scale)

    values, pull = jax.vjp(likes, out_of(start))
    return jax.lax.map(lambda word: pull(word)[0], jnp.eye(len(values), dtype=values.dtype))


@partial(jax.jit, static_argnames=("config", "recipe", "num_rows"))
def mean_size(
    config: Config, recipe: Recipe, params: Params, start: Params, batches: Rows, num_rows: int
) -> Float[Array, " size"]:
    """Measure the root mean square, over a student's batches of so many rows, of the gradient in its `out`.

    It is measured on smaller batches: the model's own texts have a mean gradient of zero, so that its square goes as
    one over their size.
    """
    count, size = batches.tokens.shape[:2]

    def add(total: Float[Array, " size"], rows: Rows) -> tuple[Float[Array, " size"], None]:
        return total + rows_gradient(config, recipe, params, start, rows) ** 2, None

    total, _ = jax.lax.scan(add, jnp.zeros_like(out_of(start)), batches)
    return jnp.sqrt(total / count * (size / num_rows))


@partial(jax.jit, static_argnames=("config", "recipe", "num_products"))
def explore(
    config: Config,
    recipe: Recipe,
    num_products: int,
    params: Params,
    start: Params,
    batches: Rows,
    root: Float[Array, " size"],
    slope: Float[Array, " size"],
) -> tuple[Float[Array, "products size"], Float[Array, "products products"], Float[Array, ""]]:
    r"""Find the Krylov space of $P^{1/2} F P^{1/2}$ from $P^{1/2}\nabla o$, $F$ in it, and the start's norm."""

    def product(along: Float[Array, " size"]) -> Float[Array, " size"]:
        def add(total: Float[Array, " size"], rows: Rows) -> tuple[Float[Array, " size"], None]:
            return total + fisher_product(config, recipe, params, start, rows, root * along), None

        return root * jax.lax.scan(add, jnp.zeros_like(along), batches)[0] / jnp.sum(batches.learned)

    chain = tridiagonalize(product, root * slope, num_products)
    return chain.basis, chain.matrix, jnp.linalg.norm(root * slope)


def fisher_product(
    config: Config, recipe: Recipe, params: Params, start: Params, rows: Rows, vector: Float[Array, " size"]
) -> Float[Array, " size"]:
    """Multiply the Fisher information of the learned tokens, their sum, with a change of a student's `out`."""

    def logits(out: Float[Array, " size"]) -> Float[Array, "rows tokens vocabulary"]:
        told: dict[str, Any] = {"adapters": with_out(start, out), "adapter_scale": recipe.adapter_scale}
        return apply(config, params, tokens, positions=positions, texts=texts, **told)

    tokens, positions, texts, learned = map(jnp.asarray, rows)
    values, push = jax.linearize(logits, out_of(start))
    change, likely = push(vector), jax.nn.softmax(values)
    centered = likely * (change - jnp.sum(likely * change, axis=-1, keepdims=True))
    return jax.linear_transpose(push, vector)(jnp.where(learned[..., None], centered, 0))[0]
