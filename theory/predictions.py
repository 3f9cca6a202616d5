r"""Closed-form predictions, matrix-free: every one is a value of the same bilinear form in two directions.

With $J_S$, $J_T$ the Jacobians of the outputs in the parameters and $M = -\partial^2 L_S / \partial y\,\partial z$,

$$B(v, u) = \mathbb{E}_x\big[(J_S v)^\top M\, (J_T u)\big].$$
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from theory.losses import ImitationLoss, Outputs, Scalar
from theory.problem import BatchOutputs, Inputs, Instance, Params, Problem, as_teacher, inner_product


class OutputChange(NamedTuple):
    """Outputs of a network and how they change along a direction in its parameters."""

    outputs: BatchOutputs
    """The outputs."""
    change: BatchOutputs
    """Jacobian times direction $J u$."""


def output_change(problem: Problem, params: Params, inputs: Inputs, direction: Params) -> OutputChange:
    r"""Outputs and their directional derivative $J(x)\,u$.

    Examples:
        For outputs $\theta^2 x$ the derivative along $u$ is $2\theta u x$:

        >>> from theory import losses, Problem, traits
        >>> square = Problem(
        ...     apply=lambda params, inputs: params**2 * inputs,
        ...     initialize=lambda key: jax.random.normal(key),
        ...     draw_inputs=lambda key: jnp.array([[1.0], [10.0]]),
        ...     imitation_loss=losses.squared_error,
        ...     trait_loss=traits.random_direction,
        ... )
        >>> output_change(square, jnp.array(3.0), jnp.array([[1.0], [10.0]]), jnp.array(0.5)).change.tolist()
        [[3.0], [30.0]]
    """
    return OutputChange(*jax.jvp(lambda params: problem.apply(params, inputs), (params,), (direction,)))


def label_response(
    loss: ImitationLoss,
    student: Outputs,
    teacher: Outputs,
    change: Outputs,
) -> Outputs:
    r"""How the loss's descent direction in the student's outputs answers a change of the teacher's: $M u$.

    $$M = -\frac{\partial^2 L_S}{\partial y\,\partial z}(z, y).$$

    At $z = y$ and for a twice differentiable loss with its minimum there, $M = \partial^2 L_S/\partial z^2$ is
    symmetric and positive semi-definite.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.

    Examples:
        For squared error $M = 2I$:

        >>> from theory.losses import squared_error
        >>> outputs = jnp.array([0.3, -0.7])
        >>> label_response(squared_error, outputs, outputs, jnp.array([1.0, 2.0])).tolist()
        [2.0, 4.0]
    """
    _, response = jax.jvp(lambda teacher: jax.grad(loss)(student, teacher), (teacher,), (change,))
    return -response


def transfer_form(problem: Problem, instance: Instance, student_direction: Params, teacher_direction: Params) -> Scalar:
    r"""The bilinear form that carries what the teacher learned to the student.

    $$\big(\Delta_S(\epsilon) - \Delta_S(0)\big)\cdot v = \epsilon\,B(v, \Delta_T) + O(\epsilon^2),\qquad
    B(v, u) = \mathbb{E}_x\big[(J_S v)^\top M (J_T u)\big],\quad M \text{ at } (f_{\theta_S^0}, f_{\theta_T^0}).$$

    With a shared initialization $\Delta_S(0) = 0$ and $B(\Delta_T, \Delta_T) = A = \Delta_T^\top K \Delta_T \ge 0$
    (lemma 1). With different ones the form has no sign of its own.

    References:
        Cloud et al. (2025), arXiv:2507.14805, lemma 1, for the shared initialization. For different ones derived here:
        $\Delta_S(\epsilon) = -\mathbb{E}[J_S^\top \nabla_z L_S(f_{\theta_S^0}, y^\epsilon)]$; differentiate in
        $\epsilon$ at 0, where $dy^\epsilon/d\epsilon = J_T\Delta_T$.

    Examples:
        Of a linear network under squared error $A = 2\,\mathbb{E}_x\|x^\top\Delta_T\|^2$, and there is no remainder:

        >>> from theory import losses, Problem, traits
        >>> from theory.problem import Instance, inner_product, student_displacement
        >>> inputs, learned = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0], [0.5]])
        >>> linear = Problem(
        ...     apply=lambda params, inputs: inputs @ params,
        ...     initialize=lambda key: jax.random.normal(key, (2, 1)),
        ...     draw_inputs=lambda key: inputs,
        ...     imitation_loss=losses.squared_error,
        ...     trait_loss=traits.along(lambda key: learned),
        ... )
        >>> init, key = jnp.zeros((2, 1)), jax.random.key(0)
        >>> instance = Instance(teacher=init, student=init, inputs=inputs, trait_data=key, key=key)
        >>> float(transfer_form(linear, instance, learned, learned))
        2.0
        >>> float(inner_product(student_displacement(linear, instance, learned, jnp.array(0.25)), learned))
        0.5
    """
    student = output_change(problem, instance.student, instance.inputs, student_direction)
    teacher = output_change(as_teacher(problem), instance.teacher, instance.inputs, teacher_direction)
    response = jax.vmap(label_response, in_axes=(None, 0, 0, 0))(
        problem.imitation_loss, student.outputs, teacher.outputs, teacher.change
    )
    return jnp.mean(jnp.sum(student.change * response, axis=-1))


def predicted_displacement(problem: Problem, instance: Instance, teacher_direction: Params) -> Params:
    r"""The student's displacement to leading order, $\mathbb{E}_x[J_S^\top M J_T\,u]$; for a shared init this is $K u$.

    The student moves by $\epsilon$ times this, up to $\Delta_S(0)$ and $O(\epsilon^2)$.

    References:
        Cloud et al. (2025), arXiv:2507.14805, appendix C.
    """
    form = jax.grad(transfer_form, argnums=2)
    return form(problem, instance, jax.tree.map(jnp.zeros_like, instance.student), teacher_direction)


class Channels(NamedTuple):
    """The bilinear form split by parameter group: rows are the student's groups, columns the teacher's."""

    forms: Float[Array, "groups groups"]
    r"""$B(P_g v, P_h u)$, $P_g$ keeping one group and clearing the others; sums to $B(v, u)$."""
    sizes: Float[Array, "groups groups"]
    """The same with the size of every product in place of its value: rounding is relative to this."""


def group_names(params: Params) -> list[str]:
    """Name the groups of a tree, as in `hidden.0`: arrays in the same place, as a layer's weights and biases are."""
    return list(dict.fromkeys(leaf_groups(params)))


