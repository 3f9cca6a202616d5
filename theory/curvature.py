r"""How small is sufficiently small: the second derivative of the change of the trait loss, and where its decrease ends.

With a shared init the trait loss changes by

$$g(\epsilon) = L_T(\theta^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta^0)
= -\epsilon\,\alpha A + \tfrac12 c\,\epsilon^2 + O(\epsilon^3), \qquad
c = -\alpha\,\Delta_T\cdot\Delta_S''(0) + \alpha^2 (K\Delta_T)^\top H (K\Delta_T),$$

with $H = \nabla^2 L_T$; to second order the decrease ends at $\epsilon^\ast = 2\alpha A/c$ if $c > 0$.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory.losses import ImitationLoss, Outputs, Scalar
from theory.predictions import predicted_displacement, transfer_form
from theory.problem import BatchOutputs, Instance, Params, Problem


class Expansion(NamedTuple):
    r"""Coefficients of $g$ that don't depend on the student's step size $\alpha$, each a number."""

    transfer: Scalar
    r"""$A = \Delta_T^\top K \Delta_T$."""
    bending: Scalar
    r"""$\Delta_T\cdot\Delta_S''(0)$: how the student's displacement bends along the teacher's."""
    climb: Scalar
    r"""$(K\Delta_T)^\top H (K\Delta_T)$: curvature of the trait loss where the student goes."""

    def first_derivative(self, learning_rate: jax.Array) -> jax.Array:
        r"""$g'(0) = -\alpha A$, for a step size $\alpha$ of any shape."""
        return -learning_rate * self.transfer

    def second_derivative(self, learning_rate: jax.Array) -> jax.Array:
        r"""$g''(0) = c$, for a step size $\alpha$ of any shape."""
        return -learning_rate * self.bending + learning_rate**2 * self.climb

    def size(self, learning_rate: jax.Array) -> jax.Array:
        r"""What $|c|$ would be if its two terms didn't cancel, for a step size $\alpha$ of any shape."""
        return jnp.abs(learning_rate * self.bending) + jnp.abs(learning_rate**2 * self.climb)

    def end(self, learning_rate: jax.Array) -> jax.Array:
        r"""Where the decrease ends to second order, $\epsilon^\ast = 2\alpha A/c$; negative where it doesn't."""
        return -2 * self.first_derivative(learning_rate) / self.second_derivative(learning_rate)


def second_derivative_along(function: Callable[[Params], jax.Array], point: Params, direction: Params) -> jax.Array:
    r"""Second derivative $D^2 f(\theta)[v, v]$, by forward mode twice; of the shape of $f$."""

    def slope(point: Params) -> jax.Array:
        return jax.jvp(function, (point,), (direction,))[1]

    return jax.jvp(slope, (point,), (direction,))[1]


def bent_response(
    loss: ImitationLoss,
    outputs: Outputs,
    change: Outputs,
    bend: Outputs,
) -> Outputs:
    r"""Second derivative of the descent direction in the student's outputs, as the labels move.

    $$\frac{d^2}{d\epsilon^2}\big[-\nabla_z L_S(z, y^\epsilon)\big]_{\epsilon=0}
    = M y'' - \frac{\partial^3 L_S}{\partial z\,\partial y^2}[y', y'].$$
    """

    def descent(labels: Outputs) -> Outputs:
        return -jax.grad(loss)(outputs, labels)

    _, response = jax.jvp(descent, (outputs,), (bend,))
    return response + second_derivative_along(descent, outputs, change)


