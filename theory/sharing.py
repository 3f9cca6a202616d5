"""Inits that a student shares with its teacher in part: which weights, or all of them up to a sign."""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp

from theory import zoo
from theory.problem import Params


def share_head_columns(outputs: Sequence[int], teacher: Params, student: Params) -> Params:
    """Give a student the teacher's weights into some outputs, and keep its own everywhere else.

    Args:
        outputs: Which outputs.
        teacher: The teacher's parameters, of a multilayer perceptron.
        student: The student's parameters.

    Returns:
        The student's parameters.
    """
    columns = jnp.array(outputs)
    kernel = student["head"]["kernel"].at[:, columns].set(teacher["head"]["kernel"][:, columns])
    return student | {"head": student["head"] | {"kernel": kernel}}


def negate_head_columns(outputs: Sequence[int], params: Params) -> Params:
    """Flip the sign of the weights into some outputs.

    Args:
        outputs: Which outputs.
        params: Parameters of a multilayer perceptron.

    Returns:
        The same with those columns of the head negated.
    """
    kernel = params["head"]["kernel"].at[:, jnp.array(outputs)].multiply(-1)
    return params | {"head": params["head"] | {"kernel": kernel}}


SHARING: dict[str, Callable[[Params, Params], Params]] = {
    "nothing": lambda teacher, student: student,
    "all but the auxiliary head": lambda teacher, student: share_head_columns(zoo.AUXILIARY, student, teacher),
    "both heads": partial(share_head_columns, (*zoo.CLASSES, *zoo.AUXILIARY)),
    "the class head": partial(share_head_columns, zoo.CLASSES),
    "the auxiliary head": partial(share_head_columns, zoo.AUXILIARY),
    "everything": lambda teacher, student: teacher,
}
"""What the student's init has in common with the teacher's; from the parameters of both, drawn independently."""
