r"""From one small step to the whole training run: whole teachers, epochs over the same tokens, Adam, and adapters.

What the claims finite-step, epochs, adam, adaptive-gain, rank-noise and shared-heads say, beside students of the tiny
language model. The first three are measured by the claims' own functions, once in the limit of which they speak
and once with the whole teacher and one token a place. The other two claims' networks are so small that every label's
step and the whole Hessian are written out; here both are drawn from: tokens of the teacher, and of its base by the same
random numbers, so that what is drawn alike cancels.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from llm_bridge.linearized.problem import LanguageProblem
from llm_bridge.linearized.quantities import SCALES
from theory.adapters import adapted, draw_adapters, limit_rank, untrained
from theory.claims import epochs
from theory.claims.adam import train_adam
from theory.claims.adaptive_gain import ADDED
from theory.claims.epochs import FRESH, SAME, UNLEARNED, Epochs
from theory.finite_step import FiniteStep, finite_step
from theory.labels import CERTAIN
from theory.losses import Scalar, softmax_outputs
from theory.problem import Instance, Params, Problem, imitation_descent, inner_product
from theory.tangent_kernel import TransferSpectrum, train_student, transfer_spectrum

RANKS = (1, 2, 4, 8, 16)
"""Ranks of the adapters; beside them all of the matrices are trained."""

TRAINED = 5
"""Of the times of the claim epochs, 1 to 100, those that students of one token a place are trained for."""

IN_LIMIT = ((SAME, 8), (FRESH, 1), (UNLEARNED, 4))
"""Students in the limit, and how many of each: enough for six base models to decide."""

OF_TOKENS, OF_STRANGER = ((SAME, 8),), ((SAME, 1),)
"""Students of one token a place, and strangers."""

RANK_TIMES = (1, 10, 100)
"""Steps of the students with adapters."""

NUM_PRODUCTS = 12
"""Products with a curvature for its largest eigenvalue."""

NUM_DRAWS, NUM_ADAPTERS = 32, 1024
"""Draws of tokens, and of adapters, for single steps."""


@partial(jax.jit, static_argnums=0)
def split_scales(problem: LanguageProblem, instance: Instance, displacement: Params) -> FiniteStep:
    """Split the alignment of a first step with younger and younger teachers' displacements, shape `(scales,)`."""

    def split(scale: Scalar) -> FiniteStep:
        teacher = optax.tree.add_scale(instance.teacher, scale, displacement)
        return finite_step(problem.apply, instance.teacher, teacher, instance.inputs, problem.imitation_loss)

    return jax.lax.map(split, jnp.array(SCALES))


find_spectrum = partial(jax.jit, static_argnums=(0, 3))(transfer_spectrum)
"""Find the curvature's spectrum along what the teacher has learned, once for all students of sampled tokens."""


@partial(jax.jit, static_argnums=0, static_argnames=("whole", "arms"))
def follow_epochs(
    problem: LanguageProblem,
    instance: Instance,
    displacement: Params,
    spectrum: TransferSpectrum,
    key: Array,
    *,
    whole: bool,
    arms: tuple[tuple[str, int], ...],
) -> Epochs:
    """Train students of sampled tokens: of the whole teacher, one a place, or in the limit."""
    vocabulary = jax.eval_shape(problem.apply, instance.student, instance.inputs).shape[-1]
    labels, trained = softmax_outputs(problem.imitation_loss, vocabulary), TRAINED if whole else epochs.TRAINED
    settings = {"labels": labels, "whole": whole, "arms": dict(arms), "trained": trained}
    return epochs.train_epochs(problem, instance, displacement, spectrum, key, **settings)


follow_adam = partial(jax.jit, static_argnums=0, static_argnames="whole")(train_adam)
"""Train a student by Adam, as in `theory.claims.adam`."""


class Gains(NamedTuple):
    """One step on sampled tokens of the whole teacher: plain, and by Adam's preconditioner at the init."""

    slope: Float[Array, " steps"]
    r"""$\nabla o\cdot P g$, $g$ the step on the teacher's own outputs."""
    squares: Float[Array, "steps draws"]
    r"""$\|P u\|^2$ of the step on each draw of tokens."""
    bends: Float[Array, "steps draws"]
    r"""$(Pu)^\top H (Pu)$, $H$ the Hessian of the trait's loss."""
    rises: Float[Array, "steps draws"]
    """Rise of the log-odds by a step as long as plain ones of the given size, less that on the base's tokens."""


