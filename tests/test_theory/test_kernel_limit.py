"""Claim 10.3: the limit of the transfer against dense algebra, least squares and draws of a Gaussian process."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling, zoo
from theory.claim import Report
from theory.claims.kernel_limit import CLAIM, NUM_INPUTS, Kernel, explained_share, tangent_kernel
from theory.problem import draw_instance, flatten, trait_descent
from theory.runs.programs import COMPILER_OPTIONS

REFERENCE = zoo.variant("reference", hidden=(16,))
SAMPLING = Sampling(num_seeds=32, cases="few")

seeds = st.integers(0, 2**32 - 1)


@partial(jax.jit, compiler_options=COMPILER_OPTIONS)
def dense(key: jax.Array) -> tuple[Any, ...]:
    """The kernel, and what it takes to make it again: Jacobian, outputs, the teacher's displacement."""
    problem, instance = flatten(REFERENCE, draw_instance(REFERENCE, key))
    inputs = instance.inputs[: max(NUM_INPUTS)]
    direction = trait_descent(problem, instance.teacher, instance.trait_data)
    kernel = tangent_kernel(problem, instance.teacher, inputs, direction)
    jacobian = jax.jacrev(problem.apply)(instance.teacher, inputs)
    return kernel, jacobian, problem.apply(instance.teacher, inputs), direction


def kernel_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares on few inputs, rows that a student sees (logits less their mean), displacement, weighted rows."""
    kernel, jacobian, outputs, direction = jax.device_get(dense(jax.random.key(seed)))
    shares = explained_share(Kernel(*(part[None] for part in kernel)))[0]
    centered = jacobian - jacobian.mean(axis=1, keepdims=True)
    base = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    roots = [np.diag(np.sqrt(p)) - np.outer(np.sqrt(p), p) for p in base]
    weighted = np.stack([root @ rows for root, rows in zip(roots, jacobian, strict=True)])
    return shares, centered, direction, weighted


@given(seed=seeds)
def test_the_share_is_that_of_least_squares_whatever_the_weights(seed):
    shares, centered, direction, weighted = kernel_of(seed)
    for number, share in zip(NUM_INPUTS, shares, strict=True):
        for rows in (centered, weighted):
            seen = rows[:number].reshape(-1, len(direction))
            fitted = seen.T @ np.linalg.lstsq(seen.T, direction, rcond=1e-10)[0]
            assert fitted @ fitted / (direction @ direction) == pytest.approx(share, rel=1e-6)


def test_the_share_is_the_part_of_a_random_networks_trait_that_its_outputs_explain():
    shares, centered, direction, _ = kernel_of(0)
    moves = np.random.default_rng(0).normal(size=(20_000, len(direction)))
    for number, share in zip(NUM_INPUTS, shares, strict=True):
        outputs, trait = moves @ centered[:number].reshape(-1, len(direction)).T, moves @ direction
        left = trait - outputs @ np.linalg.lstsq(outputs, trait, rcond=1e-10)[0]
        assert 1 - left.var() / trait.var() == pytest.approx(share, abs=5 * np.sqrt(4 * share / len(moves)) + 2e-3)


def test_every_further_input_explains_more():
    shares, *_ = kernel_of(1)
    assert np.all(np.diff(shares, prepend=0.0, append=1.0) > 0)


@pytest.fixture(scope="module")
def report() -> Report:
    return CLAIM.verify([REFERENCE], SAMPLING)


def test_claim_holds_and_every_control_flips(report):
    assert [verdict.outcome for verdict in report.verdicts] == ["holds"] * 2


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda case: {"explained": 1.2 * case.explained}, [0, 1]),
        (lambda case: {"lanczos": case.lanczos + 1e-4}, [0]),
        (lambda case: {"trained": 0.8 * case.trained}, [1]),
    ],
)
def test_claim_fails_for_a_wrong_share(change, failing, report, judge_again):
    outcomes = judge_again(CLAIM, SAMPLING, report, lambda case: case._replace(**change(case)))
    assert [index for index, outcome in enumerate(outcomes) if outcome == "fails"] == failing
