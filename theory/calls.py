"""A problem's functions, called: with what, whether they give the same again, and what is said if they raise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory.problem import Problem, take_key

ARGUMENTS = {
    "initialize": ("key",),
    "draw_inputs": ("key",),
    "apply": ("params", "inputs"),
    "imitation_loss": ("student", "teacher"),
    "draw_trait_data": ("key",),
    "trait_loss": ("params", "key"),
    "teacher_apply": ("params", "inputs"),
}
"""What each function of a problem is called with; a trait loss with its data, if they are drawn beforehand."""

GETS = {
    "initialize": "it gets a random key alone",
    "draw_inputs": "it gets a random key alone",
    "apply": "it gets the parameters and a batch of inputs alone, so switch dropout off",
    "imitation_loss": "it gets the student's and the teacher's outputs for one example, each (outputs,)",
    "draw_trait_data": "it gets a random key alone, and gives arrays",
    "trait_loss": "it gets the parameters and a random key alone, or in its place what draw_trait_data gives",
    "teacher_apply": "it gets the parameters and a batch of inputs alone, as apply does",
}
"""The same in words."""

LONGEST = 200
"""Characters that are shown of a message from elsewhere."""

ROUNDING = 1e-6
"""Calls whose results differ by no more than this, relative to the largest entry, agree."""


def arguments_of(problem: Problem, name: str) -> tuple[str, ...]:
    """What a function of this problem is called with."""
    drawn_beforehand = name == "trait_loss" and problem.draw_trait_data is not take_key
    return ("params", "data") if drawn_beforehand else ARGUMENTS[name]


def call_of(problem: Problem, name: str) -> str:
    """The same as one writes it."""
    return f"{name}({', '.join(arguments_of(problem, name))})"


def shape_of(problem: Problem, name: str, *arguments: Any, otherwise: dict[str, tuple[Any, ...]] | None = None) -> Any:
    """Shape and type of what a function gives; if it raises, the remedy whose arguments it would have taken."""
    function = getattr(problem, name)
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:
        remedies = [remedy for remedy, others in (otherwise or {}).items() if takes(function, others)]
        raise ValueError(raised(problem, name, error, *remedies)) from error


def takes(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Whether a function can be called with these arguments."""
    try:
        jax.eval_shape(function, *arguments)
    except Exception:
        return False
    return True


def called(problem: Problem, name: str, *arguments: Any) -> Any:
    """What a function gives."""
    try:
        return getattr(problem, name)(*arguments)
    except Exception as error:
        raise ValueError(raised(problem, name, error)) from error


def call_twice(problem: Problem, name: str, *arguments: Any) -> Any:
    """What a function gives, which must be the same once more."""
    given = called(problem, name, *arguments)
    check_agreement(problem, name, given, called(problem, name, *arguments))
    return given


def check_agreement(problem: Problem, name: str, first: Any, second: Any) -> None:
    """Refuse a function that doesn't repeat itself."""
    if not agree(first, second):
        drawn = "key" in arguments_of(problem, name)
        remedy = "draw by jax.random from its key" if drawn else "it must not draw anything"
        raise ValueError(f"{name} gives something else when called again with the same arguments: {remedy}")


def agree(left: Any, right: Any, rounding: float = ROUNDING) -> bool:
    """Whether two trees are the same to rounding."""

    def near(one: np.ndarray, other: np.ndarray) -> bool:
        scale = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
        return one.shape == other.shape and np.allclose(one, other, rounding, rounding * scale, equal_nan=True)

    trees = [list(map(numbers_of, jax.tree.leaves(tree))) for tree in (left, right)]
    return len(trees[0]) == len(trees[1]) and all(map(near, *trees))


def numbers_of(leaf: Any) -> np.ndarray:
    """A leaf's numbers, or those that a random key is made of."""
    is_key = jnp.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def raised(problem: Problem, name: str, error: Exception, remedy: str = "", *_: str) -> str:
    """Say that a function raised, and what to do."""
    if not remedy:
        untraceable = isinstance(error, jax.errors.JAXTypeError)
        remedy = "JAX traces it, so use jax.numpy and jax.random in it" if untraceable else GETS[name]
    return f"{call_of(problem, name)} raised {said(error)}; {remedy}"


def said(error: Exception) -> str:
    """An error's kind and the first line of its message."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])[:LONGEST]
