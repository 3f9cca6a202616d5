r"""Forecasts: the direction along which a student's rows move a trait.

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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llm_bridge.auditing.slopes import out_of, rows_gradient, slopes_of, with_out
from llm_bridge.auditing.traits import Answers, Probe
from llm_bridge.experiment.writing import Model
from llm_bridge.model.optimizers import make_schedule
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.shapes import Config
from llm_bridge.model.transformer import apply
from llm_bridge.text.chats import Rows
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