def leaf_groups(params: Params) -> list[str]:
    """Say which group each array belongs to; one at the top of the tree is a group of its own."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    return [jax.tree_util.keystr(path[:-1] or path, simple=True, separator=".") for path in paths]


def split_by_group(direction: Params) -> Params:
    r"""Split a direction into its parts $P_g v$, each of which moves one group alone: a leading axis `(groups,)`."""
    names, (leaves, tree) = group_names(direction), jax.tree.flatten(direction)
    places = [names.index(group) for group in leaf_groups(direction)]
    parts = [
        jnp.zeros((len(names), *leaf.shape), leaf.dtype).at[place].set(leaf)
        for place, leaf in zip(places, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, parts)


def transfer_channels(
    problem: Problem, instance: Instance, student_direction: Params, teacher_direction: Params
) -> Channels:
    r"""Through which parameters the transfer goes: the bilinear form, summed by parameter group.

    $$B(v, u) = \sum_{g,h} B(P_g v, P_h u),$$

    groups in the order of `group_names`. Row $g$ says what moving the student's group $g$ does, column $h$ what the
    teacher learned in its group $h$. With a shared initialization and $v = u$ the table is a Gram matrix, symmetric and
    positive semi-definite: then every group transfers on its own.

    References:
        Derived here: $J_S v$ is linear in $v$ and $J_T u$ in $u$, and the groups' parts sum to the whole.
    """

    def changes(params: Params, directions: Params) -> tuple[BatchOutputs, Float[Array, "groups batch outputs"]]:
        outputs, push = jax.linearize(lambda params: problem.apply(params, instance.inputs), params)
        return outputs, jax.vmap(push)(directions)

    student, student_changes = changes(instance.student, split_by_group(student_direction))
    teacher, teacher_changes = changes(instance.teacher, split_by_group(teacher_direction))
    respond = jax.vmap(label_response, in_axes=(None, 0, 0, 0))
    respond = jax.vmap(respond, in_axes=(None, None, None, 0))
    responses = respond(problem.imitation_loss, student, teacher, teacher_changes)
    products = student_changes[:, None] * responses[None]
    return Channels(*(jnp.mean(jnp.sum(terms, axis=-1), axis=-1) for terms in (products, jnp.abs(products))))


class Units(NamedTuple):
    """Natural units of step size, which make the same numbers fit any network, trait, loss and scale."""

    teacher_step: Scalar
    """The step at which the teacher's outputs move by 1, or its parameters by as much as they are, to first order."""
    learning_rate: Scalar
    """The rate at which a student moves as far along the displacement as the teacher did, to first order."""
    visible: Bool[Array, ""]
    """Whether imitation sees the trait: $A > 0$ by more than rounding (and NaN is seen)."""


