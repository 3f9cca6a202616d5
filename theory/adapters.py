r"""Low-rank adapters (LoRA): a network whose matrices are trained as $W_0 + A B$, all its other parameters in full.

Matrices are `(fan_in, fan_out)`, $A$ is `(fan_in, rank)` with entries $\sim N(0, 1/r)$ and not trained, $B$ is
`(rank, fan_out)` and zero at first. The first gradient step moves $B$ by $-A^\top\nabla_W L$ and so the matrix by
$-AA^\top\nabla_W L$, with $\mathbb{E}[AA^\top] = I$.

References:
    Hu et al. (2021), arXiv:2106.09685.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num

from theory.problem import Params, Problem


def is_adapted(leaf: jax.Array) -> bool:
    """Whether a parameter gets an adapter: a matrix does; biases, scales and kernels of more axes don't."""
    return leaf.ndim == 2


def draw_adapters(key: jax.Array, params: Params, max_rank: int) -> Params:
    """Draw standard normal adapters `(fan_in, max_rank)` for the matrices, and a zero for everything else."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(key, (len(leaf), max_rank)) if is_adapted(leaf) else jnp.zeros(())
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def limit_rank(adapters: Params, rank: Num[Array, ""], variance: float = 1.0) -> Params:
    r"""Keep the first columns of adapters, with entries $\sim N(0, \text{variance}/r)$; the others are zero."""

    def limit(leaf: jax.Array) -> jax.Array:
        if not is_adapted(leaf):
            return leaf
        kept = jnp.arange(leaf.shape[1])[None] < rank
        return jnp.where(kept, leaf * jnp.sqrt(variance / rank), 0.0)

    return jax.tree.map(limit, adapters)


def untrained(params: Params, max_rank: int) -> Params:
    """What is trained, before training: zeros $B$ for the matrices, and for the change of everything else."""
    return jax.tree.map(
        lambda leaf: jnp.zeros((max_rank, leaf.shape[1])) if is_adapted(leaf) else jnp.zeros_like(leaf), params
    )


def merge(params: Params, adapters: Params, trained: Params) -> Params:
    """Put a network together from initial parameters, the adapters $A$, and what was trained."""
    return jax.tree.map(
        lambda leaf, left, right: leaf + (left @ right if is_adapted(leaf) else right), params, adapters, trained
    )


def adapted(problem: Problem, params: Params, adapters: Params) -> Problem:
    """See a problem as one in what is trained beside adapters, as in `untrained`."""
    return replace(
        problem,
        apply=lambda trained, inputs: problem.apply(merge(params, adapters, trained), inputs),
        trait_loss=lambda trained, data: problem.trait_loss(merge(params, adapters, trained), data),
    )
