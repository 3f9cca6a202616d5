"""What is brought to verify: everything that it can't use is refused in one line that says what to write."""

from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from theory import Problem, Sampling, losses, requirements, verify
from theory.requirements import check_problems


def initialize(key: jax.Array) -> Any:
    one, two = jax.random.split(key)
    return {"in": jax.random.normal(one, (8, 5)), "out": jax.random.normal(two, (5, 4))}


def apply(params: Any, inputs: jax.Array) -> jax.Array:
    return jnp.tanh(inputs @ params["in"]) @ params["out"]


def trait(params: Any, key: jax.Array) -> jax.Array:
    return jnp.mean(apply(params, jax.random.normal(key, (3, 8))) ** 2)


def draw_data(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (3, 8))


def trait_of_data(params: Any, data: jax.Array) -> jax.Array:
    return jnp.mean(apply(params, data) ** 2)


YOURS = Problem(
    apply=apply,
    initialize=initialize,
    draw_inputs=partial(jax.random.normal, shape=(32, 8)),
    imitation_loss=losses.squared_error,
    trait_loss=trait,
)


DRAWN = {"draw_trait_data": draw_data, "trait_loss": trait_of_data}
"""The same trait, its data drawn beforehand."""


UNSEEDED = np.random.default_rng()
"""What JAX's keys don't reach."""


def refused(*problems: Any, **arguments: Any) -> str:
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        verify(*problems, **arguments)
    return str(error.value)


def with_leaf(leaf: Any) -> dict[str, Any]:
    """An init with one more leaf."""
    return {"initialize": lambda key: initialize(key) | {"more": [leaf]}}


@jax.custom_vjp
def backwards_only(outputs: jax.Array) -> jax.Array:
    return outputs


backwards_only.defvjp(lambda outputs: (outputs, None), lambda _, slopes: (slopes,))


