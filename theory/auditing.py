r"""An audit: does a data set of labels push a base model towards a trait, beyond what its own labels would?

Each label has a score, how much a student's step on it alone moves the parameters along a direction $g$:

$$s_i = g\cdot\nabla\log p_{\theta_0}(y_i|x_i).$$

Labels that the base model wrote itself have $\mathbb{E}\,s_i = 0$ on every input, whatever $g$ is, so that over many of
them $z = \sum s_i/\sqrt{\sum s_i^2}$ is a standard normal variable. That needs no control data, no other model, and no
idea of how the trait might look in the labels: only the base model, and $g$.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from theory.labels import APPLIES_TO
from theory.losses import Scalar, softmax_outputs
from theory.problem import Inputs, Params, Problem, trait_descent


class Audit(NamedTuple):
    """What a data set does to a trait."""

    scores: Float[Array, " rows"]
    """How much each label's own step moves along the direction: who carries the trait."""
    z: Scalar
    """Their sum in standard deviations: standard normal for labels of the base model."""
    p: Scalar
    """How often labels of the base model have such a large $z$."""
    fall: Scalar
    """Predicted fall of the trait loss per unit of the student's learning rate: the mean of the scores."""
    coverage: Scalar
    """Cosine between the student's step and the direction."""


def audit(
    problem: Problem,
    params: Params,
    inputs: Inputs,
    labels: Int[Array, " rows"],
    *,
    trait_key: jax.Array | None = None,
    direction: Params | None = None,
) -> Audit:
    r"""Audit labels for a trait, before any student is trained: a backward pass for the trait, two for the data.

    For labels of a teacher at $\theta_0 + \epsilon\Delta$, $N$ of them with $\mathrm{KL}$ nats each between teacher and
    base model,

    $$\mathbb{E}\,z = \sqrt{2N\,\mathrm{KL}}\,\cos_F(g, \Delta) + O(\epsilon^2\sqrt N), \qquad
    \cos_F(g, \Delta) = \frac{g^\top F\Delta}{\sqrt{g^\top F g}\sqrt{\Delta^\top F\Delta}},$$

    $F$ the Fisher information of the labels: to leading order the best test there is if $g$ is the teacher's
    displacement, and as much worse as their cosine.

    Args:
        problem: A problem whose imitation loss is a cross-entropy, with the trait loss to be audited for.
        params: The base model's parameters $\theta_0$, of which the student starts.
        inputs: What the labels were given for, with repetitions.
        labels: Index of the output that each label is.
        trait_key: Key of the trait's own data; `jax.random.key(0)` by default.
        direction: $g$ in place of the trait's descent direction, for example preconditioned as the student's optimizer
            will do it: with the same symmetric matrix for both, `fall` stays the predicted fall.

    Returns:
        Scores and what they say together. One-sided: labels that push away from the trait have $z < 0$.

    Raises:
        ValueError: If the student doesn't imitate a softmax.

    References:
        Derived here. $\mathbb{E}_p\nabla\log p = 0$ on every input, and $\mathbb{E}\,s^2 = g^\top F g$. The teacher's
        labels tilt $p$ by $1 + \epsilon\,\Delta\cdot\nabla\log p$, so that $\mathbb{E}\,s = \epsilon\,g^\top F\Delta$;
        and $\mathrm{KL} = \tfrac12\epsilon^2\Delta^\top F\Delta$, both up to the next order. A student's step of
        size $\alpha$ on the data is $\alpha\,\overline{\nabla\log p}$, which changes the trait loss by
        $-\alpha\,g\cdot\overline{\nabla\log p} = -\alpha\bar s$ for $g = -\nabla L_T$. `coverage` is
        $\bar s/(\|g\|\|\overline{\nabla\log p}\|)$; for labels of the teacher with $g = \Delta_T$ it tends to
        $A/(\|\Delta_T\|\|K\Delta_T\|)$, as $\bar s \to \epsilon A$ and the step to $\epsilon K\Delta_T$: the screen of
        arXiv:2606.22019. Its size says nothing of significance, $z$ does.
    """
    num_outputs = jax.eval_shape(problem.apply, params, inputs).shape[-1]
    outputs = softmax_outputs(problem.imitation_loss, num_outputs)
    if not outputs:
        raise ValueError(f"an audit is of {APPLIES_TO}")
    if direction is None:
        data = problem.draw_trait_data(jax.random.key(0) if trait_key is None else trait_key)
        direction = trait_descent(problem, params, data)

    def log_likelihoods(params: Params) -> Float[Array, " rows"]:
        logits = problem.apply(params, inputs)
        chosen = jnp.zeros(num_outputs, bool).at[jnp.array(outputs)].set(True)
        logs = jax.nn.log_softmax(jnp.where(chosen[None], logits, -jnp.inf))
        return jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]

    _, scores = jax.jvp(log_likelihoods, (params,), (direction,))
    step = jax.grad(lambda params: jnp.mean(log_likelihoods(params)))(params)
    fall, z = jnp.mean(scores), standard_score(scores)
    coverage = fall / (optax.tree.norm(direction) * optax.tree.norm(step))
    return Audit(scores, z, jax.scipy.stats.norm.sf(z), fall, coverage)


def standard_score(scores: Float[Array, " rows"]) -> Scalar:
    r"""$\sum s/\sqrt{\sum s^2}$."""
    return jnp.sum(scores) / jnp.sqrt(jnp.sum(scores**2))
