r"""A problem: a network, what its teacher learns, what its student imitates; and random instances of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from theory.losses import ImitationLoss, Scalar

Params = Any
"""Any tree of arrays."""

Inputs = Any
"""An array, or a tree of arrays, with leading axis `(batch, …)`."""

BatchOutputs = Float[Array, "batch outputs"]
"""A network's outputs for a batch."""

TraitLoss = Callable[[Params, Any], Scalar]
"""Parameters and the trait's data (unless they are drawn beforehand, a random key) to a scalar."""


def take_key(key: jax.Array) -> jax.Array:
    """Draw nothing yet: a trait loss that draws its own data gets the random key itself."""
    return key


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Everything that the theorem speaks of, as plain functions; bring your own."""

    name: str = "yours"
    """How tables call it."""
    apply: Callable[[Params, Inputs], BatchOutputs]
    """The network: parameters and inputs `(batch, …)` to outputs `(batch, outputs)`."""
    initialize: Callable[[jax.Array], Params]
    """Random key to parameters, any tree of floating-point arrays; another key must give others."""
    draw_inputs: Callable[[jax.Array], Inputs]
    """Random key (which it may ignore) to the inputs on which the student imitates, `(batch, …)`."""
    imitation_loss: ImitationLoss
    """Student's and teacher's outputs for one example, each `(outputs,)`, to a scalar."""
    trait_loss: TraitLoss
    """What the teacher descends: parameters and a random key to a scalar; it may ignore the key."""
    draw_trait_data: Callable[[jax.Array], Any] = take_key
    """Random key to what the trait loss gets in its place: data drawn once, however often the loss is evaluated."""
    teacher_apply: Callable[[Params, Inputs], BatchOutputs] | None = None
    """The teacher's network, if it is another than the student's: as `apply`. Each reads its part of one tree."""


def in_double_precision(problem: Problem) -> Problem:
    """Let a problem start from float64, whatever its own precision: an order is below the rounding of float32.

    What `apply` makes of parameters and inputs in float64 is its own.
    """

    def widen(draw: Callable[[jax.Array], Params]) -> Callable[[jax.Array], Params]:
        def convert(leaf: jax.Array) -> jax.Array:
            return jnp.asarray(leaf, float) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

        return lambda key: jax.tree.map(convert, draw(key))

    names = ("initialize", "draw_inputs", "draw_trait_data")
    return replace(problem, **{name: widen(getattr(problem, name)) for name in names})


def as_teacher(problem: Problem) -> Problem:
    """Put the teacher's network in the place of the student's."""
    return replace(problem, apply=problem.teacher_apply or problem.apply, teacher_apply=None)


class Instance(NamedTuple):
    """One random instance of a problem."""

    teacher: Params
    r"""The teacher's initialization $\theta_T^0$."""
    student: Params
    r"""The student's initialization $\theta_S^0$; the same values where it is shared."""
    inputs: Inputs
    """Inputs of the imitation."""
    trait_data: Any
    """The trait's own data, or the random key from which its loss draws them."""
    key: jax.Array
    """What all of it was drawn from."""


NUM_KEYS = 4
"""Keys of an instance; `fold_in(key, i)` is `split(key, n)[i]`."""


def split_key(key: jax.Array) -> tuple[jax.Array, ...]:
    """The keys of an instance's parts."""
    return tuple(jax.random.split(key, NUM_KEYS))


def call(function: Callable[[jax.Array], Any], key: jax.Array) -> Any:
    """Call a function with a key."""
    return function(key)


def draw_instance(
    problem: Problem, key: Any, *, shared: bool = True, run: Callable[[Callable[..., Any], Any], Any] = call
) -> Instance:
    """Draw initializations, inputs and trait data; nothing but the student's initialization depends on `shared`.

    Each part is what `run` makes of the function that draws it and its key: of many keys, many instances at once.
    """
    teacher_key, student_key, inputs_key, data_key = run(split_key, key)
    teacher = run(problem.initialize, teacher_key)
    student = teacher if shared else run(problem.initialize, student_key)
    inputs, trait_data = run(problem.draw_inputs, inputs_key), run(problem.draw_trait_data, data_key)
    return Instance(teacher, student, inputs, trait_data, key)


def trait_key(key: jax.Array) -> jax.Array:
    """The key of an instance's trait data, the last of its own."""
    return jax.random.fold_in(key, NUM_KEYS - 1)


def own_key(key: jax.Array) -> jax.Array:
    """A key for what is drawn beside an instance, past its own."""
    return jax.random.fold_in(key, NUM_KEYS)


def flatten(problem: Problem, instance: Instance) -> tuple[Problem, Instance]:
    """Write all parameters of a problem without `teacher_apply` as one vector, so that programs are shorter."""
    teacher, restore = ravel_pytree(instance.teacher)
    student, _ = ravel_pytree(instance.student)
    flat = replace(
        problem,
        apply=lambda params, inputs: problem.apply(restore(params), inputs),
        trait_loss=lambda params, data: problem.trait_loss(restore(params), data),
    )
    return flat, instance._replace(teacher=teacher, student=student)


def repeat_inputs(instance: Instance, num_inputs: Int[Array, ""]) -> Instance:
    """Repeat the first inputs in place of all others; their number, a divisor of the batch, may be traced."""
    return instance._replace(inputs=instance.inputs[jnp.arange(len(instance.inputs)) % num_inputs])


def inner_product(left: Params, right: Params) -> Scalar:
    """Inner product of two trees of arrays."""
    return jnp.asarray(optax.tree.vdot(left, right))


def stack_trees(*trees: Params) -> Params:
    """Stack trees of the same shapes along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def trait_descent(problem: Problem, params: Params, trait_data: Any) -> Params:
    r"""Direction $-\nabla L_T(\theta)$ in which the trait loss falls fastest; at $\theta_T^0$ this is $\Delta_T$."""
    return optax.tree.scale(-1.0, jax.grad(problem.trait_loss)(params, trait_data))


def imitation_descent(problem: Problem, params: Params, inputs: Inputs, labels: BatchOutputs) -> Params:
    r"""Direction $\Delta_S = -\nabla_\theta\, \mathbb{E}_x[L_S(f_\theta(x), y(x))]$ of a student's gradient step."""

    def mean_loss(params: Params) -> Scalar:
        return jnp.mean(jax.vmap(problem.imitation_loss)(problem.apply(params, inputs), labels))

    return optax.tree.scale(-1.0, jax.grad(mean_loss)(params))


def student_displacement(problem: Problem, instance: Instance, direction: Params, teacher_step: Scalar) -> Params:
    r"""Simulate the teacher's step and the student's, and return $\Delta_S(\epsilon)$.

    The teacher moves to $\theta_T^\epsilon = \theta_T^0 + \epsilon\,\Delta_T$, labels the inputs, and the student
    descends the imitation loss once from $\theta_S^0$, with a step of size 1.

    References:
        Cloud et al. (2025), arXiv:2507.14805, section 6.1.
    """
    teacher = optax.tree.add_scale(instance.teacher, teacher_step, direction)
    labels = as_teacher(problem).apply(teacher, instance.inputs)
    return imitation_descent(problem, instance.student, instance.inputs, labels)