def expand(problem: Problem, instance: Instance, direction: Params) -> Expansion:
    r"""Compute the coefficients of $g$ to second order in closed form for a shared init, without simulating a step.

    $$\Delta_T\cdot\Delta_S''(0) = \mathbb{E}_x\Big[(J\Delta_T)^\top \Big(M\,D^2 f[\Delta_T, \Delta_T] -
    \frac{\partial^3 L_S}{\partial z\,\partial y^2}[J\Delta_T, J\Delta_T]\Big)\Big].$$

    References:
        Derived here. $\Delta_S(\epsilon) = -\mathbb{E}[J^\top \nabla_z L_S(z, y^\epsilon)]$ depends on $\epsilon$ only
        through the labels $y^\epsilon = f_{\theta^0 + \epsilon\Delta_T}$, with $y' = J\Delta_T$ and
        $y'' = D^2 f[\Delta_T, \Delta_T]$; so $\Delta_S'(0) = K\Delta_T$ and $\Delta_S''(0) = \mathbb{E}[J^\top(M y'' -
        \partial_z\partial_y^2 L_S[y', y'])]$. The chain rule on $L_T(\theta^0 + \alpha\Delta_S(\epsilon))$, with
        $\Delta_S(0) = 0$ and $\nabla L_T = -\Delta_T$, gives $g''(0) = -\alpha\Delta_T\cdot\Delta_S''(0) +
        \alpha^2\Delta_S'(0)^\top H\Delta_S'(0)$. Under cross-entropy the expectation is that of the third cumulant of
        $J\Delta_T$ over the teacher's softmax plus its covariance with $y''$.
    """
    shared = instance._replace(student=instance.teacher)

    def outputs_of(params: Params) -> BatchOutputs:
        return problem.apply(params, instance.inputs)

    outputs, change = jax.jvp(outputs_of, (instance.teacher,), (direction,))
    bend = second_derivative_along(outputs_of, instance.teacher, direction)
    bent = jax.vmap(bent_response, in_axes=(None, 0, 0, 0))(problem.imitation_loss, outputs, change, bend)

    def trait(params: Params) -> Scalar:
        return problem.trait_loss(params, instance.trait_data)

    return Expansion(
        transfer=transfer_form(problem, shared, direction, direction),
        bending=jnp.mean(jnp.sum(change * bent, axis=-1)),
        climb=second_derivative_along(trait, instance.teacher, predicted_displacement(problem, shared, direction)),
    )


def surely_falling(share: np.ndarray, sign: np.ndarray) -> np.ndarray:
    r"""Up to which step, relative to $|\epsilon^\ast|$, the trait loss must still be lower, given max $|g'''|$.

    $$g < 0 \text{ for } 0 < \epsilon < \frac{2\,|\epsilon^\ast|}{\operatorname{sign} c + \sqrt{1 + 4t}}, \qquad
    t = \frac{|\epsilon^\ast|}{3|c|} \max |g'''|,$$

    the maximum taken from 0 to that step or further.

    References:
        Derived here. By Taylor's theorem $g = -\epsilon\alpha A + \tfrac12 c\epsilon^2 + \tfrac16 g'''(\xi)\epsilon^3$
        with $0 < \xi < \epsilon$; for $\epsilon = r|\epsilon^\ast|$ this is
        $\epsilon\alpha A\,(-1 + r\operatorname{sign} c + \tau r^2)$ with $|\tau| \le t$, negative below the root of
        $r\operatorname{sign} c + tr^2 = 1$.
    """
    return np.asarray(2 / (sign + np.sqrt(1 + 4 * share)))


def surely_ended(share: np.ndarray) -> np.ndarray:
    r"""At which step the decrease must have ended, relative to $\epsilon^\ast > 0$, given max $|g'''|$.

    $$\epsilon_\text{end} \le \frac{2\,\epsilon^\ast}{1 + \sqrt{1 - 4t}} \le 2\epsilon^\ast
    \quad\text{if } t \le \tfrac14,$$

    the maximum taken from 0 to $2\epsilon^\ast$; infinite for larger $t$, where no end is certain.

    References:
        Derived here, as `surely_falling`: $-1 + r + \tau r^2 \ge 0$ from the first root of $r - tr^2 = 1$ on.
    """
    return np.where(share <= 0.25, 2 / (1 + np.sqrt(np.maximum(1 - 4 * share, 0))), np.inf)
