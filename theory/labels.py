"""Labels drawn from a softmax, as a language model's tokens are: their probabilities, losses and steps."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory import zoo
from theory.claim import Cases
from theory.problem import Params, Problem, draw_instance
from theory.runs.sweeps import Sampling

CERTAIN = 1e3
"""A logit so far above the others that its softmax is exactly one-hot."""

ROUNDING = 1e-10
"""A descent direction this close to a difference of softmaxes is one."""

APPLIES_TO = "problems with labels to draw (those with a cross-entropy of logits)"
"""Of what the claims about labels speak."""


def softmax_outputs(problem: Problem) -> tuple[int, ...]:
    r"""Find the outputs that are labels: those whose softmax the student imitates by cross-entropy.

    A loss is a cross-entropy on the outputs $C$, up to terms that the student doesn't feel, if
    $-\nabla_z L_S(z, y) = \mathrm{softmax}(y_C) - \mathrm{softmax}(z_C)$ on $C$ and 0 elsewhere.

    Args:
        problem: The problem.

    Returns:
        Indices of the outputs; none where the loss is another one, for then there is no label to sample.
    """
    from scipy import special

    def outputs(key: jax.Array) -> jax.Array:
        instance = draw_instance(problem, key)
        return problem.apply(instance.teacher, instance.inputs)

    num_outputs = jax.eval_shape(outputs, jax.random.key(0)).shape[-1]
    student, teacher = np.random.default_rng(0).normal(size=(2, num_outputs))
    gradient = jax.jit(jax.grad(problem.imitation_loss))
    descent = -np.asarray(gradient(student, teacher))
    chosen = np.flatnonzero(descent)
    if chosen.size == 0:
        return ()
    expected = special.softmax(teacher[chosen]) - special.softmax(student[chosen])
    is_softmax = np.allclose(descent[chosen], expected, rtol=0, atol=ROUNDING)
    return tuple(map(int, chosen)) if is_softmax else ()


def softmax_spread(sampling: Sampling) -> list[Problem]:
    """Build cases of the zoo whose student imitates a softmax.

    Args:
        sampling: Says whether all cases are wanted, or few.

    Returns:
        The reference, and other networks, outputs and activations; or the reference alone.
    """
    names = ("reference", "auxiliary outputs", "ReLU", "convolution", "attention")
    cases = (zoo.REFERENCE, *zoo.NEIGHBORS)
    return [zoo.build(case) for case in cases if case.name in (names if sampling.cases == "all" else names[:1])]


def measure_labels(
    measure: Callable[..., Any], takes: Callable[[Sampling], dict[str, Any]] = lambda sampling: {}
) -> Cases:
    """Measure the problems that have labels alike.

    Args:
        measure: From a problem, a random key, its labels and keywords to a named tuple of arrays.
        takes: Which keywords, given the sampling.

    Returns:
        The cases: one for each problem whose student imitates a softmax.
    """

    def cases(problems: Sequence[Problem], sampling: Sampling) -> dict[str, Callable[[Any], Any]]:
        keywords = takes(sampling)
        chosen = ((problem, softmax_outputs(problem)) for problem in problems)
        return {
            problem.name: partial(measure, problem, labels=labels, **keywords) for problem, labels in chosen if labels
        }

    return cases


def log_probabilities(problem: Problem, outputs: Sequence[int], params: Params, inputs: jax.Array) -> jax.Array:
    """Compute each label's log-probability on every input.

    Args:
        problem: The problem.
        outputs: Which outputs are labels.
        params: Parameters.
        inputs: Shape `(batch, …)`.

    Returns:
        Shape `(batch, labels)`, in nats.
    """
    return jax.nn.log_softmax(problem.apply(params, inputs)[:, jnp.array(outputs)])


def nats_a_label(base: jax.Array, teacher: jax.Array) -> jax.Array:
    r"""Divergence of the teacher's labels from the base model's, $\mathrm{KL}$, accurate for small ones too.

    Args:
        base: Log-probabilities of the base model, shape `(batch, labels)`.
        teacher: Those of the teacher, same shape.

    Returns:
        Mean over inputs, in nats a label, shape `()`.
    """
    ratio = teacher - base
    return jnp.mean(jnp.sum(jnp.exp(base) * (ratio * jnp.exp(ratio) - jnp.expm1(ratio)), axis=-1))


def label_losses(problem: Problem, outputs: Sequence[int], params: Params, inputs: jax.Array) -> jax.Array:
    r"""Compute the imitation loss of every input with every label, $-\log p_k(x)$ for a cross-entropy.

    Args:
        problem: The problem.
        outputs: Which outputs are labels.
        params: The student's parameters.
        inputs: Shape `(batch, …)`.

    Returns:
        Shape `(batch, labels)`, in nats: the problem's own loss where the teacher is certain of one label.
    """
    logits = problem.apply(params, inputs)
    certain = CERTAIN * jnp.eye(logits.shape[-1])[jnp.array(outputs)]
    of_every_label = jax.vmap(problem.imitation_loss, in_axes=(None, 0))
    return jax.vmap(of_every_label, in_axes=(0, None))(logits, certain)


def label_alignments(
    problem: Problem, outputs: Sequence[int], params: Params, inputs: jax.Array, direction: Params
) -> jax.Array:
    r"""Inner products of a direction with the student's step on each single label, $J^\top(e_k - p)\cdot v$.

    A step on many labels is the mean of their single steps, so that these numbers and how often each label was drawn
    are all that it takes to know the step's inner product.

    Args:
        problem: The problem.
        outputs: Which outputs are labels.
        params: The student's parameters.
        inputs: Shape `(batch, …)`.
        direction: $v$, a tree like `params`.

    Returns:
        Shape `(batch, labels)`.
    """
    _, slopes = jax.jvp(lambda params: label_losses(problem, outputs, params, inputs), (params,), (direction,))
    return -slopes