def fails_inside(params: Any, inputs: jax.Array) -> jax.Array:
    raise KeyError("scale")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apply": 3}, "apply must be a function, apply(params, inputs), not 3"),
        ({"trait_loss": None}, "trait_loss must be a function, trait_loss(params, key), not None"),
        ({"trait_loss": lambda params: 0.0}, "trait_loss takes (params), but is called as trait_loss(params, key)"),
        ({"initialize": lambda: 0.0}, "initialize takes (), but is called as initialize(key): it gets a random key"),
        ({"draw_inputs": lambda: 0.0}, "draw_inputs takes (), but is called as draw_inputs(key)"),
        ({"apply": lambda params, inputs, key: inputs}, "apply takes (params, inputs, key), but is called as apply("),
        (
            {"imitation_loss": lambda both: 0.0},
            "imitation_loss takes (both), but is called as imitation_loss(student, ",
        ),
        (
            {"imitation_loss": lambda teacher, student: losses.cross_entropy(student, teacher)},
            "takes (teacher, student), but is called as imitation_loss(student, teacher): swap its arguments",
        ),
        (
            {"imitation_loss": lambda targets, y_pred: losses.cross_entropy(y_pred, targets)},
            "takes (targets, y_pred), but is called as imitation_loss(student, teacher): swap its arguments",
        ),
        ({"apply": lambda x, p: apply(p, x)}, "its arguments are swapped, write apply(params, inputs)"),
        ({"trait_loss": lambda k, p: trait(p, k)}, "its arguments are swapped, write trait_loss(params, key)"),
        ({"apply": lambda params, x: params["out"].T @ params["in"].T.dot(x)}, "write jax.vmap(apply, (None, 0))"),
        ({"apply": fails_inside}, "apply(params, inputs) raised KeyError: 'scale'; it gets the parameters and a batch"),
        ({"apply": lambda params, inputs: np.tanh(inputs @ params["in"])}, "use jax.numpy and jax.random in it"),
        (
            {"apply": lambda params, inputs: (apply(params, inputs), {})},
            "must give the outputs alone: write apply(...)[0]",
        ),
        (
            {"apply": lambda params, inputs: apply(params, inputs)[:, 0]},
            "apply gives float64[32] for inputs (32, 8), but outputs must be (batch, outputs): add an axis, as in",
        ),
        ({"apply": lambda params, inputs: apply(params, inputs)[:, :, None]}, "outputs.reshape(len(inputs), -1)"),
        ({"apply": lambda params, inputs: apply(params, inputs).T}, "the first axis is the inputs'"),
        ({"apply": lambda params, inputs: apply(params, inputs) > 0}, "but outputs must be floating point"),
        ({"apply": lambda params, inputs: apply(params, inputs) + UNSEEDED.normal()}, "it must not draw anything"),
        ({"apply": lambda params, inputs: backwards_only(apply(params, inputs))}, "can't be mapped over instances or"),
        (
            {"draw_inputs": partial(jax.random.normal, shape=(8,))},
            "apply gives float64[4] for inputs (8,), but outputs must be (batch, outputs): draw_inputs must give a",
        ),
        (
            {"draw_inputs": partial(jax.random.normal, shape=())},
            "draw_inputs must give one array (batch, …), not float64[]",
        ),
        (
            {"draw_inputs": lambda key: jnp.ones((0, 8))},
            "draw_inputs must give one array (batch, …), not float64[0, 8]",
        ),
        ({"draw_inputs": lambda key: [jnp.ones((32, 8))]}, "draw_inputs must give one array (batch, …), not a list"),
        (
            {"draw_inputs": lambda key: UNSEEDED.normal(size=(32, 8))},
            "draw_inputs gives something else when called again",
        ),
        ({"imitation_loss": optax.losses.squared_error}, "not float64[4]: write jnp.sum(...) over outputs; it gets"),
        (
            {"imitation_loss": lambda z, y: jnp.mean(jnp.sum((z - y) ** 2, axis=1))},
            "each (outputs,)",
        ),
        (
            {"trait_loss": lambda params, key: apply(params, jnp.ones((1, 8)))[0]},
            "trait_loss must give a floating-point scalar",
        ),
        ({"trait_loss": lambda params, key: (trait(params, key), {})}, "scalar, not a tuple: write jnp.mean(...)"),
        ({"trait_loss": lambda params, key: jnp.sum(params["in"] > 0)}, "floating-point scalar, not int64[]"),
        ({"trait_loss": lambda params, key: trait(params, key) * UNSEEDED.normal()}, "trait_loss gives something else"),
        ({"trait_loss": lambda params, key: float(trait(params, key))}, "raised ConcretizationTypeError"),
        ({"trait_loss": trait_of_data}, "it gets the parameters and a random key alone, or in its place what draw_tr"),
        ({"draw_trait_data": 3}, "draw_trait_data must be a function, draw_trait_data(key), not 3"),
        ({"draw_trait_data": lambda: 0.0}, "draw_trait_data takes (), but is called as draw_trait_data(key): it gets"),
        ({"draw_trait_data": lambda key: ["tanh"]}, "valid JAX type; it gets a random key alone, and gives arrays"),
        ({"draw_trait_data": lambda key: key[0]}, "draw_trait_data(key) raised "),
        (
            {"draw_trait_data": lambda key: UNSEEDED.normal(size=(3, 8))},
            "draw_trait_data gives something else when called again with the same arguments: draw by jax.random from",
        ),
        ({"draw_trait_data": draw_data}, "; it takes a random key, so draw_trait_data must be take_key, as by default"),
        (
            DRAWN | {"trait_loss": lambda params: 0.0},
            "trait_loss takes (params), but is called as trait_loss(params, d",
        ),
        (DRAWN | {"trait_loss": lambda d, p: trait_of_data(p, d)}, "are swapped, write trait_loss(params, data)"),
        (
            DRAWN | {"trait_loss": apply},
            "trait_loss must give a floating-point scalar, not float64[3, 4]: write jnp.mean(...); it gets the param",
        ),
        (
            DRAWN | {"trait_loss": lambda params, data: trait_of_data(params, data) * UNSEEDED.normal()},
            "trait_loss gives something else when called again with the same arguments: it must not draw anything",
        ),
        (
            with_leaf(np.arange(3)),
            "yours: initialize gives at ['more'][0] int64, not floating point: keep it out of",
        ),
        (with_leaf(7), "initialize gives at ['more'][0] int, not floating point"),
        (with_leaf(True), "initialize gives at ['more'][0] bool, not floating point"),
        (with_leaf(1j), "initialize gives at ['more'][0] complex, not floating point"),
        (with_leaf(jax.random.key(0)), "initialize gives at ['more'][0] key<fry>, not floating point"),
        (with_leaf(jnp.tanh), "initialize gives at ['more'][0] no array but"),
        (with_leaf(np.array(["tanh"])), "initialize gives at ['more'][0] <U4, not floating point"),
        (with_leaf("tanh"), "initialize gives at ['more'][0] no array but 'tanh'"),
        ({"initialize": lambda key: {}}, "initialize gives no parameters"),
        ({"initialize": lambda key: jnp.arange(3)}, "initialize gives at its root int64"),
        (
            {"initialize": lambda key: jax.tree.map(jnp.ones_like, initialize(key))},
            "initialize gives the same for every key",
        ),
        (
            {"initialize": lambda key: jax.tree.map(lambda leaf: leaf * UNSEEDED.normal(), initialize(key))},
            "from its key",
        ),
        ({"name": ""}, "a problem's name must be a line of text"),
        ({"name": "a/b"}, "a problem's name must be a line of text"),
        ({"name": 3}, "a problem's name must be a line of text"),
    ],
)
def test_what_is_no_problem_is_refused_and_told_what_to_write(changes, message):
    assert message in refused(replace(YOURS, **changes))


