"""The zoo: a reference case, and its neighbors that differ from it in one factor each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory import losses, traits
from theory.problem import Problem, TraitLoss
from theory.runs.sweeps import Sampling

if TYPE_CHECKING:
    from theory.networks import Network


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem by its ingredients; the defaults are the reference case."""

    name: str = "reference"
    """What differs from the reference."""
    network: str = "perceptron"
    """A name in `NETWORKS`."""
    hidden: tuple[int, ...] = (16, 16)
    """Units in each hidden layer of a perceptron; none for a linear model."""
    activation: str = "tanh"
    """A name in `networks.ACTIVATIONS`."""
    loss: str = "cross-entropy"
    """A name in `IMITATION_LOSSES`."""
    imitated: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Outputs that the student imitates; the first three are classes, the last three auxiliary."""
    trait: str = "classification"
    """A name in `TRAITS`; traits with data read the class outputs alone."""
    inputs: str = "Gaussian"
    """A name in `INPUTS`: on what the student imitates."""


NUM_FEATURES, NUM_CLASSES, NUM_OUTPUTS, BATCH = 8, 3, 6, 32
CLASSES = tuple(range(NUM_CLASSES))
AUXILIARY = tuple(range(NUM_CLASSES, NUM_OUTPUTS))

NETWORKS = ("perceptron", "convolution", "attention")
"""Networks of about 500 parameters, by name."""


@cache
def build_network(kind: str, hidden: tuple[int, ...], activation: str) -> "Network":
    """Build a network, the same one for all cases that share it; Flax is imported only now."""
    from theory import networks

    kinds = {
        "perceptron": lambda: networks.mlp((NUM_FEATURES, *hidden, NUM_OUTPUTS), activation),
        "convolution": lambda: networks.convolutional(NUM_FEATURES, 6, NUM_OUTPUTS, activation),
        "attention": lambda: networks.attention(NUM_FEATURES, 8, 2, NUM_OUTPUTS, activation),
    }
    return kinds[kind]()


def waves(key: jax.Array) -> Float[Array, "32 8"]:
    """Draw one period of a sine wave for each input, of random phase: inputs on a circle."""
    phases = jax.random.uniform(key, (BATCH, 1), maxval=2 * jnp.pi)
    return jnp.sin(phases + 2 * jnp.pi * jnp.arange(NUM_FEATURES)[None] / NUM_FEATURES)


INPUTS: dict[str, Callable[[jax.Array], Float[Array, "32 8"]]] = {
    "Gaussian": partial(jax.random.normal, shape=(BATCH, NUM_FEATURES)),
    "uniform": partial(jax.random.uniform, shape=(BATCH, NUM_FEATURES)),
    "structured": waves,
    "constant": lambda key: jnp.ones((BATCH, NUM_FEATURES)),
}
"""Inputs of the imitation, by name; from a random key."""

IMITATION_LOSSES = {
    "cross-entropy": losses.cross_entropy,
    "squared error": losses.squared_error,
    "quartic": losses.quartic,
}
"""Imitation losses by name."""

TRAITS = {
    "classification": traits.classification,
    "regression": traits.regression,
    "preference": traits.preference,
    "mean output": traits.mean_output,
}
"""Traits with data, by name."""

PARAMETER_TRAITS: dict[str, TraitLoss] = {
    "class-head penalty": lambda params, key: traits.weight_penalty(params["head"]["kernel"][:, :NUM_CLASSES], key),
    "mean output bias": lambda params, key: jnp.mean(params["head"]["bias"]),
    "weight penalty": traits.weight_penalty,
    "random direction": traits.random_direction,
}
"""Traits on the parameters themselves, by name."""

REFERENCE = Case()
"""8-16-16-6 tanh network, cross-entropy on all outputs, batch 32, a classification trait."""

NEIGHBORS = (
    Case(name="squared error", loss="squared error"),
    Case(name="auxiliary outputs", imitated=AUXILIARY),
    Case(name="auxiliary, squared error", imitated=AUXILIARY, loss="squared error"),
    Case(name="linear model", hidden=()),
    Case(name="one hidden layer", hidden=(16,)),
    Case(name="three hidden layers", hidden=(16, 16, 16)),
    Case(name="four hidden layers", hidden=(16, 16, 16, 16)),
    Case(name="deep linear model", activation="identity"),
    Case(name="convolution", network="convolution"),
    Case(name="attention", network="attention"),
    Case(name="width 4", hidden=(4, 4)),
    Case(name="width 64", hidden=(64, 64)),
    Case(name="ReLU", activation="relu"),
    Case(name="GELU", activation="gelu"),
    Case(name="sine", activation="sin"),
    Case(name="regression trait", trait="regression"),
    Case(name="preference trait", trait="preference"),
    Case(name="weight-penalty trait", trait="weight penalty"),
    Case(name="random teacher", trait="random direction"),
    Case(name="uniform inputs", inputs="uniform"),
    Case(name="structured inputs", inputs="structured"),
    Case(name="constant inputs", inputs="constant"),
)
"""One factor at a time away from the reference."""


SPREAD = ("reference", "squared error", "convolution")
"""The reference and the neighbors farthest from it, attention left out as it takes as long as all others together."""


def neighborhood(sampling: Sampling) -> list[Problem]:
    """Cases for a claim that needs one program each: the reference and its neighbors, or the first two of `SPREAD`."""
    cases = (REFERENCE, *NEIGHBORS)
    return [build(case) for case in cases if sampling.cases == "all" or case.name in SPREAD[:2]]


def spread(sampling: Sampling) -> list[Problem]:
    """Cases for a claim that needs several programs each: those of `SPREAD`, or the reference alone."""
    cases = (REFERENCE, *NEIGHBORS)
    return [build(case) for case in cases if case.name in (SPREAD if sampling.cases == "all" else SPREAD[:1])]


@cache
def build(case: Case) -> Problem:
    """Put a case together."""
    network = build_network(case.network, case.hidden, case.activation)
    if case.trait in TRAITS:
        trait: dict[str, Any] = TRAITS[case.trait](network.apply, NUM_FEATURES, NUM_CLASSES)._asdict()
    else:
        trait = {"trait_loss": PARAMETER_TRAITS[case.trait]}
    return Problem(
        name=case.name,
        apply=network.apply,
        initialize=network.initialize,
        draw_inputs=INPUTS[case.inputs],
        imitation_loss=losses.on_outputs(IMITATION_LOSSES[case.loss], case.imitated),
        **trait,
    )


def variant(name: str, case: Case = REFERENCE, **changes: Any) -> Problem:
    """Build a case with some ingredients changed."""
    return build(replace(case, name=name, **changes))
