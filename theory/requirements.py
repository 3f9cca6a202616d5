"""What verify is given, tried before anything runs: what each function takes and gives, and draws from its key."""

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from theory.calls import (
    ARGUMENTS,
    GETS,
    agree,
    arguments_of,
    call_of,
    call_twice,
    called,
    check_agreement,
    said,
    shape_of,
)
from theory.predictions import transfer_form
from theory.problem import Problem, draw_instance, student_displacement, trait_descent

TEACHER_NAMES, STUDENT_NAMES = ("teacher", "target", "label", "true", "y_true"), ("student", "pred", "logit", "y_pred")
"""How people begin the names of an imitation loss's arguments."""


def check_problems(problems: Sequence[Problem]) -> None:
    """Refuse what can't be verified, in one line that says what to write."""
    if not problems:
        raise ValueError("verify needs at least one problem")
    for problem in problems:
        if not isinstance(problem, Problem):
            write = "verify(*problems)" if isinstance(problem, list | tuple) else "verify(problem, claims=[...])"
            kind = type(problem).__name__
            raise ValueError(f"verify takes each theory.Problem as an argument of its own, not {kind}: write {write}")
        check_name(problem.name)
    names = [problem.name for problem in problems]
    if len(set(names)) < len(names):
        raise ValueError(f"problems need different names, not {names}")
    for problem in problems:
        check_problem(problem)


def check_name(name: object) -> None:
    """Refuse a name that tables and arrays can't have."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or "/" in name or "control:" in name:
        raise ValueError(f"a problem's name must be a line of text without / and 'control:', not {name!r}")


def check_problem(problem: Problem) -> None:
    """Try a problem's functions one after the other, each on what the one before it gave."""
    try:
        for name in ARGUMENTS:
            if name != "teacher_apply" or problem.teacher_apply is not None:
                check_signature(problem, name)
        key = jax.random.key(0)
        params, inputs = check_params(problem, key), check_inputs(problem, key)
        outputs = check_outputs(problem, params, inputs)
        if problem.teacher_apply is not None:
            labels = shape_of(problem, "teacher_apply", params, inputs)
            if described(labels) != described(outputs):
                raise ValueError(f"teacher_apply gives {described(labels)}, but apply {described(outputs)}")
        example = jax.ShapeDtypeStruct(outputs.shape[1:], outputs.dtype)
        check_scalar(
            "imitation_loss", shape_of(problem, "imitation_loss", example, example), "jnp.sum(...) over outputs"
        )
        check_trait(problem, params, key)
        labels = call_twice(problem, "apply", params, inputs)
        call_twice(problem, "imitation_loss", labels[0], labels[0])
        if problem.teacher_apply is not None:
            call_twice(problem, "teacher_apply", params, inputs)
        check_instances(problem, key)
    except ValueError as error:
        raise ValueError(f"{problem.name}: {error}") from error