LARGEST_MOVE = 4.0
"""At the teacher's unit step neither outputs nor parameters move farther than this, in units of their own size."""

QUADRATIC = 1e-6
"""A loss is quadratic if it answers a change as large as the outputs with $M$ times it, up to this share."""


def natural_units(problem: Problem, instance: Instance, teacher_direction: Params) -> Units:
    r"""Units of the step sizes $\epsilon$ and $\alpha$.

    $$\epsilon: \min\Big(\frac{\max(1, s)}{\|J\Delta_T\|}, \frac{4\,\|f\|}{\|J\Delta_T\|},
    \frac{4\,\|\theta\|}{\|\Delta_T\|}\Big), \qquad \alpha: \frac{\|\Delta_T\|^2}{A},$$

    norms of outputs as root mean squares. Outputs move by 1, where losses on logits begin to curve. A quadratic loss
    never does: it has no scale of its own, and outputs $f$ larger than 1 move by their own size, $s = \|f\|$ (else
    $s = 0$). Where outputs or parameters are small, a move by 1 would make another network of it: neither moves
    farther than a few times its size, if it has any. A unit is 1 where nothing moves, or where $A$ is not positive.
    """
    outputs, change = output_change(as_teacher(problem), instance.teacher, instance.inputs, teacher_direction)
    loss = problem.imitation_loss
    response = jax.vmap(label_response, in_axes=(None, 0, 0, 0))(loss, outputs, outputs, change)
    size, curvature = jnp.mean(change**2), jnp.mean(jnp.sum(change * response, axis=-1))
    visible = ~(curvature <= 1e3 * jnp.finfo(change.dtype).eps * size)
    norm = inner_product(teacher_direction, teacher_direction)

    def steps_to_double(square: Scalar, move: Scalar) -> Scalar:
        return jnp.where((square > 0) & (move > 0), jnp.sqrt(square / move), jnp.inf)

    by_one, by_outputs = steps_to_double(jnp.ones(()), size), steps_to_double(jnp.mean(outputs**2), size)
    by_params = steps_to_double(inner_product(instance.teacher, instance.teacher), norm)
    answer = -jax.vmap(jax.grad(loss))(outputs, outputs + by_outputs * change)
    expected = by_outputs * response
    quadratic = jnp.linalg.norm(answer - expected) <= QUADRATIC * jnp.linalg.norm(expected)
    by_loss = jnp.where(quadratic, jnp.maximum(by_one, by_outputs), by_one)
    step = jnp.minimum(by_loss, LARGEST_MOVE * jnp.minimum(by_outputs, by_params))
    return Units(jnp.where(jnp.isfinite(step), step, 1.0), jnp.where(visible, norm / curvature, 1.0), visible)