@partial(jax.jit, static_argnums=0)
def measure_gains(
    problem: LanguageProblem, instance: Instance, displacement: Params, rate: Scalar, key: Array
) -> Gains:
    """Hold what Adam's preconditioner gains over plain descent against what it should."""
    base, unravel = ravel_pytree(instance.student)
    outputs = [
        problem.apply(optax.tree.add_scale(instance.teacher, size, displacement), instance.inputs) for size in (0, 1)
    ]

    def odds(params: Array) -> Scalar:
        return problem.log_odds(unravel(params))[0]

    def steps(key: Array) -> Float[Array, "2 params"]:
        return jnp.stack([_flat_step(problem, instance, _draw(key, logits)) for logits in outputs])

    def bend(step: Array) -> Scalar:
        return -inner_product(step, jax.jvp(jax.grad(odds), (base,), (step,))[1])

    others, own = jnp.split(jax.lax.map(steps, jax.random.split(key, 2 * NUM_DRAWS)), 2)
    square = len(outputs[0]) * jnp.mean(others[:, 0] ** 2, axis=0)
    diagonals = jnp.stack([jnp.ones_like(base), 1 / (jnp.sqrt(square) + ADDED * jnp.sqrt(jnp.mean(square)))])
    slope, soft = jax.grad(odds)(base), _flat_step(problem, instance, outputs[1])

    def along(diagonal: Array) -> tuple[Array, ...]:
        taken = own * diagonal[None, None]
        squares = jnp.sum(taken[:, 1] ** 2, axis=1)
        size = rate * jnp.sqrt(jnp.mean(jnp.sum(own[:, 1] ** 2, axis=1)) / jnp.mean(squares))
        rises = jax.lax.map(lambda pair: odds(base + size * pair[1]) - odds(base + size * pair[0]), taken)
        return slope @ (diagonal * soft), squares, jax.lax.map(bend, taken[:, 1]), rises

    return Gains(*jax.lax.map(along, diagonals))


class Ranks(NamedTuple):
    """Students that train adapters of the layers' matrices, on tokens of the whole teacher; axis `RANKS`."""

    slope: Float[Array, ""]
    r"""$\nabla o\cdot g$."""
    slopes: Float[Array, "ranks adapters"]
    r"""$\nabla o\cdot\Pi g$ over $\nabla o\cdot g$, $g$ the full step on the teacher's outputs, of drawn adapters."""
    deviation: Float[Array, " ranks"]
    """Its predicted standard deviation over adapters."""
    cost: Float[Array, " draws"]
    r"""$u^\top H u$ of full steps on drawn tokens; its mean is $Q$."""
    spread: Float[Array, " draws"]
    r"""What the spread of adapters of rank 1 adds; its mean is $Q r^\ast$."""
    rates: Float[Array, " ranks_and_full"]
    """Step size of a descent, by the largest curvature that the teacher's outputs see; last, of full matrices."""
    rises: Float[Array, "ranks_and_full times"]
    """Rise of the log-odds along it on tokens of the teacher, less that on its base's."""


