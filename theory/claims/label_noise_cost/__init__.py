r"""Claim 14: the noise of sampled labels costs trait loss, so that there is a best step size of the student.

A student that shares the teacher's init takes one step of size $\alpha$ on $N$ sampled labels. On average over them

$$\mathbb{E}[\Delta L_T] = -\alpha\epsilon A
+ \tfrac12\alpha^2\big[\epsilon^2 (K\Delta_T)^\top H (K\Delta_T) + \tfrac1N\mathrm{tr}(HK)\big] + \ldots,
\qquad H = \nabla^2 L_T.$$

Where the bracket $Q$ is positive, $\alpha^* = \epsilon A/Q$ is the best step size,
$\mathbb{E}[\Delta L_T] = (a^2 - 2a)\,\alpha^*\epsilon A/2$ at $\alpha = a\,\alpha^*$, and past $2\alpha^*$ the student
is worse than before, in spite of its teacher.

References:
    Derived here. The step is $\alpha g$, where $g$ has the mean $\epsilon K\Delta_T + O(\epsilon^2)$ and, as the mean
    of $N$ independent $g_{xk} = J^\top(e_k - p)$, the covariance $K/N + O(\epsilon/N)$, for
    $\mathbb{E}_x[J^\top(\mathrm{diag}(p) - pp^\top)J] = K$. Insert both in
    $L_T(\theta + \alpha g) - L_T(\theta) = -\alpha\,\Delta_T\cdot g + \tfrac12\alpha^2 g^\top H g + \ldots$ By the
    same token $\mathrm{tr}(HK) = \mathbb{E}_{x, k \sim p}[g_{xk}^\top H g_{xk}]$: one second derivative a label.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from theory import zoo
from theory.claims.evidence import Claim, Report
from theory.claims.label_noise_cost.verdicts import FACTORS, NUM_LABELS, SIZES, NoiseCost, judge
from theory.curvature import second_derivative_along
from theory.labels import label_losses, log_probabilities, no_labels, sweep_labels
from theory.problem import Params
from theory.predictions import natural_units, predicted_displacement, transfer_form
from theory.problem import Problem, draw_instance, inner_product, trait_descent
from theory.runs.sweeps import Sampling

REPETITIONS = 16
"""Data sets of each instance."""

SIGNAL_TO_NOISE = 0.03
"""Of those data sets: small enough for the quadratic formula to be exact to within every interval used here."""

DEFINITE = 0.5
r"""The trait loss is curved upwards if the mean of $g^\top H g$ over labels is at least this share of its size's."""


def measure(problem: Problem, key: jax.Array, *, labels: Sequence[int], teacher_steps: Sequence[float]) -> NoiseCost:
    """Predict the mean change in closed form, then take the step on every label, and on data sets drawn of them.

    Args:
        problem: A problem whose student imitates a softmax.
        key: Random key of the instance.
        labels: The outputs that it imitates.
        teacher_steps: Not used: the sizes of this claim are its own.

    Returns:
        Both.
    """
    del teacher_steps
    instance = draw_instance(problem, key)
    start, inputs = instance.student, instance.inputs
    direction = trait_descent(problem, start, instance.trait_key)
    units = natural_units(problem, instance, direction)
    curvature = transfer_form(problem, instance, direction, direction)

    def trait(params: Params) -> jax.Array:
        return problem.trait_loss(params, instance.trait_key)

    def change(displacement: Params, learning_rate: jax.Array) -> jax.Array:
        return trait(optax.tree.add_scale(start, learning_rate, displacement)) - trait(start)

    def shares(step: jax.Array) -> jax.Array:
        teacher = optax.tree.add_scale(start, step, direction)
        return jnp.exp(log_probabilities(problem, labels, teacher, inputs)).ravel() / len(inputs)

    losses = jax.jacrev(lambda params: label_losses(problem, labels, params, inputs).ravel())(start)
    singles = optax.tree.scale(-1.0, losses)
    base, slopes = shares(jnp.zeros(())), jax.vmap(inner_product, in_axes=(0, None))(singles, direction)
    bends = jax.vmap(second_derivative_along, in_axes=(None, None, 0))(trait, start, singles)
    climb = second_derivative_along(trait, start, predicted_displacement(problem, instance, direction))
    trace = base @ bends

    def mix(weights: jax.Array) -> Params:
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), singles)

    single_norm = jnp.sqrt(base @ jax.vmap(inner_product)(singles, singles))
    learning_rate = units.teacher_step * optax.tree.norm(direction) / single_norm

    def at_size(size: jax.Array) -> tuple[jax.Array, ...]:
        step, rate = size * units.teacher_step, size * learning_rate
        drawn = shares(step)
        quadratic = rate**2 / 2 * (step**2 * climb + trace)
        exact = drawn @ jax.vmap(change, in_axes=(0, None))(singles, rate)
        return -rate * step * curvature + quadratic, exact, change(mix(drawn), rate)

    predicted, measured, noiseless = jax.lax.map(at_size, jnp.array(SIZES))

    step = SIGNAL_TO_NOISE / jnp.sqrt(curvature * NUM_LABELS)
    best = step * curvature / (step**2 * climb + trace / NUM_LABELS)
    probabilities = shares(step)
    shape = (REPETITIONS, NUM_LABELS)
    cells = jax.random.choice(jax.random.fold_in(key, 0), base.size, shape, p=probabilities)
    weights = jax.vmap(lambda row: jnp.bincount(row, length=base.size) / NUM_LABELS)(cells)

    def at_factors(weights: jax.Array) -> jax.Array:
        displacement, luck = mix(weights), (weights - probabilities) @ slopes
        gains = jax.vmap(lambda factor: change(displacement, factor * best) + factor * best * luck)
        return gains(jnp.array(FACTORS)) / (best * step * curvature / 2)

    return NoiseCost(
        predicted=predicted,
        measured=measured,
        noiseless=noiseless,
        climb=climb,
        trace=trace,
        relative=jax.vmap(at_factors)(weights),
        noiseless_relative=at_factors(probabilities),
        definite=units.visible & (trace > DEFINITE * (base @ jnp.abs(bends))) & (best > 0),
        visible=units.visible,
    )


def verify(problems: Sequence[Problem], sampling: Sampling) -> Report:
    """Check the formula's order for one label, and the best step size for data sets of many.

    Args:
        problems: The cases; the first with a softmax also serves for the controls.
        sampling: Instances.

    Returns:
        The report; `reported` where no problem has labels to sample.
    """
    results = sweep_labels(problems, measure, sampling, NAME)
    return Report(judge(NAME, results) if results else [no_labels(NAME)], results)


def verify_zoo(sampling: Sampling) -> Report:
    """Verify the claim on the reference and its smooth neighbors of its size: it takes a step for every single label.

    Args:
        sampling: Instances.

    Returns:
        The report.
    """
    cases = [problem for problem in zoo.neighborhood(sampling) if problem.name in CASES]
    return verify(cases if sampling.cases == "all" else cases[:1], sampling)


CASES = ("reference", "auxiliary outputs", "GELU", "regression trait")
"""Cases of the zoo on which the claim is verified."""

NAME = "label-noise-cost"
CLAIM = Claim(
    name=NAME,
    statement="label noise costs ½α²tr(HK)/N of trait loss: a best α*, and past 2α* the student is worse than before",
    verify=verify,
    verify_zoo=verify_zoo,
)