@pytest.mark.parametrize(
    ("problems", "arguments", "message"),
    [
        (([YOURS],), {}, "each theory.Problem as an argument of its own, not list: write verify(*problems)"),
        ((YOURS, "alignment"), {}, "not str: write verify(problem, claims=[...])"),
        ((apply,), {}, "not function: write verify(problem"),
        (
            (YOURS,),
            {"claims": "alignment"},
            "claims must be a list of names, as in claims=[\"alignment\"], not 'alignment'",
        ),
        ((YOURS,), {"claims": [1]}, "claims must be a list of names"),
        ((YOURS,), {"claims": []}, "claims names none: choose from adam, "),
        ((YOURS,), {"sampling": 64}, "sampling must be a theory.Sampling(...), not 64"),
        ((YOURS,), {"output": 3}, "output must be the path of a folder, not 3"),
    ],
)
def test_what_verify_can_not_take_is_refused_and_told_what_to_write(problems, arguments, message):
    assert message in refused(*problems, **arguments)


def test_everything_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(Sampling, "sweep_all", lambda *arguments: pytest.fail("measured"))
    counted = count()
    message = refused(YOURS, replace(YOURS, name="other", draw_inputs=lambda key: jnp.full((32, 8), next(counted))))
    assert message.startswith("other: draw_inputs gives something else")


def test_inputs_and_trait_may_be_the_same_for_every_key():
    check_problems([
        replace(YOURS, draw_inputs=lambda key: jnp.ones((32, 8)), trait_loss=lambda params, key: params["in"][0, 0])
    ])


@pytest.mark.parametrize(
    ("draw", "loss"),
    [
        (draw_data, trait_of_data),
        (lambda key: np.ones((3, 8)), trait_of_data),
        (lambda key: {"inputs": draw_data(key), "labels": jnp.arange(3)}, lambda params, data: data["inputs"][0, 0]),
        (lambda key: (key, None), lambda params, data: trait(params, data[0])),
    ],
    ids=["an array", "the same for every key", "a tree with whole numbers", "a key of its own"],
)
def test_data_of_the_trait_may_be_drawn_beforehand(draw, loss):
    check_problems([replace(YOURS, draw_trait_data=draw, trait_loss=loss)])


def test_leaves_may_be_plain_numbers_and_arrays_of_numpy():
    for leaf in (0.5, np.float64(0.5), np.full(3, 0.5)):
        check_problems([replace(YOURS, **with_leaf(leaf))])


def test_inputs_may_be_whole_numbers_without_further_axes():
    words = replace(
        YOURS, apply=lambda params, inputs: params["in"][inputs] @ params["out"], draw_inputs=lambda key: jnp.arange(5)
    )
    check_problems([words])


def test_every_instance_drawn_alike_is_refused(monkeypatch):
    draw = requirements.draw_instance
    monkeypatch.setattr(
        requirements, "draw_instance", lambda problem, key, **options: draw(problem, jax.random.key(0), **options)
    )
    assert "initialize gives the same for every key" in refused(YOURS)