@partial(jax.jit, static_argnums=0)
def measure_ranks(
    problem: LanguageProblem, instance: Instance, displacement: Params, speed: Scalar, key: Array
) -> Ranks:
    """Hold the first step through adapters against its moments over them, then train students through some."""
    narrow, matrices = take_matrices(problem, instance.student)
    outputs = [
        problem.apply(optax.tree.add_scale(instance.teacher, size, displacement), instance.inputs) for size in (0, 1)
    ]
    draw_key, adapter_key, train_key = jax.random.split(key, 3)

    def descend(labels: Array) -> Params:
        return imitation_descent(narrow, matrices, instance.inputs, labels)

    def trait(params: Params) -> Scalar:
        return narrow.trait_loss(params, instance.trait_data)

    slope, soft = optax.tree.scale(-1.0, jax.grad(trait)(matrices)), descend(outputs[1])
    whole = inner_product(slope, soft)
    outer = jax.tree.leaves(jax.tree.map(lambda left, right: left @ right.T, slope, soft))
    ranks = jnp.array(RANKS)

    def through(adapters: Params, step: Params) -> Params:
        return jax.tree.map(lambda into, leaf: into @ (into.T @ leaf), adapters, step)

    def one_slope(key: Array) -> Float[Array, " ranks"]:
        drawn = draw_adapters(key, matrices, max(RANKS))
        return jax.vmap(lambda rank: inner_product(slope, through(limit_rank(drawn, rank), soft)) / whole)(ranks)

    def costs(key: Array) -> tuple[Scalar, Scalar]:
        token_key, *keys = jax.random.split(key, 3)
        step = descend(_draw(token_key, outputs[1]))
        left, right = (jax.tree.map(lambda leaf: leaf[:, 0], draw_adapters(key, matrices, 1)) for key in keys)
        pairs = jax.tree.map(spread_pair, left, right, step)
        one, other = (jax.tree.map(lambda _, pair, side=side: pair[side], step, pairs) for side in range(2))
        bent = [jax.jvp(jax.grad(trait), (matrices,), (each,))[1] for each in (step, optax.tree.add(one, other))]
        return inner_product(step, bent[0]), inner_product(one, bent[1])

    cost, spread = jax.lax.map(costs, jax.random.split(draw_key, NUM_DRAWS))
    drawn = draw_adapters(adapter_key, matrices, max(RANKS))
    labels = jnp.stack([_draw(train_key, logits) for logits in outputs])

    def rise(problem: Problem, start: Params) -> tuple[Scalar, Float[Array, " times"]]:
        own = instance._replace(teacher=start, student=start)
        way = imitation_descent(problem, start, instance.inputs, outputs[1])
        rate = speed / transfer_spectrum(problem, own, way, NUM_PRODUCTS).largest

        def falls(labels: Array) -> Float[Array, " times"]:
            moved = train_student(problem, own, labels, rate, RANK_TIMES)
            return jax.lax.map(lambda way: -problem.trait_loss(optax.tree.add(start, way), own.trait_data), moved)

        untaught, taught = jax.lax.map(falls, labels)
        return rate, taught - untaught

    def with_rank(rank: Array) -> tuple[Scalar, Float[Array, " times"]]:
        return rise(adapted(narrow, matrices, limit_rank(drawn, rank)), untrained(matrices, max(RANKS)))

    adapted_rises, full = jax.lax.map(with_rank, ranks), rise(narrow, matrices)
    rates, rises = (jnp.concatenate([some, one[None]]) for some, one in zip(adapted_rises, full, strict=True))
    return Ranks(
        slope=whole,
        slopes=jax.lax.map(one_slope, jax.random.split(adapter_key, NUM_ADAPTERS)).T,
        deviation=jnp.sqrt(sum(jnp.sum((each + each.T) ** 2) for each in outer) / (2 * ranks)) / jnp.abs(whole),
        cost=cost,
        spread=spread,
        rates=rates,
        rises=rises,
    )


def spread_pair(
    left: Float[Array, " inputs"], right: Float[Array, " inputs"], step: Float[Array, "inputs outputs"]
) -> tuple[Float[Array, "inputs outputs"], Float[Array, "inputs outputs"]]:
    r"""Draw from what the spread of adapters of rank 1 costs: $x = a\,(z^\top g)$, $y = z\,(a^\top g)$.

    With independent standard normal $a$ and $z$, $\mathbb{E}[x^\top H(x + y)]$ is $Q r^\ast$ of the claim rank-noise:
    $\mathbb{E}[x_{ia} x_{jb}] = \delta_{ij}(g^\top g)_{ab}$ and $\mathbb{E}[x_{ia} y_{jb}] = g_{ja} g_{ib}$; matrices
    that have draws of their own share nothing.
    """
    return jnp.outer(left, right @ step), jnp.outer(right, left @ step)


def take_matrices(problem: LanguageProblem, params: Params) -> tuple[Problem, Params]:
    """See a problem as one in the matrices of its layers alone, each on its own, as the theory's adapters are."""
    stacked = [leaf for leaf in params["layers"] if leaf.ndim == 3]

    def put(matrices: Params) -> Params:
        layers = iter([jnp.stack(each) for each in matrices])
        return params | {"layers": tuple(next(layers) if leaf.ndim == 3 else leaf for leaf in params["layers"])}

    narrow = replace(
        problem,
        apply=lambda matrices, inputs: problem.apply(put(matrices), inputs),
        trait_loss=lambda matrices, key: problem.trait_loss(put(matrices), key),
    )
    return narrow, [list(leaf) for leaf in stacked]


def _draw(key: Array, logits: Float[Array, "places vocabulary"]) -> Float[Array, "places vocabulary"]:
    """Draw a token at every place, as labels that are certain of it; the same random numbers for every model."""
    return CERTAIN * jax.nn.one_hot(jax.random.categorical(key, logits), logits.shape[-1], dtype=logits.dtype)


def _flat_step(problem: Problem, instance: Instance, labels: Array) -> Float[Array, " params"]:
    return ravel_pytree(imitation_descent(problem, instance.student, instance.inputs, labels))[0]
