"""Networks of Flax, Equinox and Haiku: the examples in the README hold, and what is easily forgotten is refused."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

import theory
from theory import Problem, Sampling, losses, verify
from theory.requirements import check_problems

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import equinox
    import haiku

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(theory.__file__).parent / "README.md").read_text(), re.S)
LIBRARIES = {re.findall(r"(linen|nnx|equinox|haiku)", script)[0]: script for script in EXAMPLES[1:]}
"""The examples by library; before them stands that of a claim."""


def problem_of(name: str, initialize: Callable[..., Any], apply: Callable[..., jax.Array]) -> Problem:
    return Problem(
        name=name,
        initialize=initialize,
        apply=apply,
        draw_inputs=lambda key: jax.random.uniform(key, (32, 8)),
        imitation_loss=losses.squared_error,
        trait_loss=lambda params, key: -apply(params, jnp.ones((1, 8)))[0, 0],
    )


def written_as(name: str, script: str) -> Problem:
    names: dict[str, Any] = {"jax": jax, "jnp": jnp}
    exec(script, names)
    return problem_of(name, names["initialize"], names["apply"])


def test_network_of_each_library_is_verified_as_the_readme_writes_it(few: Sampling):
    assert list(LIBRARIES) == ["linen", "nnx", "equinox", "haiku"]
    problems = [written_as(name, script) for name, script in LIBRARIES.items()]
    outcome = verify(*problems, claims=["alignment", "trait-loss"], sampling=few)
    assert {verdict.outcome for verdict in outcome.verdicts} == {"holds"}
    for name in LIBRARIES:
        assert outcome.results[f"alignment/{name}/visible"].all()


def test_flax_network_without_state_is_taken_by_the_same_lines():
    script = LIBRARIES["nnx"].replace("norm, nnx.tanh", "nnx.tanh")
    assert script != LIBRARIES["nnx"]
    check_problems([written_as("nnx", script)])


def linen_with_state() -> dict[str, Any]:
    model = linen.Sequential([linen.Dense(4, param_dtype=float), linen.BatchNorm(use_running_average=True)])
    drawn = model.init(jax.random.key(0), jnp.ones((1, 8)))
    return {
        "initialize": lambda key: model.init(key, jnp.ones((1, 8)))["params"],
        "apply": lambda params, inputs: model.apply({**drawn, "params": params}, inputs),
    }


def equinox_with_state() -> dict[str, Any]:
    def build(key: jax.Array) -> Any:
        layers = [equinox.nn.Linear(8, 4, key=key), equinox.nn.BatchNorm(4, "batch", mode="ema")]
        return equinox.nn.inference_mode(equinox.nn.Sequential(layers))

    drawn, state = equinox.nn.make_with_state(build)(jax.random.key(0))
    _, static = equinox.partition(drawn, equinox.is_inexact_array)

    def apply(params: Any, inputs: jax.Array) -> jax.Array:
        model = equinox.combine(params, static)
        return jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(inputs, state)[0]

    return {
        "initialize": lambda key: equinox.filter(equinox.nn.make_with_state(build)(key)[0], equinox.is_inexact_array),
        "apply": apply,
    }


def haiku_with_state() -> dict[str, Any]:
    def forward(inputs: jax.Array, is_training: bool) -> jax.Array:
        return haiku.BatchNorm(True, True, 0.9)(haiku.Linear(4)(inputs), is_training)

    network = haiku.without_apply_rng(haiku.transform_with_state(forward))
    _, state = network.init(jax.random.key(0), jnp.ones((1, 8)), is_training=True)
    return {
        "initialize": lambda key: network.init(key, jnp.ones((1, 8)), is_training=True)[0],
        "apply": lambda params, inputs: network.apply(params, state, inputs, is_training=False)[0],
    }


@pytest.mark.parametrize("build", [linen_with_state, equinox_with_state, haiku_with_state])
def test_network_with_state_that_is_kept_apart_is_taken(build):
    check_problems([problem_of("mine", **build())])


def refused(problem: Problem, **changes: Any) -> str:
    with pytest.raises(ValueError, match=r"\Amine: .+\Z") as error:
        verify(replace(problem, name="mine", **changes))
    return str(error.value)


@pytest.fixture(scope="module")
def plain() -> Problem:
    """The README's Haiku network."""
    return written_as("haiku", LIBRARIES["haiku"])


def test_flax_dropout_that_is_on_is_refused(plain):
    model = linen.Sequential([linen.Dense(4), linen.Dropout(0.5, deterministic=False)])
    init = {"initialize": lambda key: model.init({"params": key, "dropout": key}, jnp.ones((1, 8)))}
    message = refused(plain, apply=model.apply, **init)
    assert 'raised InvalidRngError: layers_1 needs PRNG for "dropout"' in message
    assert message.endswith("so switch dropout off")


def test_flax_state_that_comes_out_beside_the_outputs_is_refused(plain):
    model = linen.BatchNorm(use_running_average=False)
    message = refused(
        plain,
        apply=lambda params, inputs: model.apply(params, inputs, mutable=["batch_stats"]),
        initialize=lambda key: model.init(key, jax.random.normal(key, (1, 8))),
    )
    assert "apply gives a tuple for inputs (32, 8), but must give the outputs alone: write apply(...)[0]" in message


def test_flax_streams_of_random_numbers_among_the_parameters_are_refused_by_their_path(plain):
    message = refused(plain, initialize=lambda key: nnx.state(nnx.Dropout(0.5, rngs=nnx.Rngs(key))))
    assert "initialize gives at ['rngs']['count'].value uint32, not floating point" in message


def test_equinox_module_as_it_is_is_refused_by_the_path_of_what_is_no_array(plain):
    message = refused(plain, initialize=lambda key: equinox.nn.MLP(8, 4, 16, 1, key=key))
    assert "initialize gives at .activation no array but" in message


def test_equinox_module_that_takes_one_input_is_to_be_mapped(plain):
    message = refused(
        plain,
        initialize=lambda key: equinox.nn.Linear(8, 4, key=key),
        apply=lambda model, inputs: model(inputs),
    )
    assert message.endswith("it takes one input, write jax.vmap(apply, (None, 0))")


def test_haiku_network_that_wants_a_key_is_refused(plain):
    network = haiku.transform(lambda inputs: haiku.dropout(haiku.next_rng_key(), 0.5, haiku.Linear(4)(inputs)))
    message = refused(plain, apply=network.apply)
    assert "apply takes (params, rng, inputs), but is called as apply(params, inputs)" in message