def check_signature(problem: Problem, name: str) -> None:
    """Refuse what can't be called, or not with these arguments."""
    function, expected, call = getattr(problem, name), arguments_of(problem, name), call_of(problem, name)
    if not callable(function):
        raise ValueError(f"{name} must be a function, {call}, not {shortened(repr(function))}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    signature = inspect.Signature(plain)
    try:
        bound = list(signature.bind(*expected).arguments)
    except TypeError as error:
        raise ValueError(f"{name} takes {signature}, but is called as {call}: {GETS[name]}") from error
    if name == "imitation_loss" and bound[0].startswith(TEACHER_NAMES) and bound[-1].startswith(STUDENT_NAMES):
        raise ValueError(f"{name} takes {signature}, but is called as {call}: swap its arguments")


def check_params(problem: Problem, key: jax.Array) -> Any:
    """Refuse parameters that aren't floating-point arrays drawn from the key."""
    params = called(problem, "initialize", key)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("initialize gives no parameters")
    for path, leaf in leaves:
        where = f"initialize gives at {jax.tree_util.keystr(path) or 'its root'}"
        if not hasattr(leaf, "dtype") and not isinstance(leaf, float | int | complex):
            raise ValueError(f"{where} no array but {shortened(repr(leaf))}: keep it out of the parameters")
        kind = getattr(leaf, "dtype", type(leaf))
        if not jnp.issubdtype(kind, jnp.floating):
            kind = getattr(kind, "__name__", kind)
            raise ValueError(f"{where} {kind}, not floating point: keep it out of the parameters, or make it a float")
    check_agreement(problem, "initialize", params, called(problem, "initialize", key))
    shape_of(problem, "initialize", key)
    return params


def check_inputs(problem: Problem, key: jax.Array) -> jax.Array:
    """Refuse inputs that aren't a batch."""
    shape = shape_of(problem, "draw_inputs", key)
    if not hasattr(shape, "shape") or not shape.shape or not shape.shape[0]:
        raise ValueError(f"draw_inputs must give one array (batch, …), not {described(shape)}")
    return call_twice(problem, "draw_inputs", key)


def check_outputs(problem: Problem, params: Any, inputs: jax.Array) -> Any:
    """Refuse outputs that aren't `(batch, outputs)`; their shape and type."""
    otherwise = {
        "its arguments are swapped, write apply(params, inputs)": (inputs, params),
        "it takes one input, write jax.vmap(apply, (None, 0))": (params, inputs[0]),
    }
    outputs = shape_of(problem, "apply", params, inputs, otherwise=otherwise)
    batch, gives = len(inputs), f"apply gives {described(outputs)} for inputs {inputs.shape}"
    if not hasattr(outputs, "shape"):
        raise ValueError(f"{gives}, but must give the outputs alone: write apply(...)[0] if they come first")
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(f"{gives}, but outputs must be floating point")
    if outputs.ndim == 2 and outputs.shape[0] == batch and outputs.shape[1]:
        return outputs
    if outputs.shape == (batch,) and inputs.ndim > 1:
        remedy = "add an axis, as in outputs[:, None]"
    elif outputs.ndim > 2 and outputs.shape[0] == batch:
        remedy = "flatten the others, as in outputs.reshape(len(inputs), -1)"
    elif inputs.ndim == 1:
        remedy = "draw_inputs must give a batch, (batch, …), as in inputs[None]"
    else:
        remedy = "the first axis is the inputs'"
    raise ValueError(f"{gives}, but outputs must be (batch, outputs): {remedy}")


def check_trait(problem: Problem, params: Any, key: jax.Array) -> None:
    """Refuse data of the trait that aren't arrays drawn from the key, and a trait loss that makes no scalar of them."""
    shape_of(problem, "draw_trait_data", key)
    data = call_twice(problem, "draw_trait_data", key)
    otherwise = {
        f"its arguments are swapped, write {call_of(problem, 'trait_loss')}": (data, params),
        "it takes a random key, so draw_trait_data must be take_key, as by default": (params, key),
    }
    check_scalar("trait_loss", shape_of(problem, "trait_loss", params, data, otherwise=otherwise), "jnp.mean(...)")
    call_twice(problem, "trait_loss", params, data)


def check_scalar(name: str, given: Any, write: str) -> None:
    """Refuse a loss that isn't one floating-point number."""
    if getattr(given, "shape", None) != () or not jnp.issubdtype(given.dtype, jnp.floating):
        raise ValueError(
            f"{name} must give a floating-point scalar, not {described(given)}: write {write}; {GETS[name]}"
        )


def check_instances(problem: Problem, key: jax.Array) -> None:
    """Refuse instances that are one, and what JAX can't map over instances or differentiate."""
    keys = [jax.random.fold_in(key, index) for index in range(2)]
    one, other = (draw_instance(problem, key, shared=False) for key in keys)
    if any(agree(one.teacher, init, rounding=0.0) for init in (other.teacher, one.student)):
        raise ValueError("initialize gives the same for every key, but instances and controls need other inits")

    def take_steps(key: jax.Array) -> Any:
        instance = draw_instance(problem, key)
        direction = trait_descent(problem, instance.teacher, instance.trait_data)
        displacement = student_displacement(problem, instance, direction, jnp.ones(()))
        return displacement, transfer_form(problem, instance, direction, direction)

    try:
        jax.eval_shape(jax.vmap(take_steps), jnp.stack(keys))
    except Exception as error:
        raise ValueError(f"its functions can't be mapped over instances or differentiated: {said(error)}") from error


def shortened(text: str) -> str:
    """A representation on one line, its end left out if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def described(given: Any) -> str:
    """An array's type and shape, or the kind of what is none."""
    return f"{given.dtype}{list(given.shape)}" if hasattr(given, "shape") else f"a {type(given).__name__}"
