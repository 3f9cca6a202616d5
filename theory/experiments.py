"""An experiment: what is measured of random instances of a problem, and how they are drawn."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax

from theory.problem import Instance, Problem, draw_instance, take_key
from theory.runs.programs import Experiment, Run

Measure = Callable[..., Any]
"""A problem, one instance and keywords to a named tuple of arrays."""


def experiment(
    problem: Problem,
    measure: Measure,
    *,
    shared: bool = True,
    key_of: Callable[[jax.Array], jax.Array] | None = None,
    **keywords: Any,
) -> Experiment:
    """Measure random instances of a problem, each drawn by small programs that all experiments with its parts share.

    Args:
        problem: The problem.
        measure: What is measured of an instance: a function of the problem, the instance and the keywords.
        shared: Whether student and teacher start from the same initialization.
        key_of: From an instance's key to that which its initializations, inputs and data are drawn from, where
            `measure` draws more from others; the same by default.
        **keywords: What else `measure` is told.

    Returns:
        The experiment, for `sweep`.
    """
    constant = ignores_key(problem.draw_inputs)
    varying = replace(problem, draw_inputs=take_key) if constant else problem

    def draw(keys: Any, run: Run) -> Instance:
        own = keys if key_of is None else run(key_of, keys)
        drawn = draw_instance(varying, own, shared=shared, run=run)._replace(key=keys)
        return drawn._replace(student=None) if shared else drawn

    def measure_drawn(drawn: Instance) -> Any:
        instance = drawn._replace(student=drawn.teacher) if shared else drawn
        if constant:
            instance = instance._replace(inputs=problem.draw_inputs(drawn.key))
        return measure(problem, instance, **keywords)

    return Experiment(draw, measure_drawn)


def ignores_key(draw: Callable[[jax.Array], Any]) -> bool:
    """Whether a function of a random key makes nothing of it, so that its result is a constant of the program."""
    traced = jax.make_jaxpr(draw)(jax.random.key(0)).jaxpr
    (key,) = traced.invars
    used = [variable for equation in traced.eqns for variable in equation.invars] + list(traced.outvars)
    return not any(variable is key for variable in used)


@cache
def first_key(num_keys: int) -> Callable[[jax.Array], jax.Array]:
    """A function from a key to the first of so many that it is split into, the same one each time."""
    return partial(_first, num_keys=num_keys)


def _first(key: jax.Array, num_keys: int) -> jax.Array:
    return jax.random.split(key, num_keys)[0]
