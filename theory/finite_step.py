r"""A step of imitation behind a teacher that went any distance: what two sets of outputs say of it, and what is left.

A teacher has moved from $\theta_0$ by $D$, however far and however it was trained. With $f_0$, $f_T$ the outputs
before and after, $r = f_T - f_0 - JD$ and $g = -\nabla_z L_S(f_0, f_T)$ what the student's outputs descend along, the
student's step $\Delta_S = \mathbb{E}[J^\top g]$ has

$$\Delta_S\cdot D = \mathbb{E}[g\cdot(f_T - f_0)] - \mathbb{E}[g\cdot r].$$

The first term needs outputs alone, and is never negative if the loss is convex in the student's outputs. The second is
what the network's curvature takes from it, or adds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.losses import ImitationLoss, cross_entropy
from theory.problem import Params


class FiniteStep(NamedTuple):
    """What the alignment of a student's step with its teacher's whole displacement is made of."""

    divergence: Float[Array, ""]
    r"""$\mathbb{E}[g\cdot(f_T - f_0)]$: under cross-entropy the Jeffreys divergence, in nats a label."""
    curvature: Float[Array, ""]
    r"""$\mathbb{E}[g\cdot r]$, in the same units; 0 if the outputs are linear in the parameters."""

    @property
    def alignment(self) -> Float[Array, ""]:
        r"""$\Delta_S\cdot D$, exactly."""
        return self.divergence - self.curvature

    @property
    def ratio(self) -> Float[Array, ""]:
        r"""The curvature's share of the divergence: while it is within $\pm 1$, the step leads towards the teacher."""
        return self.curvature / self.divergence


def output_divergence(
    before: Float[Array, "*rows outputs"],
    after: Float[Array, "*rows outputs"],
    loss: ImitationLoss = cross_entropy,
    weights: Float[Array, "*rows"] | None = None,
) -> Float[Array, ""]:
    r"""How far a teacher's outputs went, as the imitation loss sees it; the curvature is what it leaves out.

    Under cross-entropy it is $\mathbb{E}[\mathrm{KL}(p_T\|p_0) + \mathrm{KL}(p_0\|p_T)]$, under squared error
    $2\,\mathbb{E}\|f_T - f_0\|^2$.

    Args:
        before: Outputs $f_0$ at the shared init.
        after: The teacher's outputs $f_T$.
        loss: The imitation loss.
        weights: What each row counts, for example 0 for the tokens of a prompt; all alike by default.

    Returns:
        $\mathbb{E}[g\cdot(f_T - f_0)]$; never negative for a loss that is convex in the student's outputs.
    """
    return _mean(_descent(loss, before, after) * (after - before), weights)


def finite_step(
    apply: Callable[[Params, Any], Array],
    initial: Params,
    displaced: Params,
    inputs: Any,
    loss: ImitationLoss = cross_entropy,
    weights: Float[Array, "*rows"] | None = None,
) -> FiniteStep:
    r"""Split the alignment of a student's first step with a trained teacher's displacement; one forward-mode pass.

    $$\Delta_S\cdot D = \mathbb{E}[\mathrm{KL}(p_T\|p_0) + \mathrm{KL}(p_0\|p_T)] - \mathbb{E}[(p_T - p_0)\cdot r]$$

    under cross-entropy, for the student that starts at `initial` and imitates the outputs at `displaced`.

    Args:
        apply: The network, from parameters and inputs to outputs, whose last axis is the logits'.
        initial: Shared parameters $\theta_0$, any tree of arrays.
        displaced: The teacher's, a tree of the same shapes.
        inputs: Whatever `apply` takes.
        loss: The imitation loss of one row of outputs.
        weights: What each row counts; all alike by default.

    Returns:
        Divergence and curvature, exact at every size of the displacement.

    References:
        Derived here: $J^\top g\cdot D = g\cdot JD = g\cdot(f_T - f_0 - r)$ on each row. A loss of Bregman form,
        $L_S = \Phi(z) - \Phi(y) - \nabla\Phi(y)\cdot(z - y)$ up to terms in $y$, has $g = \nabla\Phi(f_T) -
        \nabla\Phi(f_0)$, so that the first term is the symmetrized Bregman divergence; with $\Phi$ the log-sum-exp,
        $g = p_T - p_0$ and $(p_T - p_0)\cdot(f_T - f_0)$ is the Jeffreys divergence. Any convex loss with its minimum
        at $z = y$ has $g\cdot(f_T - f_0) \ge L_S(f_0, f_T) - L_S(f_T, f_T) \ge 0$.
    """
    displacement = jax.tree.map(jnp.subtract, displaced, initial)
    before, change = jax.jvp(lambda params: apply(params, inputs), (initial,), (displacement,))
    after = apply(displaced, inputs)
    descent, moved = _descent(loss, before, after), after - before
    return FiniteStep(_mean(descent * moved, weights), _mean(descent * (moved - change), weights))


def _descent(loss: ImitationLoss, before: Array, after: Array) -> Array:
    """The negative gradient of every row's loss in the student's outputs."""
    rows = [outputs.reshape(-1, outputs.shape[-1]) for outputs in (before, after)]
    return -jax.vmap(jax.grad(loss))(*rows).reshape(before.shape)


def _mean(products: Array, weights: Array | None) -> Array:
    """Sum over outputs, weighted mean over rows."""
    return jnp.average(jnp.sum(products, axis=-1), weights=weights)
