"""Labels drawn from a softmax, as a language model's tokens are: their probabilities, losses and steps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory import zoo
from theory.claim import Cases
from theory.experiments import experiment
from theory.losses import Scalar, softmax_outputs
from theory.problem import Inputs, Params, Problem
from theory.runs.programs import Experiment
from theory.runs.sweeps import Sampling

CERTAIN = 1e3
"""A logit so far above the others that its softmax is exactly one-hot."""

APPLIES_TO = "problems with labels to draw (those that imitate by losses.cross_entropy)"
"""Of what the claims about labels speak."""


def softmax_labels(problem: Problem) -> tuple[int, ...]:
    """Which of a problem's outputs are labels, because the student imitates their softmax by cross-entropy."""
    key = jax.random.key(0)
    outputs = jax.eval_shape(lambda: problem.apply(problem.initialize(key), problem.draw_inputs(key)))
    return softmax_outputs(problem.imitation_loss, outputs.shape[-1])


def softmax_spread(sampling: Sampling) -> list[Problem]:
    """Build cases of the zoo whose student imitates a softmax: the reference, and others unless few are wanted."""
    names = ("reference", "auxiliary outputs", "ReLU", "convolution", "attention")
    cases = (zoo.REFERENCE, *zoo.NEIGHBORS)
    return [zoo.build(case) for case in cases if case.name in (names if sampling.cases == "all" else names[:1])]


def softmax_networks(sampling: Sampling) -> list[Problem]:
    """Those of these cases that are other networks and compile soon, for claims that need several programs each."""
    return [problem for problem in softmax_spread(sampling) if problem.name in ("reference", "ReLU", "convolution")]


def measure_labels(
    measure: Callable[..., Any], takes: Callable[[Sampling], dict[str, Any]] = lambda sampling: {}, **options: Any
) -> Cases:
    """Measure all problems that have labels alike, a case each; `measure` is told the labels."""

    def cases(problems: Sequence[Problem], sampling: Sampling) -> dict[str, Experiment]:
        keywords = takes(sampling)
        chosen = ((problem, softmax_labels(problem)) for problem in problems)
        return {
            problem.name: experiment(problem, measure, labels=labels, **options, **keywords)
            for problem, labels in chosen
            if labels
        }

    return cases


def log_probabilities(
    problem: Problem, outputs: Sequence[int], params: Params, inputs: Inputs
) -> Float[Array, "batch labels"]:
    """Compute each label's log-probability on every input."""
    return jax.nn.log_softmax(problem.apply(params, inputs)[:, jnp.array(outputs)])


def nats_a_label(base: Float[Array, "batch labels"], teacher: Float[Array, "batch labels"]) -> Scalar:
    r"""Mean divergence of the teacher's labels from the base model's, $\mathrm{KL}$, accurate for small ones too."""
    ratio = teacher - base
    return jnp.mean(jnp.sum(jnp.exp(base) * (ratio * jnp.exp(ratio) - jnp.expm1(ratio)), axis=-1))


def label_losses(
    problem: Problem, outputs: Sequence[int], params: Params, inputs: Inputs
) -> Float[Array, "batch labels"]:
    r"""Compute the imitation loss of every input with every label, of which the teacher is certain: $-\log p_k(x)$."""
    logits = problem.apply(params, inputs)
    certain = CERTAIN * jnp.eye(logits.shape[-1])[jnp.array(outputs)]
    of_every_label = jax.vmap(problem.imitation_loss, in_axes=(None, 0))
    return jax.vmap(of_every_label, in_axes=(0, None))(logits, certain)


def label_alignments(
    problem: Problem, outputs: Sequence[int], params: Params, inputs: Inputs, direction: Params
) -> Float[Array, "batch labels"]:
    r"""Inner products of a direction with the student's step on each single label, $J^\top(e_k - p)\cdot v$.

    A step on many labels is the mean of their single steps, so that these numbers and how often each label was drawn
    are all that it takes to know the step's inner product.
    """
    _, slopes = jax.jvp(lambda params: label_losses(problem, outputs, params, inputs), (params,), (direction,))
    return -slopes
